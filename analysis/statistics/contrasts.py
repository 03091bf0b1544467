"""The comparisons that were declared beforehand, contrasts.yaml, as weights of cells. No torch."""

import json
import math
import re
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from analysis.statistics.stats import trend
from experiments.data.datasets import DATASETS
from experiments.records.parsing import ConfigError, Strict, checked, parse, read_yaml
from experiments.records.recipes import recipes
from experiments.records.study_file import Contrast
from experiments.study.cells import ALL, DEFAULT_NETWORK
from experiments.study.grid import Declaration, Rows, list_grids, read_grid, several
from experiments.study.study import Study, expand
from senet.config import choose

PATH = Path(__file__).parents[1] / "contrasts.yaml"
CIFAR = "CIFAR"  # the grid of Table 4 or 5: it is called like its data set


class Comparison(Declaration):
    """Means of rows of a grid against each other.

    grid   the study; "CIFAR" is that of Table 4 or 5
    rows   one row, or several of which the mean is taken
    minus  what it is compared with
    by     doubling: instead, the slope over the rows, which are called `... = number`
    over   with `by`: numbers that stand for {:,} in all names; the slope is of the difference
    """

    grid: str
    minus: Rows = ()
    by: Literal["doubling"] | None = None
    over: tuple[int, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        names = self.rows + self.minus
        return tuple(n.format(x) for x in self.over for n in names) if self.over else names

    @property
    def name(self) -> str:
        """`SE minus no SE`."""
        if self.over:
            rows, minus = (joined(some).replace("{:,}", "N") for some in (self.rows, self.minus))
            return f"{rows} minus {minus}, a doubling of N from {self.ends}"
        if self.by:
            return f"a doubling from {self.rows[0]} to {self.rows[-1]}"
        return f"{joined(self.rows)} minus {joined(self.minus)}" if self.minus else self.rows[0]

    @property
    def steps(self) -> float:
        """How many steps its rows span: likeness is asked of the whole way, not of each step."""
        if not self.by:
            return 1.0
        numbers = [math.log2(x) for x in self.over or map(number_in, self.rows)]
        return max(numbers) - min(numbers)

    @property
    def ends(self) -> str:
        return f"{self.over[0]:,} to {self.over[-1]:,}"

    def weights(self) -> dict[str, float]:
        """Row -> weight of its mean."""
        if self.by and not self.over:
            return trend({row: math.log2(number_in(row)) for row in self.rows})
        if not self.over:
            return self.weights_at(None)
        slope = trend({x: math.log2(x) for x in self.over})
        return {
            row: weight * share
            for x, weight in slope.items()
            for row, share in self.weights_at(x).items()
        }

    def weights_at(self, number: int | None) -> dict[str, float]:
        """The same of the difference at one of the numbers that stand for {:,}."""
        rows, minus = (
            [row if number is None else row.format(number) for row in some]
            for some in (self.rows, self.minus)
        )
        found = dict.fromkeys(rows, 1 / len(rows))
        return found | {row: -1 / len(minus) for row in minus}

    def of_cells(self, cells: dict[str, str]) -> dict[str, float]:
        """The same by cell. Raises KeyError where a row is not among the labels of `cells`."""
        return {cells[row]: weight for row, weight in self.weights().items()}


def joined(rows: tuple[str, ...]) -> str:
    return rows[0] if len(rows) == 1 else f"the mean of {', '.join(rows[:-1])} and {rows[-1]}"


def number_in(row: str) -> float:
    if not (match := re.search(r"= (\d+)$", row)):
        raise ConfigError(f"contrasts.yaml: the row {row!r} has no number to take a trend over")
    return float(match[1])


class Declared(Comparison):
    """A comparison that gets a verdict, and its two sides in plain words."""

    who: str
    than: str = ""


def own_comparison(grid: str, one: Contrast) -> Declared:
    """What a grid declares itself, as its study's file keeps it."""
    who, than = joined(one.rows), joined(one.minus)
    return Declared(grid=grid, rows=one.rows, minus=one.minus, who=who, than=than)


class Groups(Strict):
    """Which records prove something.

    confirmatory  the group that the rule was declared before
    exploratory   the one whose records were seen before the rule was `changed`
    """

    confirmatory: tuple[str, str, str]
    exploratory: tuple[str, str, str]
    changed: str


class Contrasts(Strict):
    """contrasts.yaml."""

    groups: Groups
    comparisons: tuple[Declared, ...] = Field(min_length=1)


@cache
def read_contrasts(path: Path | None = None) -> Contrasts:
    """Reads and checks it.

    Raises ConfigError on an unknown data set, network, recipe, study or row.
    """
    path = path or PATH
    found = parse(Contrasts, read_yaml(path), path.name)
    for dataset, network, recipe in (found.groups.confirmatory, found.groups.exploratory):
        checked(choose, f"{path.name}: data set", dataset, dict.fromkeys(DATASETS))
        checked(choose, f"{path.name}: network", network, dict.fromkeys(networks_of_grids()))
        checked(choose, f"{path.name}: recipe", recipe, dict.fromkeys(recipes()))
    for comparison in found.comparisons:
        check_rows(comparison, path.name)
        comparison.weights()
    return found


def networks_of_grids() -> list[str]:
    """The networks that studies are of: the usual one, and those that the grids vary."""
    cells = (cell for name in list_grids() for cell in read_grid(name)[1].cells)
    varied = (several(cell["network"]) for cell in cells if "network" in cell)
    return [DEFAULT_NETWORK, ALL, *dict.fromkeys(network for some in varied for network in some)]


def check_rows(comparison: Comparison, file: str, dataset: str | None = None) -> None:
    """Raises ConfigError where the study has no such grid, or the grid no such row."""
    for name in ("cifar10", "cifar100") if comparison.grid == CIFAR else (comparison.grid,):
        if comparison.grid == CIFAR and dataset not in (None, name):
            continue
        checked(choose, f"{file}: study", name, list_grids())
        labels = labels_of(name)
        for row in comparison.labels:
            if row not in labels:
                rows = ", ".join(labels)
                raise ConfigError(f"{file}: the study {name!r} has no row {row!r}: it has {rows}")


@cache
def labels_of(grid: str) -> tuple[str, ...]:
    dataset = read_grid(grid)[1].dataset or "cifar10"
    return tuple(cell.label for cell in expand(grid, dataset=dataset, recipe="fast").cells)


def declared(dataset: str, network: str, recipe: str, settings: dict[str, Any] | None = None):
    """[(comparison, cell -> weight)] of a group: what is declared, there or not."""
    return list(declared_of(dataset, network, recipe, json.dumps(settings or {}, sort_keys=True)))


def declares(study: Study) -> bool:
    """Tells whether a comparison is declared for this grid, here or in its own file."""
    known = declared(study.dataset, study.network, study.recipe, study.settings)
    return bool(study.grid.declares) or any(one.grid == study.grid_name for one, _ in known)


@cache
def declared_of(dataset: str, network: str, recipe: str, settings: str) -> tuple:
    found = []
    for comparison in read_contrasts().comparisons:
        try:
            study = expand(
                comparison.grid,
                dataset=dataset,
                network="auto" if network == ALL else network,
                recipe=recipe,
                settings=json.loads(settings),
            )
            found.append((comparison, comparison.of_cells(cells_of(study))))
        except (ConfigError, KeyError):  # the settings do not fit the grid, or rows are left out
            continue
    return tuple(found)


def cells_of(study: Study) -> dict[str, str]:
    return {cell.label: cell.config.cell for cell in study.cells}
