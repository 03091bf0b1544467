"""Shows what `run` would train, what is there, and what it costs: the command `plan`."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from experiments.commands.studies import (
    label_runs,
    make_studies,
    read_grids,
    settle_open,
    slots_and_recipe,
)
from experiments.data.datasets import path_of
from experiments.plan.options import ForecastOptions, takes
from experiments.plan.torch_process import prices, seconds_of_an_image
from experiments.processes.output import console, remark, say
from experiments.records.record import Record
from experiments.records.schema import Forecast, PlannedRow, PlannedRuns, PlannedStudy, Simulated
from experiments.records.states import UNFINISHED
from experiments.records.text import duration
from experiments.study.study import StudyDesign

if TYPE_CHECKING:
    from experiments.plan.simulate import Schedule
    from senet.cost import Cost

# Of a schedule -> what the table calls it, and how it is written there.
HOURS = "{:,.1f}".format
FIGURES = {
    "makespan": ("time", duration),
    "work": ("work (worker hours)", lambda seconds: HOURS(seconds / 3600)),
    "utilisation": ("utilisation", "{:.1%}".format),
    "speedup": ("times as fast as one worker", HOURS),
    "tail": ("at the end, half of the workers idle", duration),
    "restarts": ("restarts", "{:,.0f}".format),
    "lost": ("lost to failures (worker hours)", lambda seconds: HOURS(seconds / 3600)),
    "cost": ("cost", "{:,.2f}".format),
}


@takes(ForecastOptions)
def plan(options: ForecastOptions) -> None:
    slots, recipe = slots_and_recipe(replace(options, workers=None))
    dataset = options.dataset
    if dataset == "auto":
        dataset = "cifar10"
        if not path_of(dataset, options.data_dir).exists():
            tell = remark if options.as_json else say
            tell("cifar10 has to be downloaded; if it cannot be, `run` takes cifar10_mini")
    studies = make_studies(read_grids(options), options, dataset, recipe)
    studies = settle_open(studies, options, slots[0])
    price = prices(studies)
    labels = label_runs(studies, options.results, StudyDesign.forecast)
    states = {record: record.state for record in labels}
    missing = [record for record, state in states.items() if state in UNFINISHED]
    workers = options.workers or len(slots)
    found = PlannedRuns(
        states=dict(sorted(Counter(map(str, states.values())).items())),
        missing=len(missing),
        forecast=_foresee(missing, labels, options, slots[0], workers) if missing else None,
        studies=tuple(_planned(study, price, options.results) for study in studies),
    )
    if options.as_json:
        print(found.model_dump_json(indent=1))
    else:
        _show(found)


def _foresee(
    missing: list[Record],
    labels: Mapping[Record, str],
    options: ForecastOptions,
    device: str,
    workers: int,
) -> Forecast:
    """Simulates how long the missing runs take so many workers, each with such a device."""
    import numpy as np

    from experiments.plan.estimate import expected_seconds, forecast  # numpy: not for --help

    is_here = options.launcher == "local"  # else on a device that may not be here
    expected = expected_seconds(missing, device, seconds_of_an_image, is_here)
    schedules, spread = forecast(expected, device, is_here, workers, options.failures)
    rows = {record.config.cell: label for record, label in labels.items()}
    figures = {}
    for name in FIGURES:
        values = [one.cost(options.price) if name == "cost" else getattr(one, name)
                  for one in schedules]  # fmt: skip
        low, median, high = np.quantile(values, [0.05, 0.5, 0.95]).tolist()
        figures[name] = Simulated(median=median, low=low, high=high)
    lines = tuple(_schedule_lines(schedules, expected, spread, rows))
    return Forecast(device=device, workers=min(workers, len(missing)), figures=figures, lines=lines)


def _planned(study: StudyDesign, price: "Mapping[str, Cost]", results: Path) -> PlannedStudy:
    """Tells of each row its cost, and how many of its runs are there."""
    settled, rows = {cell.label: cell for cell in study.settled}, []
    for cell in study.cells:
        cost = price[cell.config.cell]
        now = settled.get(cell.label, cell)
        seeds = [config for _, config in study.seeds_of([now])]
        rows.append(
            PlannedRow(
                label=cell.label,
                cell=now.config.cell,
                parameters=cost.parameters,
                multiply_adds=cost.multiply_adds,
                hidden={stage: tuple(widths) for stage, widths in cost.hidden.items()},
                seeds=len(seeds),
                finished=sum(Record(results, config).finished for config in seeds),
            )
        )
    grid = study.grid
    texts = {"about": grid.about, "expected": grid.expect, "cost": grid.cost}
    return PlannedStudy(name=study.name, title=grid.title, rows=tuple(rows), **texts)


def _show(found: PlannedRuns) -> None:
    words = ", ".join(f"{number} {state}" for state, number in found.states.items())
    say(f"{sum(found.states.values())} runs ({words}), {found.missing} to train")
    if (forecast := found.forecast) is not None:
        total = duration(forecast.figures["makespan"].median)
        say(f"about {total} on {forecast.device}, {forecast.workers:,} at a time:")
        console.print(_schedule_table(forecast))
        say("\n".join(forecast.lines))
    for study in found.studies:
        console.print(_plan_table(study))
        texts = {"": study.about, "Expected: ": study.expected, "Cost: ": study.cost}
        say("\n".join(f"{head}{text}" for head, text in texts.items() if text))
        if narrow := [row.label for row in study.rows if any(1 in w for w in row.hidden.values())]:
            say(f"One hidden unit decides on all channels of a block: {', '.join(narrow)}")


def _plan_table(study: PlannedStudy) -> Group:
    """Draws a row a cell: its cost, and how many of its seeds are there."""
    table = Table()
    table.add_column("row")
    for column in ("parameters", "M multiply-adds", "hidden units", "runs there"):
        table.add_column(column, justify="right")
    for row in study.rows:
        widths = " / ".join("-".join(map(str, widths)) for widths in row.hidden.values())
        there = f"{row.finished} of {row.seeds}"
        operations = f"{row.multiply_adds / 1e6:.2f}"
        table.add_row(Text(row.label), f"{row.parameters:,}", operations, widths, there)
    return Group(Text(f"{study.title}\n{study.name}"), table)


def _schedule_table(forecast: Forecast) -> Table:
    """Draws what simulated schedules come to: medians, and where 90 % of them lie."""
    table = Table("", "median", "90 % of simulations")
    for name, (words, form) in FIGURES.items():
        found = forecast.figures[name]
        low, median, high = map(form, (found.low, found.median, found.high))
        if found.high:  # without failures, or a price, there is nothing to say of them
            table.add_row(words, median, f"{low} to {high}" if low != high else "")
    return table


def _schedule_lines(
    schedules: Sequence["Schedule"],
    expected: Mapping[Record, float],
    spread: float | None,
    labels: Mapping[str, str],
) -> list[str]:
    """Says how run times were drawn, which rows end last, and what no number of workers can do.

    `schedules`, `expected` and `spread` are those of `forecast`; `labels` maps a cell to its row's.
    """
    runs, longest = list(expected), max(expected.values())
    last = Counter(labels[runs[schedule.last].config.cell] for schedule in schedules)
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
