"""Looks at what the files of runs, and Slurm, say of them: what `status` shows."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from experiments.launch.slurm.squeue import Job
from experiments.records.lock import holder
from experiments.records.parsing import ConfigError
from experiments.records.results import damage
from experiments.records.schema import SeenRow, SeenRun, SeenStudy
from experiments.records.signs import Signs
from experiments.records.states import (
    FINISHED,
    LEFT,
    UNFINISHED,
    State,
    failure,
    how_it_was_left,
    read_summary,
    state,
)
from experiments.records.study_file import StudyFile, pilots_of, seeds_of_cells
from experiments.train.stale import Fault

NONE: Mapping[Path, Fault] = {}
NO_JOBS: Mapping[Path, Job] = {}


def look_at_runs(
    study: StudyFile,
    results: Path,
    faults: Mapping[Path, Fault] = NONE,
    jobs: Mapping[Path, Job] = NO_JOBS,
) -> SeenStudy:
    """Says of every run and pilot of a study how far it is, and what was found of it.

    `faults` are those that `status --verify` finds, `jobs` those that Slurm has.
    """
    asked, rows = seeds_of_cells([study]), []
    for row in study.rows:
        seeds = range(asked[row.cell])
        paths = [results / "runs" / row.cell / f"seed{seed}" for seed in seeds]
        runs = tuple(_look_at(path, faults, jobs) for path in paths)
        rows.append(SeenRow(label=row.label, cell=row.cell, runs=runs))
    keys = ("name", "title", "grid", "dataset", "network", "recipe")
    pilots = tuple(_look_at(path, faults, jobs) for path in pilots_of(study, results))
    return SeenStudy(**{key: getattr(study, key) for key in keys}, rows=tuple(rows), pilots=pilots)


def _look_at(path: Path, faults: Mapping[Path, Fault], jobs: Mapping[Path, Job]) -> SeenRun:
    now, fault = _state_in(path, jobs), faults.get(path)
    error = read_summary(path).get("test_error") if now == State.DONE else None
    signs = (holder(path) if now == State.RUNNING else None) or Signs()
    return SeenRun(
        name=f"{path.parent.name}/{path.name}",
        seed=int(path.name.removeprefix("seed")),
        state=str(now),
        test_error=error,
        share=signs.share,
        about=_describe(path, now, signs),
        finding=fault.kind if fault else "",
    )


def _state_in(path: Path, jobs: Mapping[Path, Job]) -> State:
    """Returns a run's state; what Slurm says of it, where its files leave that open."""
    now, job = state(path), jobs.get(path)
    if now in FINISHED and damage(path):
        return State.DAMAGED
    if job is None or now not in UNFINISHED or now == State.RUNNING:
        return now
    if job.is_live:
        return State.PENDING
    return State.CANCELLED if job.state == "CANCELLED" else now


def _describe(path: Path, now: str, signs: Signs) -> str:
    """Says why a run is not done, or how far it is, by its signs of life; "" for nothing to say."""
    if now == State.RUNNING:
        return _progress(signs)
    if now in LEFT:
        epochs, *why = how_it_was_left(path)
        resumes = "a checkpoint" if (path / "checkpoint.pt").exists() else "no checkpoint"
        return "; ".join([f"{epochs}, with {resumes}", *why])
    if now == State.FAILED:
        return f"{failure(path)} ({path / 'error.txt'})"
    if now == State.DAMAGED:
        try:
            read_summary(path)
        except ConfigError as error:
            return str(error)
        return damage(path)
    return ""


def _progress(signs: Signs) -> str:
    is_training = signs.share is not None and signs.share < 1
    step = [f"step {signs.step:,} of {signs.steps:,}"] if is_training else []
    return ", ".join([*step, *signs.words, signs.who])


def runs_in(study: SeenStudy) -> Iterator[SeenRun]:
    """Lists the runs of a study, its pilots behind them."""
    for row in study.rows:
        yield from row.runs
    yield from study.pilots
