"""A grid file -> its cells -> its runs. No torch here.

A grid file says what a study varies (grids/*.yaml are the examples):

    title, about, cost, expect   what a reader should know
    table                        the paper's table that it rebuilds, or null
    controls                     rows of CONTROLS, trained beside the cells
    code                         a file of choices of one's own, beside the grid file, or null
    reference                    the label of the row that the others are compared with
    cells                        what is varied: each entry sets dotted keys of RunConfig; a list
                                 is an axis, several axes are crossed; `label` names the rows
"""

import json
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import yaml

from experiments.config import (
    ConfigError,
    RunConfig,
    Strict,
    checked,
    parse,
    read_yaml,
    recipe_row,
)
from senet.config import choose, digest_of

GRIDS = Path(__file__).parent / "grids"

CONTROLS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("no SE", {"se": None}),
    "constant": ("gate fixed at 1/2", {"se": {"excitation": "constant"}}),
}


class Grid(Strict):
    """A grid file as it stands."""

    title: str
    table: str | None = None
    about: str = ""
    cost: str = ""
    expect: str = ""
    controls: tuple[Literal["plain", "constant"], ...] = ("plain", "constant")
    code: str | None = None
    reference: str
    cells: tuple[dict[str, Any], ...]

    @property
    def keys(self) -> set[str]:
        """The dotted keys that the grid varies or fixes."""
        return {key for cell in self.cells for key in cell} - {"label"}


@dataclass(frozen=True)
class Cell:
    """A row of the table: one config, trained with several seeds."""

    label: str
    config: RunConfig  # of seed 0


@dataclass(frozen=True)
class Study:
    """One grid on one data set, network and recipe: one table."""

    source: str  # the grid as it was named: one of ours, or the path of a file
    grid_name: str
    grid: Grid
    dataset: str
    network: str
    recipe: str
    settings: dict[str, Any]  # what --set changed
    seeds: int
    cells: tuple[Cell, ...]
    code: Path | None = None  # the grid's own choices

    @property
    def name(self) -> str:
        changed = [f"{key}={json.dumps(v)}".replace('"', "") for key, v in self.settings.items()]
        parts = [self.grid_name, self.dataset, self.network, self.recipe, *changed]
        return "-".join(parts).replace("/", "_").replace(" ", "")

    @property
    def command(self) -> str:
        """What trains this study, but for data set, recipe and seeds."""
        if self.grid_name == self.source and not self.settings:
            return f"make ablation-{self.grid_name}"
        changed = "".join(f" --set {key}={json.dumps(v)}" for key, v in self.settings.items())
        return f"python -m experiments run {self.source}{changed}".replace('"', "")

    def runs(self) -> list[tuple[str, RunConfig]]:
        """(row's label, config), seed by seed over all cells: any stop leaves a balanced study."""
        return [
            (cell.label, cell.config.model_copy(update={"seed": seed}))
            for seed in range(self.seeds)
            for cell in self.cells
        ]

    def record(self) -> dict[str, Any]:
        """What was asked, as it is kept beside the runs: all that the analysis needs to know."""
        about = recipe_row(self.recipe).about
        return {
            "name": self.name,
            "grid": self.grid_name,
            "title": self.grid.title,
            "table": self.grid.table,
            "about": self.grid.about,
            "dataset": self.dataset,
            "network": self.network,
            "recipe": self.recipe,
            "recipe_is": about.what,
            "demonstration": about.demonstration,
            "expect": None if self.settings else about.expect.get(self.dataset),
            "spread": None if self.settings else about.spread.get(self.dataset),
            "settings": self.settings,
            "command": self.command,
            "seeds": self.seeds,
            "reference": self.grid.reference,
            "varied": sorted(self.grid.keys),
            "rows": [{"label": cell.label, "cell": cell.config.cell} for cell in self.cells],
        }


def list_grids() -> dict[str, Path]:
    """The grid files of the project by name."""
    return {path.stem: path for path in sorted(GRIDS.glob("*.yaml"))}


def read_grid(name: str) -> tuple[Path, Grid]:
    """A grid by its name, or by the path of a file of one's own: (its file, Grid)."""
    path = Path(name)
    if path.suffix != ".yaml":
        path = checked(choose, "grid", name, list_grids())
    grid = parse(Grid, read_yaml(path), str(path.name))
    if not grid.cells:
        raise ConfigError(f"{path.name}: cells is empty")
    return path, grid


def expand(
    name: str,
    *,
    dataset: str,
    network: str,
    recipe: str,
    seeds: int | None = None,
    settings: dict[str, Any] | None = None,
) -> Study:
    """A grid on one data set, with one network and one recipe.

    Args:
        name: of a grid, or the path of a grid file.
        seeds: N means the seeds 0 to N - 1; None takes the recipe's number.
        settings: dotted keys that the grid leaves open, e.g. {"recipe.epochs": 2}. Those of
            `se` change the cells and leave the controls as they are.

    Raises:
        ConfigError: whatever does not fit, in one sentence.
    """
    path, grid = read_grid(name)
    grid_name = path.stem
    code = path.parent / grid.code if grid.code else None
    row, settings = recipe_row(recipe), dict(settings or {})
    seeds = row.about.seeds if seeds is None else seeds
    if seeds < 1:
        raise ConfigError(f"seeds {seeds}: at least one seed is needed")
    refuse_taken(settings, grid_name, grid)
    base = {"dataset": dataset, "network": network, "recipe": row.recipe.model_dump(mode="json")}
    of_se = {key: value for key, value in settings.items() if key.split(".")[0] == "se"}
    of_all = {key: value for key, value in settings.items() if key not in of_se}

    def cell(label: str, *layers: dict[str, Any]) -> Cell:
        data = json.loads(json.dumps(base))
        for layer in layers:
            for key, value in layer.items():
                put(data, key, value)
        return Cell(label, parse(RunConfig, data))

    controls = [cell(CONTROLS[c][0], of_all, CONTROLS[c][1]) for c in grid.controls]
    cells = [
        cell(label, of_all, {"se": {}, "code": identify(code)}, of_se, point)
        for entry in grid.cells
        for label, point in points(entry, grid_name)
    ]
    labels = [c.label for c in controls + cells]
    if twice := {label for label in labels if labels.count(label) > 1}:
        raise ConfigError(f"{grid_name}: two rows are called {sorted(twice)[0]!r}")
    if grid.reference not in labels:
        checked(choose, "reference", grid.reference, dict.fromkeys(labels))
    return Study(
        name,
        grid_name,
        grid,
        dataset,
        network,
        recipe,
        settings,
        seeds,
        tuple(controls + cells),
        code,
    )


def identify(code: Path | None) -> dict[str, str] | None:
    """What of a grid's own code goes into its configs: an edited file makes new runs."""
    if code is None:
        return None
    try:
        return {"file": code.name, "digest": digest_of(code)}
    except OSError as error:
        raise ConfigError(f"code {code}: {error.strerror}") from None


def points(entry: dict[str, Any], grid_name: str) -> list[tuple[str, dict[str, Any]]]:
    """An entry of `cells` as (label, {dotted key: value}) for each point of its axes."""
    axes = {key: value for key, value in entry.items() if key != "label"}
    lists = [value if isinstance(value, list) else [value] for value in axes.values()]
    result = []
    for values in product(*lists):
        point = dict(zip(axes, values, strict=True))
        shown = {key.split(".")[-1]: show(value) for key, value in point.items()}
        template = entry.get("label", ", ".join(f"{{{name}}}" for name in shown))
        try:
            label = str(template).format(**shown)
        except (KeyError, IndexError, ValueError):
            raise ConfigError(
                f"{grid_name}: the label {template!r} may name {', '.join(shown)} in braces"
            ) from None
        result.append((label, point))
    return result


def show(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def refuse_taken(settings: dict[str, Any], grid_name: str, grid: Grid) -> None:
    """--set may change what the grid leaves open, and nothing else."""
    own_flags = {"dataset": "--dataset", "network": "--network", "seed": "--seeds"}
    for key in settings:
        if key in own_flags:
            raise ConfigError(f"--set {key}: use {own_flags[key]}")
        if key in ("recipe", "recipe.name"):
            raise ConfigError(f"--set {key}: use --recipe, or --set recipe.<setting>=...")
        for taken in grid.keys:
            if f"{key}.".startswith(f"{taken}.") or f"{taken}.".startswith(f"{key}."):
                raise ConfigError(
                    f"--set {key}: the grid {grid_name!r} varies or fixes {taken}; "
                    "copy its file and change it there"
                )


def put(data: dict[str, Any], key: str, value: Any) -> None:
    """Sets a dotted key in nested dicts."""
    *path, last = key.split(".")
    for name in path:
        data = data.setdefault(name, {})
        if not isinstance(data, dict):
            raise ConfigError(f"{key}: {name!r} holds a value, not keys")
    data[last] = value


def parse_settings(texts: list[str]) -> dict[str, Any]:
    """`--set key=value` as a dict: `1e-3` is a number here, `[2,3]` a list, `null` nothing."""
    settings = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise ConfigError(f"--set {text!r}: write KEY=VALUE, for example recipe.epochs=2")
        if key in settings:
            raise ConfigError(f"--set {key}: given twice")
        settings[key] = parse_value(value)
    return settings


def parse_value(text: str) -> Any:
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text
