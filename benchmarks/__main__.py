"""`make bench`: every rate in one run, alternating, as a table, a JSON file and a page.

Each rate is the median over rounds, in each of which every case has its turn, in new processes.
Both loops get the whole machine: the usual one a process with a thread a core and as many workers
that load images; ours a process a core with one thread each, as the grid runner does it.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from analysis.page.readme import ROOT, filled
from benchmarks.measure import rate
from experiments.records.files import write_json
from experiments.train.environment import device_name, git, pick_devices, pick_precision
from senet.residual import POSITIONS

HERE = Path(__file__).parent
SPEED = ROOT / "docs" / "speed.md"
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
SECONDS = {"short": 4.0, "full": 15.0}  # of a case in a round
ROUNDS = {"short": 3, "full": 7}
ON_GPU = (1, 2, 4, 8, 16, 32)  # runs that train on one GPU at a time
SE: dict[str, object] = {}  # the paper's block
context = get_context("forkserver")


@dataclass(frozen=True)
class Case:
    """What is timed: a function of measure.py with its arguments, in so many processes at once."""

    name: str
    kind: str
    args: tuple = ()
    processes: int = 1
    threads: int = 1


def cases(device: str) -> Iterator[Case]:
    together = CORES if device == "cpu" else 1

    def loop(name: str, *args) -> Case:
        return Case(name, "ours", args, together)

    yield Case("usual loop, SE-ResNet-20", "usual", ("resnet20", SE, False), 1, CORES)
    for title, network in (("ResNet-20", "resnet20"), ("resnet29b", "resnet29b")):
        for step in ("fused", "plain") if device == "cpu" else ("plain",):
            for se, prefix in ((SE, "SE-"), (None, "")):  # what is compared stands side by side
                yield loop(f"{step} step, {prefix}{title}", network, se, step)
    yield Case("usual loop compiled, SE-ResNet-20", "usual", ("resnet20", SE, True), 1, CORES)
    step = "fused" if device == "cpu" else "plain"
    for position in POSITIONS:
        if position != "standard":
            name = f"{step} step, SE-resnet29b, SE {position}"
            yield loop(name, "resnet29b", {"position": position}, step)
    yield loop(f"{step} step, SE-resnet29b, max squeeze", "resnet29b", {"squeeze": "max"}, step)
    yield Case("convolutions of ResNet-20 alone", "convolutions", ("resnet20",), together)
    for workers in sorted({0, CORES}):
        yield Case(f"input: DataLoader, {workers} workers", "usual_input", (workers,), 1, CORES)
    yield Case("input: ours", "our_input", (), together)
    if device != "cpu":
        for count in ON_GPU:
            name = f"captured step, SE-ResNet-20, {count} at once"
            yield Case(name, "captured", ("resnet20", SE, count))
        yield Case("captured step, ResNet-20, 1 at once", "captured", ("resnet20", None, 1))
        for se, prefix in ((SE, "SE-"), (None, "")):
            name = f"captured step, {prefix}resnet29b, 1 at once"
            yield Case(name, "captured", ("resnet29b", se, 1))


def timed(case: Case, device: str, seconds: float) -> float:
    """Images a second of all its processes together."""
    barrier = context.Barrier(case.processes)
    pipes, processes = [], []
    for _ in range(case.processes):
        mine, theirs = context.Pipe(duplex=False)
        args = (case.kind, device, case.threads, case.args, seconds, barrier, theirs)
        processes.append(context.Process(target=rate, args=args))
        processes[-1].start()
        theirs.close()
        pipes.append(mine)
    try:
        return sum(pipe.recv() for pipe in pipes)
    except EOFError:
        raise SystemExit(f"{case.name}: its process ended without a word") from None
    finally:
        for process in processes:
            process.join()


def grid_seconds(workers: int, device: str) -> float:
    """A small ratio grid from the command to its tables and figures: seven runs."""
    with tempfile.TemporaryDirectory() as folder:
        where = ["--results", f"{folder}/results", "--data-dir", f"{folder}/data"]
        words = ["--dataset", "synthetic", "--recipe", "smoke", "--set", "recipe.train_images=2500"]
        command = [sys.executable, "-m", "experiments", "run", "ratio", *words, *where]
        command += ["--device", device, "--workers", str(workers), "--track", "off"]
        prepare = [sys.executable, "-m", "experiments", "data", "--dataset", "synthetic"]
        subprocess.run([*prepare, *where[2:]], check=True, capture_output=True)
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - began


def times(rates: dict[str, list[float]], one: str, other: str) -> float:
    """How many times as fast one is as another: the median of the ratios within a round."""
    return statistics.median(a / b for a, b in zip(rates[one], rates[other], strict=True))


def goals(rates: dict[str, list[float]], device: str) -> Iterator[tuple[str, float, float]]:
    """(what, the ratio that was measured, the goal)."""
    ratio, usual = partial(times, rates), "usual loop, SE-ResNet-20"
    if device == "cpu":
        yield "SE-ResNet-20 over the usual loop", ratio("fused step, SE-ResNet-20", usual), 3.0
        with_se, without = "fused step, SE-resnet29b", "fused step, resnet29b"
        yield "resnet29b with SE over without", ratio(with_se, without), 0.9
        return
    step = "captured step, SE-ResNet-20"
    many = max((name for name in rates if name.startswith(step)),
               key=lambda name: statistics.median(rates[name]))  # fmt: skip
    yield "SE-ResNet-20 over the usual loop", ratio(many, usual), 8.0
    most = statistics.median(rates[many])
    yield "SE-ResNet-20, images a second / 250,000", most / 250_000, 1.0
    one, plain = f"{step}, 1 at once", "captured step, ResNet-20, 1 at once"
    yield "SE-ResNet-20 over ResNet-20", ratio(one, plain), 1 / 1.1


def machine(device: str) -> dict[str, str]:
    processor, gpu = device_name(device)
    return {
        "processor": f"{processor}, {CORES} cores",
        "device": gpu,
        "precision of our loop": pick_precision("auto", device),
        "torch": version("torch"),
        "torchvision": version("torchvision"),
        "python": sys.version.split()[0],
        "commit": (git("rev-parse", "HEAD") or "unknown")
        + ("" if git("status", "--porcelain", "--untracked-files=no") == "" else " and changes"),
    }


def page(found: dict) -> str:
    """The measured half of RESULTS.md."""
    lines = ["| machine | |", "|---|---|"]
    lines += [f"| {key} | {value} |" for key, value in found["machine"].items()]
    lines += ["", f"Batch 128. Medians of {found['rounds']} rounds; least and most of them.", ""]
    lines += ["| images / s | median | least | most |", "|---|--:|--:|--:|"]
    for name, rates in found["rates"].items():
        numbers = statistics.median(rates), min(rates), max(rates)
        lines.append(f"| {name} | " + " | ".join(f"{n:,.0f}" for n in numbers) + " |")
    lines += ["", "| a ratio grid of seven small runs, command to figures | s |", "|---|--:|"]
    lines += [f"| {n} at a time | {seconds:.1f} |" for n, seconds in found["grid"].items()]
    lines += ["", "| goal | measured | asked for | |", "|---|--:|--:|---|"]
    for what, ratio, goal in found["goals"]:
        verdict = "reached" if ratio >= goal else "not reached"
        lines.append(f"| {what} | {ratio:.2f} | {goal:.2f} | {verdict} |")
    return "\n".join(lines) + "\n"


def sentence(found: dict) -> str:
    """The ratios of a run on a CPU, for docs/speed.md."""
    ratio, machine = partial(times, found["rates"]), found["machine"]
    ours = "fused step, SE-ResNet-20"
    loader = max((name for name in found["rates"] if name.startswith("input: DataLoader")),
                 key=lambda name: statistics.median(found["rates"][name]))  # fmt: skip
    grid = {int(workers): seconds for workers, seconds in found["grid"].items()}
    usual, plain = ratio(ours, "usual loop, SE-ResNet-20"), ratio(ours, "plain step, SE-ResNet-20")
    se = ratio("fused step, SE-resnet29b", "fused step, resnet29b")
    images = ratio("input: ours", loader)
    many = max(grid)
    return (
        f"On {machine['processor']}, SE-ResNet-20 trained {usual:.2f} times as fast as with the "
        f"usual loop, and {plain:.2f} times as fast as with our own plain step; `resnet29b` with "
        f"SE at {se:.2f} of the speed of the one without; images were cut and flipped {images:.1f} "
        f"times as fast as by a DataLoader; and a small grid took {grid[many] / grid[1]:.2f} of "
        f"the time with {many} runs at a time.\n"
    )


def main(
    device: Annotated[str, typer.Option(envvar="DEVICE", help="auto, cpu, cuda")] = "auto",
    bench: Annotated[str, typer.Option(envvar="BENCH", help="short, or full: more, longer rounds")]
    = "short",
    only: Annotated[str, typer.Option(help="cases whose names hold this; no goals then")] = "",
) -> None:  # fmt: skip
    """Times our loop, the usual one, the input and the limit, alternating; writes RESULTS.md."""
    if bench not in ROUNDS:
        raise typer.BadParameter(f"BENCH {bench!r}: allowed are {', '.join(ROUNDS)}")
    context.set_forkserver_preload(["torch", "torchvision", "benchmarks.measure"])
    [device, *_] = pick_devices(device)
    todo = [case for case in cases(device) if only in case.name]
    rates: dict[str, list[float]] = {case.name: [] for case in todo}
    console = Console()
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("", total=ROUNDS[bench] * len(todo))
        for number in range(ROUNDS[bench]):
            for case in todo if number % 2 == 0 else reversed(todo):
                progress.update(bar, description=case.name)
                rates[case.name].append(timed(case, device, SECONDS[bench]))
                progress.advance(bar)
        grid = {}
        for workers in () if only else dict.fromkeys((1, CORES) if device == "cpu" else (1, 4, 8)):
            progress.update(bar, description=f"a grid, {workers} at a time")
            grid[workers] = grid_seconds(workers, device)
    found = {
        "machine": machine(device),
        "rounds": ROUNDS[bench],
        "rates": rates,
        "grid": grid,
        "goals": [] if only else list(goals(rates, device)),
    }
    console.print(page(found), markup=False, highlight=False, soft_wrap=True)
    if only:
        return
    kind = device.split(":")[0]
    write_json(HERE / f"{kind}.json", found)
    text = (HERE / "RESULTS.md").read_text()
    begin, end = f"<!-- {kind} -->\n", f"<!-- end of {kind} -->\n"
    before, rest = text.split(begin)
    (HERE / "RESULTS.md").write_text(before + begin + page(found) + end + rest.split(end)[1])
    console.print(f"wrote {kind}.json and RESULTS.md in {HERE}", markup=False, soft_wrap=True)
    if kind == "cpu":
        SPEED.write_text(filled(SPEED.read_text(), {"bench": sentence(found)}))
        console.print(f"... and its ratios into {SPEED}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
