"""Measures what thousands of runs take, for docs/cluster.md and a JSON file: `make bench-size`.

Finished runs are copies of a few that it trains. Planned ones are sent to the Slurm of this
machine, each a job that is held, and cancelled. Where there is none, as root on Debian:

    make cluster-tools && .venv/bin/python tests/slurm_daemons.py make bench-size
"""

import itertools
import math
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from analysis.page.readme import ROOT, filled
from benchmarks.__main__ import machine
from benchmarks.pages import HERE
from benchmarks.records import ASKED, GRID, grow, study_of, train_models
from benchmarks.usage import Usage, usage
from experiments.data.prepare import prepare_any
from experiments.launch.cluster import SlurmSettings, check_slurm
from experiments.launch.slurm import squeue
from experiments.records.files import write_json
from experiments.records.parsing import ConfigError

ROW = len(study_of(1).cells)  # runs of a seed
PAGE = ROOT / "docs" / "cluster.md"
SIZES = "1000,3000,10000"
TABLES = "`analysis tables`"
RUN, SEND = "`run --launcher slurm` until they are sent", "of that, to send them"
STATUS = "`status`, with Slurm's view"
COMMANDS = {  # name: module and its words, what it is run for
    "`status`": ("experiments status", ""),
    '`run` until "0 to train"': (f"experiments run {GRID}", "0 to train"),
    TABLES: ("analysis tables", ""),
    "`analysis report`": ("analysis report", ""),
}
COMMON = {  # the environment of every command
    **{key.upper(): value for key, value in ASKED.items()},
    "DEVICE": "cpu", "LAUNCHER": "local", "TRACK": "off",
}  # fmt: skip
HELD = {"cpus": 1, "memory": 1, "pack": 0, "sbatch": {"hold": True}}  # each run a job, held
ARRAY = SlurmSettings().array


def sizes_of(text: str) -> list[int]:
    """Reads numbers of runs from text such as `50,100`, the least first."""
    numbers = [int(word) if word.isdecimal() else 0 for word in text.split(",")]
    if any(number < 1 or number % ROW for number in numbers):
        raise typer.BadParameter(f"{text!r}: numbers of runs, each a multiple of {ROW}")
    return sorted(set(numbers))


def call(words: str, environment: dict[str, str], until: str = "") -> Usage:
    return usage(sys.executable, "-m", *words.split(), until=until, environment=environment)


def measure_finished(environment: dict[str, str]) -> Iterator[tuple[str, list[float]]]:
    """Measures each command with the runs of RESULTS: (command, [processor seconds, MB])."""
    for name, (words, until) in COMMANDS.items():
        took = call(words, environment, until)
        yield name, [took.cpu, took.memory]


def count(results: Path) -> dict[str, int]:
    """Counts the files of all runs, and their bytes."""
    sizes = [path.stat().st_size for path in (results / "runs").glob("*/*/*")]
    return {"files": len(sizes), "bytes": sum(sizes)}


def slurm_version() -> str:
    """Returns the version of the Slurm that runs can be sent to; "" where there is none."""
    try:
        check_slurm()
    except ConfigError:
        return ""
    if squeue.ask() is None:
        return ""
    return subprocess.run(["squeue", "--version"], capture_output=True, text=True).stdout.strip()


def measure_planned(
    runs: int, environment: dict[str, str], settings: Path
) -> Iterator[tuple[str, list[float | None]]]:
    """Measures runs that do not exist yet: (what, [runs, processor seconds, seconds, MB]).

    RESULTS of `environment` is empty; the jobs' settings are written into the file `settings`.
    """
    took = call(f"experiments plan {GRID} --workers 1000", environment)
    yield "`plan --workers 1000`", [runs, took.cpu, took.wall, took.memory]
    if not slurm_version():
        return
    write_json(settings, HELD)  # JSON is YAML
    slurm = environment | {"LAUNCHER": "slurm", "CLUSTER": str(settings)}
    # Where Slurm has no room for all of them `run` says so, and would wait.
    last = rf"(sent: .*){{{math.ceil(runs / ARRAY)}}}|wait for room"
    try:
        took = call(f"experiments run {GRID}", slurm, last)
        sent = sum(map(int, re.findall(r"^sent: (\d+) runs", took.text, re.M)))
        yield RUN, [sent, took.cpu, took.wall, took.memory]
        begin = next(line for line in took.lines if "Ctrl-C" in line[0])
        spent = [end - start for start, end in zip(begin[1:], took.lines[-1][1:], strict=True)]
        yield SEND, [sent, *spent, None]
        took = call("experiments status", environment)
        yield STATUS, [sent, took.cpu, took.wall, took.memory]
    finally:
        jobs = squeue.view(Path(environment["RESULTS"])).values()
        squeue.cancel(sorted({job.array for job in jobs}))


def page(found: dict[str, Any]) -> str:
    """Returns the tables in Markdown, and what is estimated from them."""
    lines = ["| finished runs | records | " + " | ".join(COMMANDS) + " |"]
    lines += ["|--:|" + "---|" * (1 + len(COMMANDS))]
    for row in found["finished"]:
        records = f"{row['files']:,} files, {row['bytes'] / 1e9:.2f} GB"
        took = [f"{cpu:.1f} s, {memory:,.0f} MB" for cpu, memory in row["took"].values()]
        lines.append(f"| {row['runs']:,} | {records} | " + " | ".join(took) + " |")
    lines += ["", "| planned runs | | processor | clock | memory |", "|--:|---|--:|--:|--:|"]
    for name, (runs, cpu, wall, memory) in found["planned"].items():
        peak = f"{memory:,.0f} MB" if memory else ""
        lines.append(f"| {runs:,} | {name} | {cpu:.1f} s | {wall:.1f} s | {peak} |")
    slurm = f"{found['slurm']}, each run a job that is held" if found["slurm"] else "not measured"
    lines += ["", f"Slurm: {slurm}. Machine: {found['machine']['processor']}.", ""]
    return "\n".join([*lines, *limits(found)]) + "\n"


def limits(found: dict[str, Any]) -> Iterator[str]:
    """Says which limit is reached first."""
    row, weights = found["finished"][-1], [size / 1e6 for size in found["weights"]]
    runs, each, high = row["runs"], row["bytes"] / row["runs"] / 1e6, max(weights)
    yield "What reaches its limit first, by these figures:\n"
    yield (
        f"- **The results folder**, while it trains. A run leaves {row['files'] / runs:.0f} files "
        f"of {each:.2f} MB in all and, of {ASKED['network']}, {min(weights):.1f} to {high:.1f} MB "
        f"of trained weights, which no table needs: 10,000 runs are {10 * each:.1f} GB and up to "
        f"{10 * high:.0f} GB of weights. A checkpoint has the momentum, too, and is written every "
        "minute or at the end of a longer epoch: 1,000 runs at a time write up to "
        f"{2000 * high / 60:.0f} MB/s, and a tenth of it with `--checkpoint-every 10m`."
    )
    cpu, memory = (100_000 / runs * number for number in row["took"][TABLES])
    yield (
        "- **The analysis**, afterwards, as it checks every file of every run. In proportion, the "
        f"tables of 100,000 runs take {cpu / 60:.0f} minutes and {memory / 1000:.1f} GB."
    )
    if RUN in found["planned"]:
        sent, *_, memory = found["planned"][RUN]
        send, look = (1000 / sent * found["planned"][name][1] for name in (SEND, STATUS))
        yield (
            f"- Not **the driver**, which takes {memory:,.0f} MB to send {sent:,} runs, and for "
            f"each 1,000 {send:.2f} s of the processor; `status` takes {look:.2f} s for each 1,000."
        )


def measure(numbers: list[int], folder: Path, bars: Progress) -> dict[str, Any]:
    """Measures everything, and returns it as size.json keeps it."""
    finished, data_dir = folder / "finished", folder / "data"
    common = COMMON | {"DATA_DIR": str(data_dir)}
    training = bars.add_task("training what is copied", total=None)
    prepare_any(ASKED["dataset"], data_dir, lambda text: None)
    trained = train_models(folder / "trained", data_dir)
    weights = [record.checkpoint.stat().st_size for record in trained.values()]
    found = {"machine": machine("cpu"), "weights": weights, "finished": []}
    bars.remove_task(training)
    for before, runs in itertools.pairwise([0, *numbers]):
        copies = grow(finished, runs // ROW, trained)
        for _ in bars.track(copies, runs - before, description=f"copies, up to {runs:,}"):
            pass
        there = common | {"RESULTS": str(finished), "SEEDS": str(runs // ROW)}
        took = measure_finished(there)
        took = dict(bars.track(took, len(COMMANDS), description=f"{runs:,} finished runs"))
        found["finished"].append({"runs": runs, **count(finished), "took": took})
    there["RESULTS"] = str(folder / "planned")
    steps = measure_planned(runs, there, folder / "held.yaml")
    found["slurm"] = slurm_version()
    found["planned"] = dict(bars.track(steps, 4, description=f"{runs:,} planned runs"))
    return found


def main(
    sizes: Annotated[str, typer.Option(help="other numbers of runs; nothing is written then")]
    = SIZES,
) -> None:  # fmt: skip
    """Measures what many runs take; writes size.json, and what it says into docs/cluster.md."""
    numbers, console = sizes_of(sizes), Console()
    if not Path("/proc/self/stat").exists():
        raise typer.BadParameter("processor seconds are read from /proc, which only Linux has")
    with tempfile.TemporaryDirectory() as folder, Progress(console=console, transient=True) as bars:
        found = measure(numbers, Path(folder), bars)
    console.print(page(found), markup=False, highlight=False, soft_wrap=True)
    if sizes == SIZES:
        write_json(HERE / "size.json", found)
        PAGE.write_text(
            filled(PAGE.read_text(encoding="utf-8"), {"size": page(found)}), encoding="utf-8"
        )
        console.print(f"wrote {HERE / 'size.json'} and {PAGE}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
