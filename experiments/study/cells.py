"""Makes the rows of a study: configs, of a grid's entries and controls. No torch here."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from experiments.records.config import Recipe, RunConfig
from experiments.records.parsing import ConfigError, checked, parse
from experiments.records.recipes import recipe_row
from experiments.records.study_file import MOST_CHARACTERS
from experiments.study.grid import CONTROLS, PLACE, Grid, points
from experiments.study.own_code import OwnCode
from experiments.study.settings import LENGTH_KEYS, LENGTHS, set_key
from senet.config import SEConfig, find_row, shortened

DEFAULT_NETWORK = "resnet29b"  # what `expect` and `spread` of the recipes were measured with
ALL = "all"  # the network of a study whose grid varies it


@dataclass(frozen=True)
class Cell:
    """Describes a cell, trained with several seeds, and the row of the table that shows it.

    config     of seed 0
    reference  the label of the row that it is compared with; None for none
    levels     what is varied, and its value here, as text
    """

    label: str
    config: RunConfig
    reference: str | None = None
    levels: dict[str, str] = field(default_factory=dict)


def make_cells(base: "Base", grid: Grid, settings: dict[str, Any]) -> list[Cell]:
    """Returns the controls and the points of a grid, which share `base`.

    The `settings` are those of --set: the ones of `se` change the points; of the controls they
    change only where the constant gate stands. Raises ConfigError where a config cannot be, or
    where rows cannot be told apart.
    """
    of_se = {key: value for key, value in settings.items() if key.split(".")[0] == "se"}
    of_all = {key: value for key, value in settings.items() if key not in of_se}
    of_place = {key: of_se[key] for key in ("se.position", "se.stages") if key in of_se}
    found = [point for entry in grid.cells for point in points(entry, base.grid_name)]
    if grid.varies_network and base.network != ALL:
        names = dict.fromkeys(point.levels["network"] for point in found)
        checked(find_row, f"network of the grid {base.grid_name!r}", base.network, names)
        found = [point for point in found if point.levels["network"] == base.network]
    cells = []
    for kind in grid.controls:
        if kind != PLACE:
            label, own = CONTROLS[kind]
            layers = (of_all, own, of_place if own["se"] else {})
            cells.append(Cell(label, base.config(label, *layers), grid.reference))
    for point in found:
        config = base.with_code(base.config(point.label, of_all, {"se": {}}, of_se, point.values))
        cells.append(Cell(point.label, config, point.reference or grid.reference, point.levels))
    if PLACE in grid.controls:
        cells += _constant_gates(base, cells)
    _refuse_unclear(cells, grid, base.grid_name)
    return cells


@dataclass(frozen=True)
class Base:
    """Holds what the cells of a study share.

    network  of the cells that name none; of a grid that varies it the only one wanted, or ALL
    recipe   a recipe's name, or "paper" for that of each network's family
    code     the grid's own code: it goes into the configs that use a row of it
    where    what begins a sentence about a config that is wrong
    """

    grid_name: str
    dataset: str
    network: str
    recipe: str
    code: OwnCode | None
    where: str

    def config(self, label: str, *layers: dict[str, Any]) -> RunConfig:
        """Makes the config of a row: of the dotted keys of several layers the last one counts."""
        network = next((one["network"] for one in layers[::-1] if "network" in one), self.network)
        recipe = recipe_row(self.recipe, str(network)).recipe.model_dump(mode="json")
        data = {"dataset": self.dataset, "network": network, "recipe": recipe}
        for layer in layers:
            before = _length(recipe)
            if LENGTH_KEYS & set(layer):  # instead of the recipe's own
                recipe |= dict.fromkeys(LENGTHS)
            for key, value in layer.items():
                set_key(data, key, value)
            if LENGTH_KEYS & set(layer) and "recipe.milestones" not in layer:
                _scale_milestones(recipe, before)
        if not label:
            raise ConfigError(f"{self.grid_name}: a row has no label: give it one")
        if len(label) > MOST_CHARACTERS:
            raise ConfigError(
                f"{self.grid_name}: the label {shortened(label)} has {len(label):,} characters: "
                f"at most {MOST_CHARACTERS:,} are allowed"
            )
        if set(label) & set("\n\r|"):
            raise ConfigError(f"{self.grid_name}: the label {label!r} has a line break or a |")
        config = parse(RunConfig, data, self.where)
        _refuse_late(config.recipe, self.grid_name)
        return config

    def with_code(self, config: RunConfig) -> RunConfig:
        """Adds the grid's own code to a config that uses it: an edited file makes new runs."""
        return self.code.put(config) if self.code else config


def _length(recipe: dict[str, Any]) -> Any:
    return next((recipe[name] for name in LENGTHS if recipe.get(name)), None)


def _scale_milestones(recipe: dict[str, Any], before: Any) -> None:
    """Keeps the milestones of a recipe at their shares of a training that has another length."""
    now = _length(recipe)
    if isinstance(now, int) and isinstance(before, int):  # else `parse` refuses it
        recipe["milestones"] = [max(1, m * now // before) for m in recipe["milestones"]]


def _refuse_late(recipe: Recipe, grid_name: str) -> None:
    """Raises ConfigError where the learning rate would change after the end of a training."""
    if recipe.milestones and max(recipe.milestones) >= recipe.length:
        raise ConfigError(
            f"{grid_name}: the milestone {max(recipe.milestones):,} is not before the end, at "
            f"{recipe.length:,}: set recipe.milestones"
        )
    if recipe.iterations and recipe.warmup >= recipe.iterations:
        raise ConfigError(
            f"{grid_name}: recipe.warmup {recipe.warmup:,} is the whole training of "
            f"{recipe.iterations:,} iterations: set recipe.warmup"
        )


def _constant_gates(base: "Base", cells: list[Cell]) -> list[Cell]:
    """Makes the control `place`: a gate of 1/2 wherever a cell has its own and no row has that."""
    known, found = {cell.config.id for cell in cells}, []
    for cell in cells:
        if cell.config.se is None:
            continue
        se = SEConfig(
            excitation="constant", position=cell.config.se.position, stages=cell.config.se.stages
        )
        config = base.with_code(cell.config.model_copy(update={"se": se}))
        if config.id not in known and (se.position, se.stages) != ("standard", "all"):
            known.add(config.id)
            found.append(Cell(f"1/2 at {cell.label}", config, cell.label))
    return found


def _refuse_unclear(cells: list[Cell], grid: Grid, grid_name: str) -> None:
    """Raises ConfigError where two rows are one, or a row is compared with one that is not."""
    labels = Counter(cell.label for cell in cells)
    if twice := [label for label, count in labels.items() if count > 1]:
        raise ConfigError(f"{grid_name}: two rows are called {min(twice)!r}")
    ids = {cell.config.id: cell.label for cell in cells}
    if len(ids) < len(labels):
        kept = set(ids.values())
        row = next(label for label in labels if label not in kept)
        raise ConfigError(f"{grid_name}: the row {row!r} is the same network as another row")
    for reference in {grid.reference, *(cell.reference for cell in cells)} - {None}:
        checked(find_row, "reference", reference, labels)
    for one in grid.declares:
        for row in one.rows + one.minus:
            checked(find_row, f"row that {grid_name!r} declares", row, labels)
        if both := set(one.rows) & set(one.minus):
            raise ConfigError(f"{grid_name}, declares: {sorted(both)[0]!r} is compared with itself")
