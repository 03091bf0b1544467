"""Measures every rate of `make bench` in one run, alternating; writes a JSON file and a section.

Each rate is the median over rounds, in each of which every case has its turn, in new processes.
Both loops get the whole machine: the usual one a process with a thread a core and as many workers
that load images; ours a process a core with one thread each, as the grid runner does it. The ladder
goes from one to the other on one thread.
"""

import sys
from collections.abc import Iterator
from importlib.metadata import version
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from analysis.page.readme import ROOT, filled
from benchmarks import grids, pages
from benchmarks.cases import CORES, cases, goals
from benchmarks.pages import HERE, RESULTS
from benchmarks.rounds import ROUNDS, context, in_rounds
from experiments.records.files import write_json
from experiments.train.devices import pick_devices
from experiments.train.environment import (
    INSTRUCTIONS,
    device_name,
    git,
    instructions,
    pick_precision,
    processor,
)

SPEED = ROOT / "docs" / "speed.md"
IMAGES = {"short": 250, "full": 2500}  # that a run of a whole grid trains on


def machine(device: str) -> dict[str, str]:
    (name, gpu), flags = device_name(device), processor()[1]
    return {
        "processor": f"{name}, {CORES} cores",
        "instructions": ", ".join(word for flag, word in INSTRUCTIONS.items() if flag in flags),
        "device": gpu,
        "precision of our loop": pick_precision("auto", device),
        "torch": version("torch"),
        "torchvision": version("torchvision"),
        "python": sys.version.split()[0],
        "commit": (git("rev-parse", "HEAD") or "unknown")
        + ("" if git("status", "--porcelain", "--untracked-files=no") == "" else " and changes"),
    }


def whole_grids(device: str, images: int) -> Iterator[dict[str, float]]:
    """Measures what each whole grid takes with all workers, and one of them with a single one."""
    most = CORES if device == "cpu" else 8
    for cells, workers in (*((cells, most) for cells in grids.CELLS), (8, 1)):
        yield grids.measured(cells, workers, device, images)


def main(
    device: Annotated[str, typer.Option(envvar="DEVICE", help="auto, cpu, cuda")] = "auto",
    bench: Annotated[str, typer.Option(envvar="BENCH", help="short, or full: more, longer rounds")]
    = "short",
    only: Annotated[str, typer.Option(help="cases whose names hold this; nothing is written then")]
    = "",
) -> None:  # fmt: skip
    """Times our loop, the usual one, the input and the limit, alternating; writes RESULTS.md."""
    if bench not in ROUNDS:
        raise typer.BadParameter(f"BENCH {bench!r}: allowed are {', '.join(ROUNDS)}")
    [device, *_] = pick_devices(device)
    todo = [case for case in cases(device, bench == "full") if only in case.name]
    console, whole = Console(), []
    with Progress(console=console, transient=True) as progress:
        rates, memory = in_rounds(todo, device, bench, progress)
        if not only:
            progress.add_task("whole grids", total=None)
            whole = list(whole_grids(device, IMAGES[bench]))
    found = {
        "kind": instructions() if device == "cpu" else device.split(":")[0],
        "machine": machine(device),
        "rounds": ROUNDS[bench],
        "rates": rates,
        "memory": memory,
        "grids": whole,
        "goals": [] if only else list(goals(rates, whole, device, instructions())),
    }
    console.print(pages.page(found), markup=False, highlight=False, soft_wrap=True)
    if not only:
        write(found)
        console.print(f"wrote {found['kind']}.json and RESULTS.md in {HERE}, and its ratios into "
                      f"{SPEED}", markup=False, soft_wrap=True)  # fmt: skip


def write(found: dict) -> None:
    """Keeps the results: in the place of an earlier run on such a processor, and of no other."""
    write_json(HERE / f"{found['kind']}.json", found)
    RESULTS.write_text(
        pages.put(RESULTS.read_text(encoding="utf-8"), found["kind"], pages.page(found)),
        encoding="utf-8",
    )
    SPEED.write_text(
        filled(SPEED.read_text(encoding="utf-8"), {"bench": pages.sentences()}), encoding="utf-8"
    )


if __name__ == "__main__":  # it is one list for the whole process: not in that of a test
    context.set_forkserver_preload(["torch", "torchvision", "benchmarks.measure"])
    typer.run(main)
