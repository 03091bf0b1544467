"""Reads a grid file: what a study varies. No torch here. (What becomes of it: study.py.)

    title, about, cost, expect   what a reader should know
    table                        the paper's table that it rebuilds, or null
    dataset                      null, or the only data set that it is of
    seeds                        null, or the most that it trains unless it is told otherwise
    controls                     rows of CONTROLS, trained beside the cells; `place` is for each
                                 cell whose gate stands elsewhere a gate of 1/2 there
    code                         a file of choices of one's own, beside the grid file, or null
    reference                    the label of the row that the others are compared with, or null
    tune                         a setting and the values of it that each row tries, before it is
                                 trained with the best: tuning.py
    pilots                       how many seeds try each of these values
    declares                     comparisons that get a verdict: `rows` minus other rows, `minus`
    cells                        what is varied: each entry sets dotted keys of RunConfig; a list
                                 is an axis, several axes are crossed; `label` names the rows, and
                                 `reference` the row that they are compared with instead

grids/*.yaml are the examples.
"""

import os
import re
from itertools import pairwise, product
from math import prod
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from experiments.records.parsing import ConfigError, Strict, checked, parse, read_yaml
from experiments.records.study_file import MOST_ROWS, Line
from experiments.study.settings import refuse_own
from senet.config import find_row

GRIDS = Path(__file__).parents[1] / "grids"
THOUSANDS = 10_000  # from here on numbers have commas
WORDS = {"label", "reference"}  # of an entry of `cells` that are no keys of a config

PLAIN, CONSTANT = "no SE", "gate fixed at 1/2"  # labels of controls
CONTROLS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": (PLAIN, {"se": None}),
    "half": (f"{PLAIN}, branches begin at 1/2", {"se": None, "branch_scale": 0.5}),
    "constant": (CONSTANT, {"se": {"excitation": "constant"}}),
}
PLACE = "place"  # the control that depends on the cell


def as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


Rows = Annotated[tuple[str, ...], BeforeValidator(as_tuple)]


class Declaration(Strict):
    """Compares rows with others: on each side one row, or several of which the mean is taken."""

    rows: Rows = Field(min_length=1)
    minus: Rows = Field(min_length=1)


def ascending(values: tuple[float, ...]) -> tuple[float, ...]:
    if any(low >= high for low, high in pairwise(values)):
        raise ValueError("the values of a bracket stand in ascending order")
    return values


Bracket = Annotated[
    tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=2), AfterValidator(ascending)
]


class Grid(Strict):
    """Holds a grid file as it stands."""

    title: str = Field(pattern=r"^[^\n\r|]+$")
    table: str | None = Field(None, pattern=r"^\d+$")
    about: str = ""
    cost: str = ""
    expect: str = ""
    dataset: str | None = None
    seeds: int | None = None
    controls: tuple[Literal["plain", "half", "constant", "place"], ...] = ("plain", "constant")
    code: Line | None = None
    reference: str | None = None
    tune: dict[str, Bracket] = Field({}, max_length=1)
    pilots: int = Field(1, ge=1, le=10)
    declares: tuple[Declaration, ...] = ()
    cells: tuple[dict[str, Any], ...]

    @property
    def keys(self) -> set[str]:
        """Returns the dotted keys that the grid varies, fixes or tunes."""
        return {key for cell in self.cells for key in cell} - WORDS | set(self.tune)

    @property
    def varies_network(self) -> bool:
        return "network" in self.keys


class Point(Strict):
    """Describes a point of an entry's axes.

    levels  the short names of its keys and their values, as text
    values  dotted keys and their values
    """

    label: str
    reference: str | None
    levels: dict[str, str]
    values: dict[str, Any]


def list_grids() -> dict[str, Path]:
    """Lists the grid files of the project by name."""
    return {path.stem: path for path in sorted(GRIDS.glob("*.yaml"))}


def read_grid(name: str) -> tuple[Path, Grid]:
    """Reads a grid by its name, or by the path of one's own file; returns (its file, Grid)."""
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = checked(find_row, "grid", name, list_grids())
    elif path.stem in list_grids() and path.resolve() != list_grids()[path.stem].resolve():
        raise ConfigError(f"{path}: {path.stem!r} is the name of a grid here: rename the file")
    if not re.fullmatch(r"[\w,=+][^\x00-\x1f\x7f]*", path.stem):  # it names files, is in commands
        raise ConfigError(
            f"{str(path)!r}: the name of a grid's file begins with a letter or a digit, and has no "
            "control character"
        )
    grid = parse(Grid, read_yaml(path), str(path.name))
    if not grid.cells or any(value == [] for cell in grid.cells for value in cell.values()):
        raise ConfigError(f"{path.name}: cells is empty, or has a key with an empty list")
    for key in sorted(grid.keys - {"network"}):
        refuse_own(f"{path.name}, cells: {key}", key)
    if other := [key for key in grid.tune if not key.startswith("recipe.")]:
        raise ConfigError(f"{path.name}, tune: {other[0]}: a setting of the recipe is expected")
    if twice := set(grid.tune) & {key for cell in grid.cells for key in cell}:
        raise ConfigError(f"{path.name}: {twice.pop()} is tuned, so that cells may not set it")
    if grid.varies_network and (grid.controls or not all("network" in c for c in grid.cells)):
        raise ConfigError(
            f"{path.name}: where cells vary the network, each of them names it, and controls is []"
        )
    return path, grid


def place_of(source: str, results: Path) -> str | None:
    """Returns where a grid file of one's own lies, as seen from RESULTS: it names that grid.

    None for a grid of ours, whose name is enough: each checkout has it.

    Args:
        source: what the grid was named by: its name, or a path from the working folder.
        results: RESULTS.
    """
    path = Path(source)
    return None if path.stem in list_grids() else os.path.relpath(path.resolve(), results.resolve())


def points(entry: dict[str, Any], grid_name: str) -> list[Point]:
    """Crosses the axes of an entry of `cells`."""
    axes = {key: value for key, value in entry.items() if key not in WORDS}
    lists = [value if isinstance(value, list) else [value] for value in axes.values()]
    if (number := prod(map(len, lists))) > MOST_ROWS:
        most = f"at most {MOST_ROWS:,} are allowed"
        raise ConfigError(f"{grid_name}: an entry of cells has {number:,} rows: {most}")
    result = []
    for values in product(*lists):
        point = dict(zip(axes, values, strict=True))
        levels = {key.split(".")[-1]: show(value) for key, value in point.items()}
        template = entry.get("label")
        if template is None:
            template = ", ".join(f"{{{name}}}" for name in levels)
        label, reference = fill(template, levels, grid_name), entry.get("reference")
        if reference is not None:
            reference = fill(reference, levels, grid_name)
        result.append(Point(label=label, reference=reference, levels=levels, values=point))
    return result


def fill(template: Any, levels: dict[str, str], grid_name: str) -> str:
    """Fills the levels' values into a label, in the places of their names in braces."""
    try:
        names = {part[1:] for part in Formatter().parse(str(template)) if part[1] is not None}
        if not names <= {(name, "", None) for name in levels}:  # a width may be a billion
            raise ValueError
        return str(template).format(**levels)
    except ValueError:
        raise ConfigError(
            f"{grid_name}: the label {template!r} may name {', '.join(levels)} in braces"
        ) from None


def show(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(show, value))
    return f"{value:,}" if isinstance(value, int) and value >= THOUSANDS else str(value)
