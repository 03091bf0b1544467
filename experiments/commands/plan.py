"""`plan`: what `run` would train, what is there, and what it costs."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from experiments.commands.studies import label_runs, make_studies, read_grids, settle, settle_open
from experiments.data.datasets import path_of
from experiments.plan.options import ForecastOptions, takes
from experiments.plan.torch_process import prices, seconds_of_an_image
from experiments.processes.output import console, say
from experiments.records.record import Record
from experiments.records.states import MISSING
from experiments.records.text import counted, duration
from experiments.study.study import Study

if TYPE_CHECKING:
    from experiments.plan.simulate import Schedule
    from senet.cost import Cost


@takes(ForecastOptions)
def plan(options: ForecastOptions) -> None:
    """Shows the studies, and the schedule of what is missing of them."""
    machine = settle(replace(options, workers=None))
    dataset = options.dataset
    if dataset == "auto":
        dataset = "cifar10"
        if not path_of(dataset, options.data_dir).exists():
            say("cifar10 has to be downloaded; if it cannot be, `run` takes the synthetic set")
    studies = make_studies(read_grids(options), options, dataset, machine.recipe)
    studies = settle_open(studies, options, machine.device)
    price = prices(studies)
    for study in studies:
        console.print(plan_table(study, price, options.results))
        texts = {"": study.grid.about, "Expected: ": study.grid.expect, "Cost: ": study.grid.cost}
        say("\n".join(f"{head}{text}" for head, text in texts.items() if text))
    labels = label_runs(studies, options.results, Study.forecast)
    states = {record: record.state for record in labels}
    missing = [record for record, state in states.items() if state in MISSING]
    say(f"{len(states)} runs ({counted(states.values())}), {len(missing)} to train")
    if missing:
        workers = options.workers or len(machine.slots)
        show_schedule(missing, labels, options, machine.device, workers)


def show_schedule(
    missing: list[Record],
    labels: Mapping[Record, str],
    options: ForecastOptions,
    device: str,
    workers: int,
) -> None:
    """Shows how long the missing runs take so many workers, each with such a device."""
    from experiments.plan.estimate import forecast, seconds  # numpy: not for --help

    is_here = options.launcher == "local"  # else on a device that may not be here
    expected = seconds(missing, device, seconds_of_an_image, is_here)
    schedules, spread = forecast(expected, device, is_here, workers, options.failures)
    total = duration(median(schedule.makespan for schedule in schedules))
    say(f"about {total} on {device}, {min(workers, len(missing)):,} at a time:")
    console.print(schedule_table(schedules, options.price))
    rows = {record.config.cell: label for record, label in labels.items()}
    say("\n".join(schedule_lines(schedules, expected, spread, rows)))


def plan_table(study: Study, price: "Mapping[str, Cost]", results: Path) -> Group:
    """Draws a row a cell: its cost, and how many of its seeds are there."""
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
    """Draws what simulated schedules come to: medians, and where 90 % of them lie."""
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
    labels: Mapping[str, str],
) -> list[str]:
    """Says how run times were drawn, which rows end last, and what no number of workers can do.

    Args:
        schedules: as from `forecast`.
        expected: seconds of each run, as they were given to it.
        spread: as from `forecast`.
        labels: cell -> that of its row.
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
