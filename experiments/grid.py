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

import hashlib
import json
import re
import shlex
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

from experiments.config import (
    ConfigError,
    RunConfig,
    Strict,
    checked,
    parse,
    read_yaml,
    recipe_row,
)
from experiments.settings import put, refuse_own, refuse_taken
from senet.config import choose, digest_of

GRIDS = Path(__file__).parent / "grids"

DEFAULT_NETWORK = "resnet29b"  # what `expect` and `spread` of the recipes were measured with

MOST_SEEDS = 10_000
SHORTER = {"recipe.epochs", "recipe.iterations", "recipe.train_images", "recipe.test_images"}

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
        changed = [f"{key}={json.dumps(v)}" for key, v in self.settings.items()]
        parts = [self.grid_name, self.dataset, self.network, self.recipe, *changed]
        name = re.sub(r"[^\w.,=+-]", "", "-".join(parts).replace("/", "_"))
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        return name if len(name) <= 120 else f"{name[:100]}-{digest}"

    @property
    def command(self) -> str:
        """What trains this study, but for data set, recipe and its settings, and seeds."""
        kept = {k: v for k, v in self.settings.items() if not k.startswith("recipe.")}
        other = [] if self.network == DEFAULT_NETWORK else ["--network", self.network]
        if self.grid_name == self.source and not kept:
            return f"make ablation-{self.grid_name}" + (f" NETWORK={self.network}" if other else "")
        for key, value in kept.items():
            other += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
        return shlex.join([".venv/bin/python", "-m", "experiments", "run", self.source, *other])

    @property
    def training(self) -> str:
        """The recipe in words: its name, what it is, what --set changed."""
        changed = "".join(f", {key} = {show(value)}" for key, value in self.settings.items())
        what = recipe_row(self.recipe).about.what
        return f"recipe {self.recipe} ({what})" + (f" but for {changed[2:]}" if changed else "")

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
        is_measured = not self.settings and self.network == DEFAULT_NETWORK
        return {
            "name": self.name,
            "grid": self.grid_name,
            "title": self.grid.title,
            "table": self.grid.table,
            "about": self.grid.about,
            "expected": self.grid.expect,
            "dataset": self.dataset,
            "network": self.network,
            "recipe": self.recipe,
            "training": self.training,
            "demonstration": about.demonstration or bool(SHORTER & set(self.settings)),
            "expect": about.expect.get(self.dataset) if is_measured else None,
            "spread": about.spread.get(self.dataset) if is_measured else None,
            "settings": self.settings,
            "command": self.command,
            "seeds": self.seeds,
            "reference": self.grid.reference,
            "rows": [{"label": cell.label, "cell": cell.config.cell} for cell in self.cells],
        }


def list_grids() -> dict[str, Path]:
    """The grid files of the project by name."""
    return {path.stem: path for path in sorted(GRIDS.glob("*.yaml"))}


def read_grid(name: str) -> tuple[Path, Grid]:
    """A grid by its name, or by the path of a file of one's own: (its file, Grid)."""
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = checked(choose, "grid", name, list_grids())
    elif path.stem in list_grids() and path.resolve() != list_grids()[path.stem].resolve():
        raise ConfigError(f"{path}: {path.stem!r} is the name of a grid here: rename the file")
    grid = parse(Grid, read_yaml(path), str(path.name))
    if not grid.cells or any(value == [] for cell in grid.cells for value in cell.values()):
        raise ConfigError(f"{path.name}: cells is empty, or has a key with an empty list")
    for key in sorted(grid.keys):
        refuse_own(f"{path.name}, cells: {key}", key)
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
            `se` change the cells; of the controls they change only where the constant gate stands.

    Raises:
        ConfigError: whatever does not fit, in one sentence.
    """
    path, grid = read_grid(name)
    grid_name = path.stem
    code = path.parent / grid.code if grid.code else None
    row, settings = recipe_row(recipe), dict(settings or {})
    seeds = row.about.seeds if seeds is None else seeds
    if not 1 <= seeds <= MOST_SEEDS:
        raise ConfigError(f"seeds {seeds}: at least one seed is needed, at most {MOST_SEEDS:,}")
    refuse_taken(settings, grid_name, grid.keys)
    base = {"dataset": dataset, "network": network, "recipe": row.recipe.model_dump(mode="json")}
    settings = dict(sorted(settings.items()))
    of_se = {key: value for key, value in settings.items() if key.split(".")[0] == "se"}
    of_all = {key: value for key, value in settings.items() if key not in of_se}
    of_place = {key: of_se[key] for key in ("se.position", "se.stages") if key in of_se}
    if {"recipe.epochs", "recipe.iterations"} & set(of_all):  # one of the two: the one given
        base["recipe"] |= {"epochs": None, "iterations": None}

    def cell(label: str, *layers: dict[str, Any]) -> Cell:
        data = json.loads(json.dumps(base))
        for layer in layers:
            for key, value in layer.items():
                put(data, key, value)
        if set(label) & set("\n\r|"):
            raise ConfigError(f"{grid_name}: the label {label!r} has a line break or a |")
        return Cell(label, parse(RunConfig, data, "" if grid_name == name else path.name))

    def control(kind: str) -> Cell:
        """A control is as it is, but the constant gate stands where the blocks stand."""
        label, config = CONTROLS[kind]
        return cell(label, of_all, config, of_place if config["se"] else {})

    controls = [control(kind) for kind in grid.controls]
    cells = [
        cell(label, of_all, {"se": {}, "code": identify(code)}, of_se, point)
        for entry in grid.cells
        for label, point in points(entry, grid_name)
    ]
    labels = [c.label for c in controls + cells]
    if twice := {label for label in labels if labels.count(label) > 1}:
        raise ConfigError(f"{grid_name}: two rows are called {sorted(twice)[0]!r}")
    ids = {c.config.id: c.label for c in controls + cells}
    if len(ids) < len(labels):
        kept = set(ids.values())
        row = next(label for label in labels if label not in kept)
        raise ConfigError(f"{grid_name}: the row {row!r} is the same network as another row")
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
        except (KeyError, IndexError, ValueError, AttributeError, TypeError):
            raise ConfigError(
                f"{grid_name}: the label {template!r} may name {', '.join(shown)} in braces"
            ) from None
        result.append((label, point))
    return result


def show(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
