"""`plan` and `status` as tables for the terminal. No torch here."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from experiments.launch.slurm.squeue import Job
from experiments.records.files import read_sealed
from experiments.records.lock import holder
from experiments.records.parsing import ConfigError
from experiments.records.record import Record
from experiments.records.signs import Signs
from experiments.records.states import LEFT, MISSING, State, failure, how_it_was_left, state
from experiments.records.study_file import StudyFile, pilots_of, runs_of, seeds_of_cells
from experiments.records.text import duration
from experiments.study.study import Study
from experiments.train.stale import Finding

if TYPE_CHECKING:
    from experiments.plan.simulate import Schedule
    from senet.cost import Cost

NONE: Mapping[Path, Finding] = {}
NO_JOBS: Mapping[Path, Job] = {}
COLUMNS = 6  # seeds that have a column of their own


def plan_table(study: Study, price: "Mapping[str, Cost]", results: Path) -> Group:
    """A row a cell: its cost, and how many of its seeds are there."""
    table = Table()
    table.add_column("row")
    for column in ("parameters", "M multiply-adds", "hidden units", "runs there"):
        table.add_column(column, justify="right")
    settled = {cell.label: cell for cell in study.settled}
    for cell in study.cells:
        cost = price[cell.config.cell]
        widths = " / ".join("-".join(map(str, w)) for w in cost.hidden.values())
        seeds = [config for _, config in study.seeds_of([settled.get(cell.label, cell)])]
        there = sum(Record(results, config).finished for config in seeds)
        operations = f"{cost.multiply_adds / 1e6:.2f}"
        row = (f"{cost.parameters:,}", operations, widths, f"{there} of {len(seeds)}")
        table.add_row(Text(cell.label), *row)
    return Group(Text(f"{study.grid.title}\n{study.name}"), table)


def schedule_table(schedules: Sequence["Schedule"], price: float) -> Table:
    """What simulated schedules of one study come to: medians, and where 90 % of them lie."""
    import numpy as np

    table = Table("", "median", "90 % of simulations")
    hours = "{:,.1f}".format
    rows = {
        "time": (lambda s: s.makespan, duration),
        "work (worker hours)": (lambda s: s.work / 3600, hours),
        "utilisation": (lambda s: s.utilisation, "{:.1%}".format),
        "times as fast as one worker": (lambda s: s.speedup, hours),
        "at the end, half of the workers idle": (lambda s: s.tail, duration),
        "restarts": (lambda s: s.restarts, "{:,.0f}".format),
        "lost to failures (worker hours)": (lambda s: s.lost / 3600, hours),
        "cost": (lambda s: s.cost(price), "{:,.2f}".format),
    }
    for name, (value, form) in rows.items():
        values = [value(schedule) for schedule in schedules]
        low, median, high = map(form, np.quantile(values, [0.05, 0.5, 0.95]))
        if any(values):  # without failures, or a price, there is nothing to say of them
            table.add_row(name, median, f"{low} to {high}" if low != high else "")
    return table


def schedule_lines(
    schedules: Sequence["Schedule"],
    expected: Mapping[Record, float],
    spread: float | None,
    names: Mapping[str, str],
) -> list[str]:
    """How run times were drawn, which rows end last, and what no number of workers can do.

    Args:
        schedules: as from `forecast`.
        expected: seconds of each run, as they were given to it.
        spread: as from `forecast`.
        names: cell -> what its row is called.
    """
    runs, longest = list(expected), max(expected.values())
    last = Counter(names[runs[schedule.last].config.cell] for schedule in schedules)
    rows = "; ".join(f"{name} ({n} of {len(schedules)})" for name, n in last.most_common(3))
    most = sum(expected.values()) / longest
    vary = "no row has two finished runs on such a machine: run times are taken not to vary"
    if spread is not None:
        vary = f"run times vary by {spread:.1%} in a row, as those of the finished runs do"
    return [
        vary,
        f"most often last: {rows}",
        f"the longest run takes {duration(longest)}: no number of workers is more than {most:,.1f} "
        f"times as fast as one, and more than {math.floor(most):,} cannot all be kept busy",
    ]


def state_in(path: Path, jobs: Mapping[Path, Job]) -> State:
    """A run's state, where its files leave it open with what Slurm says: pending or cancelled."""
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
    """A row a cell, a column a seed: states, and errors where there are some.

    With more seeds than fit, a column a state: how many.

    Args:
        study: what was asked for.
        results: RESULTS.
        findings: of `status --verify`.
        jobs: of runs that Slurm has.
    """
    table = Table()
    table.add_column("row")
    asked = seeds_of_cells([study])
    seeds = range(max(asked.values()))
    rows = {
        row.label: [results / "runs" / row.cell / f"seed{seed}" for seed in range(asked[row.cell])]
        for row in study.rows
    }
    if len(seeds) <= COLUMNS:
        shown = {
            label: [cell_text(path, state_in(path, jobs), findings.get(path)) for path in paths]
            for label, paths in rows.items()
        }
        columns = [f"seed {seed}" for seed in seeds]
    else:
        counts = {
            label: Counter(
                findings[path].kind if path in findings else state_in(path, jobs) for path in paths
            )
            for label, paths in rows.items()
        }
        columns = sorted({name for count in counts.values() for name in count})
        shown = {
            label: [str(count[name] or "–") for name in columns] for label, count in counts.items()
        }
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
    """How many runs are in which state, and a line on each that someone may want to look at."""
    names = {
        path: f"{path.parent.name}/{path.name}"
        for study in studies
        for path in [*runs_of(study, results), *pilots_of(study, results)]
    }
    states = {path: state_in(path, jobs) for path in names}
    counts = sorted(Counter(states.values()).items())
    total = ", ".join(f"{number} {name}" for name, number in counts)
    lines = [f"{len(names)} runs: {total}"] if names else []
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
    """What there is to say of a run that is not done."""
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
    """What stands in a run's cell of the table."""
    if now == State.DONE:
        error = read_sealed(path / "summary.json")["test_error"]
        now = f"{error:.2f} %"
    if now == State.RUNNING and (signs := holder(path)) and signs.steps:
        now = f"{signs.share:.0%} done" if signs.step < signs.steps else "testing"
    return f"{now}, {finding.kind}" if finding else now


def progress(signs: Signs) -> str:
    """What the process that trains a run says of itself."""
    is_training = signs.share is not None and signs.share < 1
    step = [f"step {signs.step:,} of {signs.steps:,}"] if is_training else []
    return ", ".join([*step, *signs.words, signs.who])
