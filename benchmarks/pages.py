"""Writes what `make bench` found as its section of RESULTS.md and as sentences of the docs."""

import statistics
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.cases import LADDER, USUAL, times
from experiments.records.files import read_json

HERE = Path(__file__).parent
RESULTS, NOT_OURS = HERE / "RESULTS.md", ("size.json", "gpu.json")
FIRST_OF_GPU = "## GPU\n"  # before it stand the sections of processors


def row(*cells: Any) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def page(found: dict[str, Any]) -> str:
    """Returns one section of RESULTS.md: of one kind of processor, or of a GPU."""
    lines = [f"### {found['kind']}", "", row("machine", ""), "|---|---|"]
    lines += [row(key, value) for key, value in found["machine"].items()]
    lines += ["", f"Medians of {found['rounds']} rounds; a batch has 128 images unless it says so."]
    parts = {
        "The ladder: SE-ResNet-20, one thread, and what each change brings": ladder,
        "Every rate": rates,
        "A whole grid, from the command to its tables and figures": grids,
        "Goals": goals,
    }
    for title, part in parts.items():
        if rest := list(part(found)):
            lines += ["", f"**{title}**", "", *rest]
    return "\n".join(lines) + "\n"


def ladder(found: dict[str, Any]) -> Iterator[str]:
    names = [name for name in found["rates"] if name.startswith(LADDER)]
    if len(names) < 2:
        return
    yield row("", "images/s", "times the line above", "times the first", "peak memory, MiB")
    yield "|---|--:|--:|--:|--:|"
    for above, name in zip([names[0], *names], names, strict=False):
        ratios = [f"{times(found['rates'], name, one):.2f}" for one in (above, names[0])]
        median = f"{statistics.median(found['rates'][name]):,.0f}"
        yield row(name.removeprefix(LADDER), median, *ratios, f"{found['memory'][name]:,.0f}")


def rates(found: dict[str, Any]) -> Iterator[str]:
    yield row("images/s", "median", "least", "most", "peak memory of a process, MiB")
    yield "|---|--:|--:|--:|--:|"
    for name, several in found["rates"].items():
        if not name.startswith(LADDER):
            numbers = statistics.median(several), min(several), max(several), found["memory"][name]
            yield row(name, *(f"{n:,.0f}" for n in numbers))


def grids(found: dict[str, Any]) -> Iterator[str]:
    if not found["grids"]:
        return
    yield row("cells", "at a time", "s", "start-up, s", "no run in a seat", "again, processor s")
    yield "|--:|--:|--:|--:|--:|--:|"
    for one in found["grids"]:
        numbers = (f"{one[key]:.1f}" for key in ("seconds", "start_up"))
        rest = f"{100 * one['serial']:.0f} %", f"{one['again']:.1f}"
        yield row(one["cells"], one["workers"], *numbers, *rest)
    yield (
        "\nStart-up: until it knows what to train. No run in a seat: the share of the seats' time "
        "before, between and after the runs. Again: the same command once more, with nothing to "
        "train."
    )


def goals(found: dict[str, Any]) -> Iterator[str]:
    if not found["goals"]:
        return
    yield row("goal", "measured", "asked for", "")
    yield "|---|--:|--:|---|"
    for what, ratio, goal in found["goals"]:
        verdict = "reached" if ratio >= goal else "not reached"
        yield row(what, f"{ratio:.2f}", f"{goal:.2f}", verdict)


def put(text: str, kind: str, section: str) -> str:
    """Returns RESULTS.md with this section in the place of the one of its kind, or as a new one."""
    begin, end = f"<!-- {kind} -->\n", f"<!-- end of {kind} -->\n"
    if begin in text:
        before, rest = text.split(begin)
        return before + begin + section + end + rest.split(end)[1]
    before, rest = text.split(FIRST_OF_GPU)
    return f"{before}{begin}{section}{end}\n{FIRST_OF_GPU}{rest}"


def kept() -> list[dict[str, Any]]:
    """Reads the kept runs on processors, by the names of their files."""
    paths = [path for path in sorted(HERE.glob("*.json")) if path.name not in NOT_OURS]
    return [found for path in paths if (found := read_json(path))["machine"]["device"] == "cpu"]


def sentences() -> str:
    """Returns the ratios of the kept runs as sentences for docs/speed.md."""
    return "\n".join(map(sentence, kept()))


def sentence(found: dict[str, Any]) -> str:
    ratio, machine = partial(times, found["rates"]), found["machine"]
    ours = "fused step, SE-ResNet-20"
    loader = max((name for name in found["rates"] if name.startswith("input: DataLoader")),
                 key=lambda name: statistics.median(found["rates"][name]))  # fmt: skip
    usual, plain = ratio(ours, USUAL), ratio(ours, "plain step, SE-ResNet-20")
    se = ratio("fused step, SE-resnet29b", "fused step, resnet29b")
    images = ratio("input: ours", loader)
    return (
        f"With {found['kind']} ({machine['processor']}), SE-ResNet-20 trained {usual:.2f} times as "
        f"fast as with the usual loop, and {plain:.2f} times as fast as with our own plain step; "
        f"`resnet29b` with SE at {se:.2f} of the speed of the one without; and images were cut and "
        f"flipped {images:.1f} times as fast as by a DataLoader (commit {machine['commit'][:7]}).\n"
    )
