"""Reads contrasts.yaml, the comparisons declared beforehand, as weights of cells. No torch."""

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from analysis.statistics.pool import Weights
from analysis.statistics.stats import trend
from experiments.data.datasets import DATASETS
from experiments.records.parsing import ConfigError, Strict, checked, parse, read_yaml
from experiments.records.recipes import recipes
from experiments.records.study_file import Contrast
from experiments.study.cells import ALL, DEFAULT_NETWORK
from experiments.study.grid import Declaration, Grid, Rows, as_tuple, list_grids, read_grid
from experiments.study.study import StudyDesign, make_study
from senet.config import find_row

PATH = Path(__file__).parents[1] / "contrasts.yaml"
CIFAR = "CIFAR"  # the grid of Table 4 or 5: it is called like its data set


class Comparison(Declaration):
    """Compares the mean of some rows of a grid with that of others.

    grid   the study; "CIFAR" is that of Table 4 or 5
    rows   one row, or several of which the mean is taken
    minus  what it is compared with
    over   numbers, each of which stands for {:,} in the names of the rows: then it is the slope
           per doubling of the number, of the rows or of their difference from `minus`
    """

    grid: str
    minus: Rows = ()
    over: tuple[int, ...] = ()

    @model_validator(mode="after")
    def check_numbers(self) -> Self:
        """Refuses a slope over less than two numbers, and numbers that no name has a place for."""
        if len(self.over) == 1 or (self.over and min(self.over) < 1):
            raise ValueError("over: two numbers or more, from 1 on, are expected")
        if self.over and not all("{:,}" in name for name in self.rows + self.minus):
            raise ValueError("over: the name of each row needs a place for the number, {:,}")
        return self

    def at(self, number: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Returns (rows, minus) with a number in its place."""
        rows, minus = (
            tuple(name.replace("{:,}", f"{number:,}") for name in names)
            for names in (self.rows, self.minus)
        )
        return rows, minus

    @property
    def labels(self) -> tuple[str, ...]:
        """Returns the rows that are compared."""
        if not self.over:
            return self.rows + self.minus
        return tuple(name for x in self.over for names in self.at(x) for name in names)

    @property
    def name(self) -> str:
        """Names the comparison, as in `SE minus no SE`."""
        if not self.over:
            return f"{joined(self.rows)} minus {joined(self.minus)}" if self.minus else self.rows[0]
        if not self.minus:
            first, last = (joined(self.at(x)[0]) for x in (self.over[0], self.over[-1]))
            return f"a doubling from {first} to {last}"
        rows, minus = (joined(some).replace("{:,}", "N") for some in (self.rows, self.minus))
        return f"{rows} minus {minus}, a doubling of N from {self.ends}"

    @property
    def steps(self) -> float:
        """Counts the doublings spanned: likeness is asked of all of them together, not of each."""
        return math.log2(max(self.over) / min(self.over)) if self.over else 1.0

    @property
    def ends(self) -> str:
        return f"{self.over[0]:,} to {self.over[-1]:,}"

    def weights(self) -> dict[str, float]:
        """Returns row -> weight of its mean."""
        if not self.over:
            return weights_of(self.rows, self.minus)
        slope = trend({x: math.log2(x) for x in self.over})
        return {
            row: weight * share
            for x, weight in slope.items()
            for row, share in self.weights_at(x).items()
        }

    def weights_at(self, number: int) -> dict[str, float]:
        """Returns row -> weight of its mean, of the difference at one of the numbers of `over`."""
        return weights_of(*self.at(number))

    def of_cells(self, cells: Mapping[str, str]) -> dict[str, float]:
        """Returns cell -> weight. Raises KeyError where a row is not a label of `cells`."""
        return {cells[row]: weight for row, weight in self.weights().items()}


def weights_of(rows: Sequence[str], minus: Sequence[str]) -> dict[str, float]:
    """Returns row -> weight, for the mean of rows minus that of others."""
    found = dict.fromkeys(rows, 1 / len(rows))
    return found | {row: -1 / len(minus) for row in minus}


def joined(rows: tuple[str, ...]) -> str:
    return rows[0] if len(rows) == 1 else f"the mean of {', '.join(rows[:-1])} and {rows[-1]}"


class Declared(Comparison):
    """Holds a comparison that gets a verdict, and its two sides in plain words."""

    who: str
    than: str = ""


def own_comparison(grid: str, one: Contrast) -> Declared:
    """Makes a comparison that a grid declares itself from what its study's file keeps."""
    who, than = joined(one.rows), joined(one.minus)
    return Declared(grid=grid, rows=one.rows, minus=one.minus, who=who, than=than)


class Groups(Strict):
    """Names the groups whose records are confirmatory or exploratory.

    confirmatory  the group that the rule was declared before
    exploratory   the one whose records were seen before the rule was `changed`
    """

    confirmatory: tuple[str, str, str]
    exploratory: tuple[str, str, str]
    changed: str


class Contrasts(Strict):
    groups: Groups
    comparisons: tuple[Declared, ...] = Field(min_length=1)


@cache
def read_contrasts(path: Path | None = None) -> Contrasts:
    """Reads and checks contrasts.yaml.

    Raises ConfigError on an unknown data set, network, recipe, study or row.
    """
    path = path or PATH
    found = parse(Contrasts, read_yaml(path), path.name)
    for dataset, network, recipe in (found.groups.confirmatory, found.groups.exploratory):
        checked(find_row, f"{path.name}: data set", dataset, dict.fromkeys(DATASETS))
        checked(find_row, f"{path.name}: network", network, dict.fromkeys(_networks_of_grids()))
        checked(find_row, f"{path.name}: recipe", recipe, dict.fromkeys(recipes()))
    for comparison in found.comparisons:
        check_rows(comparison, path.name)
    return found


@cache
def standing(group: tuple[str, ...]) -> list[str]:
    """Says, in a sentence, where the records were seen before the rule was made; [] elsewhere."""
    groups = read_contrasts().groups
    if group != groups.exploratory:
        return []
    return [f"This is exploratory: the rule was changed on {groups.changed}, after these records."]


def _networks_of_grids() -> list[str]:
    """Lists the networks that studies are of: the usual one, and those that the grids vary."""
    cells = (cell for name in list_grids() for cell in _grid_of(name)[1].cells)
    varied = (as_tuple(cell["network"]) for cell in cells if "network" in cell)
    return [DEFAULT_NETWORK, ALL, *dict.fromkeys(network for some in varied for network in some)]


def check_rows(comparison: Comparison, file: str, dataset: str | None = None) -> None:
    """Raises ConfigError where the study has no such grid, or the grid no such row."""
    for name in ("cifar10", "cifar100") if comparison.grid == CIFAR else (comparison.grid,):
        if comparison.grid == CIFAR and dataset not in (None, name):
            continue
        checked(find_row, f"{file}: study", name, list_grids())
        labels = _cells_of(name, _grid_of(name)[1].dataset or "cifar10", "auto", "fast")
        for row in comparison.labels:
            if row not in labels:
                rows = ", ".join(labels)
                raise ConfigError(f"{file}: the study {name!r} has no row {row!r}: it has {rows}")


def declares(study: StudyDesign) -> bool:
    """Tells whether a comparison is declared for this grid, here or in its own file."""
    known = declared(study.dataset, study.network, study.recipe, study.settings)
    return bool(study.grid.declares) or any(one.grid == study.grid_name for one, _ in known)


def declared(
    dataset: str, network: str, recipe: str, settings: Mapping[str, Any] | None = None
) -> tuple[tuple[Declared, Weights], ...]:
    """Lists what is declared for a group, there or not: (comparison, cell -> weight)."""
    return declared_of(dataset, network, recipe, json.dumps(settings or {}, sort_keys=True))


@cache
def declared_of(
    dataset: str, network: str, recipe: str, settings: str
) -> tuple[tuple[Declared, Weights], ...]:
    """Lists the comparisons that are declared for a group; `settings` are --set's, as JSON."""
    found = []
    for one in read_contrasts().comparisons:
        try:
            cells = _cells_of(one.grid, dataset, network, recipe, settings)
            found.append((one, one.of_cells(cells)))
        except (ConfigError, KeyError):  # the settings do not fit the grid, or rows are left out
            continue
    return tuple(found)


@cache
def _grid_of(name: str) -> tuple[Path, Grid]:
    """Reads one of our grids, once."""
    return read_grid(name)


@cache
def _cells_of(
    grid: str, dataset: str, network: str, recipe: str, settings: str = "{}"
) -> Mapping[str, str]:
    """Returns row -> cell of a grid in a group; `settings` are --set's, as JSON.

    Raises ConfigError where the group does not fit the grid.
    """
    study = make_study(
        grid,
        *_grid_of(grid),
        dataset=dataset,
        network="auto" if network == ALL else network,
        recipe=recipe,
        settings=json.loads(settings),
    )
    return {cell.label: cell.config.cell for cell in study.cells}
