"""`status`: the state of every run that was asked for, from its files and from Slurm."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.progress import track
from rich.table import Table
from rich.text import Text

from experiments.data.datasets import DATASETS
from experiments.launch.slurm import squeue
from experiments.launch.slurm.squeue import Job
from experiments.plan.options import DataDir, Dataset, RecipeName, Results
from experiments.processes.output import console, say
from experiments.records.files import read_sealed
from experiments.records.lock import holder
from experiments.records.parsing import ConfigError, checked
from experiments.records.recipes import recipes
from experiments.records.signs import Signs
from experiments.records.states import LEFT, MISSING, State, failure, how_it_was_left, state
from experiments.records.study_file import (
    StudyFile,
    pilots_of,
    read_studies,
    runs_of,
    seeds_of_cells,
)
from experiments.records.text import counted
from experiments.study.grid import list_grids
from experiments.train import stale
from experiments.train.stale import Finding
from senet.config import choose

NONE: Mapping[Path, Finding] = {}
NO_JOBS: Mapping[Path, Job] = {}
COLUMNS = 6  # seeds that have a column of their own
WATCH_EVERY = 2.0  # seconds


def status(
    grids: Annotated[list[str], typer.Argument(help="only these; all unless given")] = (),
    dataset: Dataset = "auto",
    network: Annotated[str | None, typer.Option(envvar="NETWORK", help="only this")] = None,
    recipe: RecipeName = "auto",
    data_dir: DataDir = Path("data"),
    results: Results = Path("results/local"),
    watch: Annotated[bool, typer.Option("--watch", help="follows, until Ctrl-C")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="tells which runs today's code would train otherwise")
    ] = False,
) -> int:
    """Shows the state of the runs; returns 1 where `--verify` finds one that is not as it was."""
    wanted = {"dataset": dataset, "network": network, "recipe": recipe}
    wanted = {key: value for key, value in wanted.items() if value not in (None, "auto")}
    refuse_unknown(grids, wanted, results)
    studies = partial(select, results, grids, wanted)
    if watch:
        try:
            follow(lambda: picture(studies(), results))
        except KeyboardInterrupt:  # the way to end it
            return 0
    if not studies():
        say(f"nothing of this was asked for yet in {results}: begin with `run`")
    findings = find_stale(studies(), results, data_dir) if verify else NONE
    jobs, now = squeue.view(results), studies()
    for study in now:
        console.print(status_table(study, results, findings, jobs))
    for line in status_lines(now, results, findings, jobs):
        say(line)
    return int(any(finding.is_wrong for finding in findings.values()))


def refuse_unknown(grids: Sequence[str], wanted: Mapping[str, str], results: Path) -> None:
    """Raises ConfigError where a data set, a recipe or a grid is not known."""
    known = {"dataset": DATASETS, "recipe": recipes()}
    for key, value in wanted.items():
        if key in known:
            checked(choose, key, value, known[key])
    asked = {study.grid: None for study in read_studies(results)}
    for grid in grids:
        checked(choose, "grid", grid, {**list_grids(), **asked})


def select(results: Path, grids: Sequence[str], wanted: Mapping[str, str]) -> list[StudyFile]:
    """Returns the studies of these grids, or of all, that have the wanted values."""
    return [
        study
        for study in read_studies(results)
        if (not grids or study.grid in grids)
        and all(getattr(study, key) == value for key, value in wanted.items())
    ]


def find_stale(studies: list[StudyFile], results: Path, data_dir: Path) -> dict[Path, Finding]:
    """Returns what `--verify` finds of the runs: path -> finding."""
    cells = stale.by_cell(path for study in studies for path in runs_of(study, results))
    return {
        finding.path: finding
        for cell in track(cells, "verifying", console=console)
        for finding in stale.verify(cell, data_dir)
    }


def picture(studies: list[StudyFile], results: Path) -> Group:
    """Draws the newest first, as a terminal that is too low cuts the end off."""
    jobs = squeue.view(results)
    lines = map(Text, status_lines(studies, results, jobs=jobs))
    return Group(*lines, *(status_table(study, results, jobs=jobs) for study in studies))


def follow(draw: Callable[[], Group]) -> None:
    """Shows a picture again and again: in place on a terminal, else one after the other."""
    if not console.is_terminal:
        while True:
            console.print(draw(), soft_wrap=True)
            time.sleep(WATCH_EVERY)
    with Live(draw(), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(WATCH_EVERY)
            live.update(draw(), refresh=True)


def state_in(path: Path, jobs: Mapping[Path, Job]) -> State:
    """Returns a run's state; where its files leave it open, what Slurm says of it."""
    now, job = state(path), jobs.get(path)
    if job is None or now not in MISSING or now == State.RUNNING:
        return now
    if job.is_live:
        return State.PENDING
    return State.CANCELLED if job.state == "CANCELLED" else now


def status_table(
    study: StudyFile,
    results: Path,
    findings: Mapping[Path, Finding] = NONE,
    jobs: Mapping[Path, Job] = NO_JOBS,
) -> Group:
    """Draws a row a cell, a column a seed: states, and errors where there are some.

    With more seeds than fit, a column a state: how many.

    Args:
        study: what was asked for.
        results: RESULTS.
        findings: of `status --verify`.
        jobs: of runs that Slurm has.
    """
    asked = seeds_of_cells([study])
    cells = {row.label: row.cell for row in study.rows}
    rows = {
        label: [results / "runs" / cell / f"seed{seed}" for seed in range(asked[cell])]
        for label, cell in cells.items()
    }
    if (most := max(asked.values())) <= COLUMNS:
        columns = [f"seed {seed}" for seed in range(most)]
        shown = {
            label: [cell_text(path, state_in(path, jobs), findings.get(path)) for path in paths]
            for label, paths in rows.items()
        }
    else:
        counts = {
            label: Counter(
                findings[path].kind if path in findings else state_in(path, jobs) for path in paths
            )
            for label, paths in rows.items()
        }
        columns = sorted(set().union(*counts.values()))
        shown = {
            label: [str(count[name] or "–") for name in columns] for label, count in counts.items()
        }
    table = Table("row")
    for column in columns:
        table.add_column(column, justify="right")
    for label, texts in shown.items():
        table.add_row(Text(label), *texts)
    return Group(Text(f"{study.title}\n{study.name}"), table)


def status_lines(
    studies: list[StudyFile],
    results: Path,
    findings: Mapping[Path, Finding] = NONE,
    jobs: Mapping[Path, Job] = NO_JOBS,
) -> list[str]:
    """Says how many runs are in which state, and a line on each that needs somebody's eyes."""
    names = {
        path: f"{path.parent.name}/{path.name}"
        for study in studies
        for path in [*runs_of(study, results), *pilots_of(study, results)]
    }
    states = {path: state_in(path, jobs) for path in names}
    lines = [f"{len(names)} runs: {counted(states.values())}"] if names else []
    waiting = [jobs[path] for path, now in states.items() if now == State.PENDING]
    for array, runs in Counter(job.array for job in waiting).items():
        reasons = {job.reason for job in waiting if job.array == array} - {"None", ""}
        why = f" ({', '.join(sorted(reasons))})" if reasons else ""
        lines.append(f"pending      {runs} runs in job {array}{why}")
    for path, now in states.items():
        if about := describe(path, now):
            job = f", job {jobs[path].id}" if path in jobs and jobs[path].is_live else ""
            lines.append(f"{now:12} {names[path]}: {about}{job}")
        if finding := findings.get(path):
            lines.append(f"{finding.kind:12} {names[path]}: {finding.reason}")
    return lines


def describe(path: Path, now: str) -> str:
    """Says why a run is not done, or how far it is; "" where there is nothing to say."""
    if now == State.RUNNING:
        return progress(holder(path) or Signs())
    if now in LEFT:
        epochs, *why = how_it_was_left(path)
        resumes = "a checkpoint" if (path / "checkpoint.pt").exists() else "no checkpoint"
        return "; ".join([f"{epochs}, with {resumes}", *why])
    if now == State.FAILED:
        return f"{failure(path)} ({path / 'error.txt'})"
    if now == State.DAMAGED:
        try:
            read_sealed(path / "summary.json", "state")
        except ConfigError as error:
            return str(error)
    return ""


def cell_text(path: Path, now: str, finding: Finding | None) -> str:
    """Returns what stands in a run's place in the table."""
    if now == State.DONE:
        error = read_sealed(path / "summary.json")["test_error"]
        now = f"{error:.2f} %"
    if now == State.RUNNING and (signs := holder(path)) and signs.steps:
        now = f"{signs.share:.0%} done" if signs.step < signs.steps else "testing"
    return f"{now}, {finding.kind}" if finding else now


def progress(signs: Signs) -> str:
    """Says what the process that trains a run tells of itself."""
    is_training = signs.share is not None and signs.share < 1
    step = [f"step {signs.step:,} of {signs.steps:,}"] if is_training else []
    return ", ".join([*step, *signs.words, signs.who])
