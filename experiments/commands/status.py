"""Shows the state of every run that was asked for, by its files and Slurm: command `status`."""

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

from experiments.commands.look import NO_JOBS, NONE, look_at_runs, runs_in
from experiments.data.datasets import DATASETS
from experiments.launch.slurm import squeue
from experiments.launch.slurm.squeue import Job
from experiments.plan.options import NOTHING, DataDir, Dataset, Json, RecipeName, Results
from experiments.processes.output import console, errors, say
from experiments.records.parsing import ConfigError, checked
from experiments.records.recipes import recipes
from experiments.records.schema import SeenRun, SeenStudy, Status
from experiments.records.states import State
from experiments.records.studies import read_studies
from experiments.records.study_file import StudyFile, all_runs_of
from experiments.records.text import counted
from experiments.study.grid import list_grids
from experiments.train import stale
from experiments.train.stale import Fault
from senet.config import find_row

Studies = tuple[list[StudyFile], list[str]]  # and a line on each whose file is damaged
Wanted = Mapping[str, str]  # field of StudyFile -> value
COLUMNS = 6  # seeds that have a column of their own
WATCH_EVERY = 2.0  # seconds


def status(
    grids: Annotated[list[str], typer.Argument(help="only these; all unless given")] = NOTHING,
    dataset: Dataset = "auto",
    network: Annotated[str | None, typer.Option(envvar="NETWORK", help="only this")] = None,
    recipe: RecipeName = "auto",
    data_dir: DataDir = Path("data"),
    results: Results = Path("results/local"),
    watch: Annotated[bool, typer.Option("--watch", help="follows, until Ctrl-C")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="tells which runs today's code would train otherwise")
    ] = False,
    as_json: Json = False,
) -> int:
    """Returns the exit status: 1 where a run is not as it was, or a study is damaged."""
    wanted = {"dataset": dataset, "network": network, "recipe": recipe}
    wanted = {key: value for key, value in wanted.items() if value not in (None, "auto")}
    _refuse_unknown(grids, wanted, results)
    studies = partial(select, results, grids, wanted)
    if watch and (as_json or verify):
        raise ConfigError(
            f"--watch shows states alone: leave {'--json' if as_json else '--verify'} out"
        )
    if watch:
        try:
            follow(lambda: picture(*studies(), results))
        except KeyboardInterrupt:  # the way to end it
            return 0
    faults = _find_stale(studies()[0], results, data_dir) if verify else NONE
    jobs, (now, lost) = squeue.view(results), studies()
    seen = tuple(look_at_runs(study, results, faults, jobs) for study in now)
    lines = (*status_lines(seen, results, faults, jobs), *lost)
    found = Status(results=str(results), studies=seen, lines=lines)
    if as_json:
        print(found.model_dump_json(indent=1))
    else:
        _show(found)
    return int(bool(lost) or any(fault.is_wrong for fault in faults.values()))


def _refuse_unknown(grids: Sequence[str], wanted: Wanted, results: Path) -> None:
    """Raises ConfigError where a data set, a recipe or a grid is not known."""
    there = read_studies(results, [])  # may name what is not known any more
    known = {"dataset": DATASETS, "recipe": recipes(), "grid": list_grids()}
    words = [*wanted.items(), *(("grid", grid) for grid in grids)]
    for key, word in words:
        if key in known:
            asked = {getattr(study, key): None for study in there}
            checked(find_row, key, word, {**known[key], **asked})


def select(results: Path, grids: Sequence[str], wanted: Wanted) -> Studies:
    """Returns the studies of these grids, or of all, that have the wanted values."""
    asked = read_studies(results, lost := [])
    asked = [study for study in asked if not grids or study.grid in grids]
    found = [s for s in asked if all(getattr(s, key) == value for key, value in wanted.items())]
    return found, [f"damaged, left out: {sentence}" for sentence in lost]


def _find_stale(studies: list[StudyFile], results: Path, data_dir: Path) -> dict[Path, Fault]:
    cells = stale.by_cell(path for study in studies for path in all_runs_of(study, results))
    return {
        fault.path: fault
        for cell in track(cells, "verifying", console=errors)
        for fault in stale.verify(cell, data_dir)
    }


def _show(found: Status) -> None:
    if not found.studies:
        say(f"nothing of this was asked for yet in {found.results}: begin with `run`")
    for study in found.studies:
        console.print(_status_table(study))
    for line in found.lines:
        say(line)


def picture(studies: list[StudyFile], lost: list[str], results: Path) -> Group:
    """Returns the sentences on all runs, and a table for each study.

    The study that changed last comes first: a terminal that is too low cuts the end off.
    """
    jobs = squeue.view(results)
    seen = [look_at_runs(study, results, jobs=jobs) for study in studies]
    lines = map(Text, [*status_lines(seen, results, jobs=jobs), *lost])
    return Group(*lines, *map(_status_table, seen))


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


def _status_table(study: SeenStudy) -> Group:
    """Draws a row a cell, a column a seed: states, and errors where there are some.

    With more seeds than fit, a column a state: how many.
    """
    table, most = Table("row"), max(len(row.runs) for row in study.rows)
    if most <= COLUMNS:
        columns = [f"seed {seed}" for seed in range(most)]
        shown = {row.label: [_cell_text(run) for run in row.runs] for row in study.rows}
    else:
        counts = {row.label: Counter(run.finding or run.state for run in row.runs)
                  for row in study.rows}  # fmt: skip
        columns = sorted(set().union(*counts.values()))
        shown = {
            label: [str(count[name] or "–") for name in columns] for label, count in counts.items()
        }
    for column in columns:
        table.add_column(column, justify="right")
    for label, texts in shown.items():
        table.add_row(Text(label), *texts)
    return Group(Text(f"{study.title}\n{study.name}"), table)


def _cell_text(run: SeenRun) -> str:
    now = run.state
    if run.test_error is not None:
        now = f"{run.test_error:.2f} %"
    if run.share is not None:
        now = f"{run.share:.0%} done" if run.share < 1 else "testing"
    return f"{now}, {run.finding}" if run.finding else now


def status_lines(
    studies: Sequence[SeenStudy],
    results: Path,
    faults: Mapping[Path, Fault] = NONE,
    jobs: Mapping[Path, Job] = NO_JOBS,
) -> list[str]:
    """Says how many runs are in which state, and a line on each that needs the user's attention."""
    runs = {run.name: run for study in studies for run in runs_in(study)}
    states = {results / "runs" / name: run.state for name, run in runs.items()}
    lines = [f"{len(runs)} runs: {counted(states.values())}"] if runs else []
    waiting = [jobs[path] for path, now in states.items() if now == State.PENDING]
    for array, of_array in Counter(job.array for job in waiting).items():
        reasons = {job.reason for job in waiting if job.array == array} - {"None", ""}
        why = f" ({', '.join(sorted(reasons))})" if reasons else ""
        lines.append(f"pending      {of_array} runs in job {array}{why}")
    for name, run in runs.items():
        path = results / "runs" / name
        if run.about:
            job = f", job {jobs[path].id}" if path in jobs and jobs[path].is_live else ""
            lines.append(f"{run.state:12} {name}: {run.about}{job}")
        if fault := faults.get(path):
            lines.append(f"{fault.kind:12} {name}: {fault.reason}")
    return lines
