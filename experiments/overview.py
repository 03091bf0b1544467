"""`plan` and `status` as tables for the terminal. No torch here."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from experiments.grid import Study
from experiments.record import Record, read_json, state

if TYPE_CHECKING:
    from senet.cost import Cost


def plan_table(study: Study, price: "Mapping[str, Cost]", results: Path) -> Table:
    """A row a cell: its cost, and how many of its seeds are there."""
    table = Table(title=Text(f"{study.grid.title}\n{study.name}"), title_justify="left")
    table.add_column("row")
    for column in ("parameters", "M multiply-adds", "hidden units", "runs there"):
        table.add_column(column, justify="right")
    for cell in study.cells:
        cost = price[cell.config.cell]
        widths = " / ".join("-".join(map(str, w)) for w in cost.hidden.values())
        seeds = [cell.config.model_copy(update={"seed": s}) for s in range(study.seeds)]
        there = sum(Record(results, config).finished for config in seeds)
        operations = f"{cost.multiply_adds / 1e6:.2f}"
        row = (f"{cost.parameters:,}", operations, widths, f"{there} of {study.seeds}")
        table.add_row(Text(cell.label), *row)
    return table


def status_table(study: dict[str, Any], results: Path) -> Table:
    """A row a cell, a column a seed: states, and errors where there are some."""
    table = Table(title=Text(f"{study['title']}\n{study['name']}"), title_justify="left")
    table.add_column("row")
    for seed in range(study["seeds"]):
        table.add_column(f"seed {seed}", justify="right")
    for row in study["rows"]:
        runs = (results / "runs" / row["cell"] / f"seed{s}" for s in range(study["seeds"]))
        table.add_row(Text(row["label"]), *map(status_of, runs))
    return table


def status_of(run: Path) -> str:
    now = state(run)
    if now != "done":
        return now
    return f"done, {read_json(run / 'summary.json')['test_error']:.2f} %"
