"""A grid on one data set, with one network and one recipe: its cells and their runs.

No torch here.
"""

import hashlib
import json
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from experiments.records.config import RunConfig
from experiments.records.parsing import ConfigError, checked, parse
from experiments.records.recipes import RecipeRow, recipe_row
from experiments.records.study_file import MOST_SEEDS, UNSETTLED, Arithmetic, Look, StudyFile
from experiments.study.grid import CONTROLS, PLACE, Grid, points, read_grid, show
from experiments.study.settings import put, refuse_taken
from experiments.study.tuning import Tuning, pilots, to_json, with_value
from senet.config import SEConfig, choose, digest_of

DEFAULT_NETWORK = "resnet29b"  # what `expect` and `spread` of the recipes were measured with
ALL = "all"  # the network of a study whose grid varies it

FEWEST = 3  # seeds before the first look: two that are alike by chance would end it too early
LENGTHS = ("epochs", "images", "iterations")  # of a training: a recipe gives one of them
SHORTER = {*(f"recipe.{name}" for name in LENGTHS), "recipe.train_images", "recipe.test_images"}


@dataclass(frozen=True)
class Cell:
    """A row of the table: one config, trained with several seeds.

    config     of seed 0
    reference  the label of the row that it is compared with; None for none
    levels     what is varied, and its value here, as text
    """

    label: str
    config: RunConfig
    reference: str | None = None
    levels: dict[str, str] = field(default_factory=dict)


Runs = list[tuple[str, RunConfig]]  # (row's label, config)


@dataclass(frozen=True)
class Study:
    """One grid on one data set, network and recipe: one table."""

    source: str  # the grid as it was named: one of ours, or the path of a file
    grid_name: str
    grid: Grid
    dataset: str
    network: str  # a network's name, or "all" of those that the grid varies
    recipe: str
    settings: dict[str, Any]  # what --set changed
    seeds: int
    cells: tuple[Cell, ...]
    code: Path | None = None  # the grid's own choices
    added: dict[str, int] = field(default_factory=dict)  # row -> seeds, where --decide added some
    looks: tuple[Look, ...] = ()  # what --decide saw: analysis/statistics/stopping.py
    tuned: dict[str, Tuning] = field(default_factory=dict)  # row -> what its pilots have shown
    arithmetic: Arithmetic = UNSETTLED  # that it was begun with: experiments/plan/settle.py

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
        is_default = self.network == (ALL if self.grid.varies_network else DEFAULT_NETWORK)
        other = [] if is_default else ["--network", self.network]
        source = os.path.relpath(self.source) if os.path.isabs(self.source) else self.source
        if self.grid_name == self.source and not kept:
            return f"make ablation-{self.grid_name}" + (f" NETWORK={self.network}" if other else "")
        for key, value in kept.items():
            other += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
        return shlex.join([".venv/bin/python", "-m", "experiments", "run", source, *other])

    @property
    def recipe_rows(self) -> dict[str, RecipeRow]:
        """The rows of recipes.yaml by name: several where each family has its own."""
        rows = [recipe_row(self.recipe, cell.config.network) for cell in self.cells]
        return {row.recipe.name: row for row in rows}

    @property
    def training(self) -> str:
        """The recipe in words: its name, what it is, what --set changed."""
        changed = "".join(f", {key} = {show(value)}" for key, value in self.settings.items())
        rows = self.recipe_rows
        what = "; ".join(
            row.about.what if name == self.recipe else f"{name}: {row.about.what}"
            for name, row in rows.items()
        )
        if varied := {f"recipe.{name}" for name in LENGTHS} & self.grid.keys:
            changed += f", {varied.pop()}, which the rows name"
        return f"recipe {self.recipe} ({what})" + (f" but for {changed[2:]}" if changed else "")

    @property
    def tuned_key(self) -> str:
        """The setting of which each row has its own best value; "" for none."""
        return next(iter(self.grid.tune), "")

    @property
    def untuned(self) -> tuple[Cell, ...]:
        """The cells whose best value is not known yet."""
        return tuple(c for c in self.cells if c.label in self.tuned and not self.best(c))

    @property
    def settled(self) -> tuple[Cell, ...]:
        """The other cells, with the best value where there is one."""
        if not self.tuned:
            return self.cells
        return tuple(
            replace(cell, config=with_value(cell.config, self.tuned_key, best))
            for cell in self.cells
            if (best := self.best(cell))
        )

    def best(self, cell: Cell) -> float | None:
        return self.tuned[cell.label].chosen

    def runs(self) -> Runs:
        """(row's label, config), seed by seed over all cells: any stop leaves a balanced study.

        Behind them the pilots of rows whose best value is not known yet: of the shortest trainings
        first, whose results are then there while longer ones are tuned.
        """
        shortest = min((length_of(cell.config) for cell in self.untuned), default=None)
        first = [cell for cell in self.untuned if length_of(cell.config) == shortest]
        return [*self.seeds_of(self.settled), *self.pilots_of(first)]

    def forecast(self) -> Runs:
        """All that `runs` will come to, as if the recipe's own value were the best of each row."""
        return [
            *self.seeds_of((*self.settled, *self.untuned)),
            *self.pilots_of(self.untuned),
        ]

    def seeds_of(self, cells: Sequence[Cell]) -> Runs:
        return [
            (cell.label, cell.config.model_copy(update={"seed": seed}))
            for seed in range(max([self.seeds, *self.added.values()]))
            for cell in cells
            if seed < max(self.seeds, self.added.get(cell.label, 0))
        ]

    def pilots_of(self, cells: Sequence[Cell]) -> Runs:
        """The runs that try the values of a bracket."""
        name = self.tuned_key.split(".")[-1]
        return [
            (f"pilot of {cell.label}, {name} {value:g}", config)
            for cell in cells
            for value in self.tuned[cell.label].tried
            for config in pilots(cell.config, self.tuned_key, value, self.grid.pilots)
        ]

    def record(self) -> StudyFile:
        """What was asked, as it is kept beside the runs: all that the analysis needs to know.

        Raises ConfigError where its file would not be read again.
        """
        about, names = recipe_row(self.recipe).about, {c.label: c.config.cell for c in self.settled}
        is_measured = not self.settings and self.network == DEFAULT_NETWORK
        data = {
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
            "rows": [
                {
                    "label": cell.label,
                    "cell": names.get(cell.label, f"{cell.config.cell}-not-tuned"),
                    "reference": cell.reference,
                    "levels": cell.levels,
                    **({"seeds": self.added[cell.label]} if cell.label in self.added else {}),
                }
                for cell in self.cells
            ],
            **self.decided(),
            **({"tune": to_json(self)} if self.tuned else {}),
            **({"arithmetic": dict(self.arithmetic)} if self.arithmetic != UNSETTLED else {}),
        }
        return parse(StudyFile, data, self.source)

    def decided(self) -> dict[str, Any]:
        """What the grid itself declares, and what was seen of it, where there is some."""
        declares = [one.model_dump(mode="json") for one in self.grid.declares]
        found = {"declares": declares, "looks": [one.plain() for one in self.looks]}
        return {key: value for key, value in found.items() if value}

    def resumed(self, before: StudyFile) -> "Study":
        """The same with the seeds and looks that its file, written `before`, already has."""
        asked = {row.cell: row.seeds for row in before.rows if row.seeds}
        added = {c.label: n for c in self.settled if (n := asked.get(c.config.cell))}
        seeds = max(self.seeds, before.seeds)
        return replace(self, seeds=seeds, added=added, looks=before.looks)


def expand(
    name: str,
    *,
    dataset: str,
    network: str = "auto",
    recipe: str,
    seeds: int | None = None,
    settings: dict[str, Any] | None = None,
) -> Study:
    """A grid on one data set, with one network and one recipe.

    Args:
        name: of a grid, or the path of a grid file.
        dataset: its name.
        network: its name; "auto" is DEFAULT_NETWORK. Of a grid that varies the network it takes
            the rows of this one only, and "auto" takes all.
        recipe: its name; "paper" is that of each network's family.
        seeds: N means the seeds 0 to N - 1; None takes the recipe's number, or the grid's if that
            is smaller.
        settings: dotted keys that the grid leaves open, e.g. {"recipe.epochs": 2}. Those of
            `se` change the cells; of the controls they change only where the constant gate stands.

    Raises:
        ConfigError: whatever does not fit, in one sentence.
    """
    path, grid = read_grid(name)
    grid_name = path.stem
    code = path.parent / grid.code if grid.code else None
    settings = dict(sorted((settings or {}).items()))
    if grid.dataset not in (None, dataset):
        raise ConfigError(f"dataset {dataset}: the grid {grid_name!r} is of {grid.dataset} alone")
    if seeds is None:
        usual = recipe_row(recipe).about.seeds
        seeds = min(usual, grid.seeds or usual)
    if not 1 <= seeds <= MOST_SEEDS:
        raise ConfigError(f"seeds {seeds}: at least one seed is needed, at most {MOST_SEEDS:,}")
    refuse_taken(settings, grid_name, grid.keys)
    if network == "auto":
        network = ALL if grid.varies_network else DEFAULT_NETWORK
    of_se = {key: value for key, value in settings.items() if key.split(".")[0] == "se"}
    of_all = {key: value for key, value in settings.items() if key not in of_se}
    of_place = {key: of_se[key] for key in ("se.position", "se.stages") if key in of_se}

    def configure(label: str, network: str, *layers: dict[str, Any]) -> RunConfig:
        data = {
            "dataset": dataset,
            "network": network,
            "recipe": recipe_row(recipe, network).recipe.model_dump(mode="json"),
        }
        for layer in (of_all, *layers):
            if {f"recipe.{name}" for name in LENGTHS} & set(layer):  # instead of the recipe's own
                data["recipe"] |= dict.fromkeys(LENGTHS)
            for key, value in layer.items():
                put(data, key, value)
        if not label:
            raise ConfigError(f"{grid_name}: a row has no label: give it one")
        if set(label) & set("\n\r|"):
            raise ConfigError(f"{grid_name}: the label {label!r} has a line break or a |")
        return parse(RunConfig, data, "" if grid_name == name else path.name)

    def control(kind: str) -> Cell:
        """A control is as it is, but the constant gate stands where the blocks stand."""
        label, config = CONTROLS[kind]
        place = of_place if config["se"] else {}
        return Cell(label, configure(label, network, config, place), grid.reference)

    found = [point for entry in grid.cells for point in points(entry, grid_name)]
    if grid.varies_network and network != ALL:
        names = dict.fromkeys(point.levels["network"] for point in found)
        checked(choose, f"network of the grid {grid_name!r}", network, names)
        found = [point for point in found if point.levels["network"] == network]
    cells = [control(kind) for kind in grid.controls if kind != PLACE]
    base = {"se": {}, "code": identify(code)}
    for point in found:
        own = point.values.get("network", network)
        config = configure(point.label, own, base, of_se, point.values)
        cells.append(Cell(point.label, config, point.reference or grid.reference, point.levels))
    if PLACE in grid.controls:
        cells += constant_gates(cells)
    refuse_unclear(cells, grid, grid_name)
    for key, values in grid.tune.items():
        for cell in cells:
            with_value(cell.config, key, values[0])  # refuses what is no setting
    return Study(
        name,
        grid_name,
        grid,
        dataset,
        network,
        recipe,
        settings,
        seeds,
        tuple(cells),
        code,
        tuned={
            cell.label: Tuning(dict.fromkeys(values))
            for values in grid.tune.values()
            for cell in cells
        },
    )


def length_of(config: RunConfig) -> int:
    """Returns the length of a training, in the unit in which its recipe gives that."""
    recipe = config.recipe
    return recipe.epochs or recipe.images or recipe.iterations or 0  # one is there


def constant_gates(cells: list[Cell]) -> list[Cell]:
    """Makes the control `place`: a gate of 1/2 wherever a cell has its own and no row has that."""
    known, found = {cell.config.id for cell in cells}, []
    for cell in cells:
        if cell.config.se is None:
            continue
        se = SEConfig(
            excitation="constant", position=cell.config.se.position, stages=cell.config.se.stages
        )
        config = cell.config.model_copy(update={"se": se})
        if config.id not in known and (se.position, se.stages) != ("standard", "all"):
            known.add(config.id)
            found.append(Cell(f"1/2 at {cell.label}", config, cell.label))
    return found


def refuse_unclear(cells: list[Cell], grid: Grid, grid_name: str) -> None:
    """Raises ConfigError where two rows are one, or a row is compared with one that is not."""
    labels = [cell.label for cell in cells]
    if twice := {label for label in labels if labels.count(label) > 1}:
        raise ConfigError(f"{grid_name}: two rows are called {sorted(twice)[0]!r}")
    ids = {cell.config.id: cell.label for cell in cells}
    if len(ids) < len(labels):
        kept = set(ids.values())
        row = next(label for label in labels if label not in kept)
        raise ConfigError(f"{grid_name}: the row {row!r} is the same network as another row")
    for reference in {grid.reference, *(cell.reference for cell in cells)} - {None}:
        checked(choose, "reference", reference, dict.fromkeys(labels))
    for one in grid.declares:
        for row in one.rows + one.minus:
            checked(choose, f"row that {grid_name!r} declares", row, dict.fromkeys(labels))
        if both := set(one.rows) & set(one.minus):
            raise ConfigError(f"{grid_name}, declares: {sorted(both)[0]!r} is compared with itself")


def identify(code: Path | None) -> dict[str, str] | None:
    """What of a grid's own code goes into its configs: an edited file makes new runs."""
    if code is None:
        return None
    try:
        return {"file": code.name, "digest": digest_of(code)}
    except OSError as error:
        raise ConfigError(f"code {code}: {error.strerror}") from None
