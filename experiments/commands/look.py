"""Looks at what the files of runs, and Slurm, say of them: what `status` shows."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from experiments.commands.one_run import describe, state_in
from experiments.launch.slurm.squeue import Job
from experiments.records.lock import holder
from experiments.records.schema import SeenRow, SeenRun, SeenStudy
from experiments.records.states import State, read_summary
from experiments.records.study_file import StudyFile, pilots_of, seeds_of_cells
from experiments.train.stale import Fault

NONE: Mapping[Path, Fault] = {}
NO_JOBS: Mapping[Path, Job] = {}


def look(
    study: StudyFile,
    results: Path,
    faults: Mapping[Path, Fault] = NONE,
    jobs: Mapping[Path, Job] = NO_JOBS,
) -> SeenStudy:
    """Looks at every run of a study.

    Args:
        study: what was asked for.
        results: RESULTS.
        faults: of `status --verify`.
        jobs: of runs that Slurm has.
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
    """Looks at a run."""
    now, error, share = state_in(path, jobs), None, None
    if now == State.DONE:
        error = read_summary(path).get("test_error")
    if now == State.RUNNING and (signs := holder(path)) and signs.steps:
        share = signs.share
    fault = faults.get(path)
    return SeenRun(
        name=f"{path.parent.name}/{path.name}",
        seed=int(path.name.removeprefix("seed")),
        state=str(now),
        test_error=error,
        share=share,
        about=describe(path, now),
        finding=fault.kind if fault else "",
    )


def runs_in(study: SeenStudy) -> Iterator[SeenRun]:
    """Lists the runs of a study, its pilots behind them."""
    for row in study.rows:
        yield from row.runs
    yield from study.pilots
