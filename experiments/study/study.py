"""Makes a study of a grid: its cells, and their runs.

No torch here.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from experiments.records.config import RunConfig
from experiments.records.parsing import ConfigError, parse
from experiments.records.recipes import recipe_row
from experiments.records.study_file import MOST_SEEDS, UNSETTLED, Arithmetic, Look, StudyFile
from experiments.study.cells import ALL, DEFAULT_NETWORK, Base, Cell, make_cells
from experiments.study.describe import command_of, training_of
from experiments.study.grid import Grid, read_grid
from experiments.study.own_code import read_own_code
from experiments.study.settings import LENGTH_KEYS, refuse_taken
from experiments.study.tuning import Tuning, pilots, to_json, with_value
from senet.config import shortened

FEWEST = 3  # seeds before the first look: two that are alike by chance would end it too early
SHORTER = {*LENGTH_KEYS, "recipe.train_images", "recipe.test_images"}
Runs = list[tuple[str, RunConfig]]  # (row's label, config)


@dataclass(frozen=True)
class StudyDesign:
    """Describes a grid on one data set, with one network and one recipe: one table."""

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
    grid_file: str | None = None  # where that lies, as seen from RESULTS; None before `resume`

    @property
    def name(self) -> str:
        changed = [f"{key}={json.dumps(v)}" for key, v in self.settings.items()]
        parts = [self.grid_name, self.dataset, self.network, self.recipe, *changed]
        name = re.sub(r"[^\w.,=+-]", "", "-".join(parts).replace("/", "_"))
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        return name if len(name) <= 120 else f"{name[:100]}-{digest}"

    @property
    def tuned_key(self) -> str:
        """Names the setting of which each row has its own best value; "" for none."""
        return next(iter(self.grid.tune), "")

    @property
    def tunable(self) -> tuple[Cell, ...]:
        """Returns the cells that have a best value of their own, known or not."""
        return tuple(cell for cell in self.cells if cell.label in self.tuned)

    @property
    def untuned(self) -> tuple[Cell, ...]:
        """Returns the cells whose best value is not known yet."""
        return tuple(cell for cell in self.tunable if self.tuned[cell.label].is_open)

    @property
    def settled(self) -> tuple[Cell, ...]:
        """Returns the cells whose config is final, with the best value where one was chosen."""
        if not self.tuned:
            return self.cells
        return tuple(
            replace(cell, config=with_value(cell.config, self.tuned_key, best))
            for cell in self.cells
            if (best := self.tuned[cell.label].chosen)
        )

    def runs(self) -> Runs:
        """Lists (row's label, config) seed by seed: any stop leaves a balanced study.

        Behind them the pilots of rows whose best value is not known yet: of the shortest trainings
        first, whose results are then there while longer ones are tuned.
        """
        shortest = min((cell.config.recipe.length for cell in self.untuned), default=None)
        first = [cell for cell in self.untuned if cell.config.recipe.length == shortest]
        return [*self.seeds_of(self.settled), *self.pilots_of(first)]

    def forecast(self) -> Runs:
        """Lists all that `runs` will come to, as if the recipe's own value were each row's best."""
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
        """Lists the runs that try the values of a bracket."""
        name = self.tuned_key.split(".")[-1]
        return [
            (f"pilot of {cell.label}, {name} {value:g}", config)
            for cell in cells
            for value in self.tuned[cell.label].tried
            for config in pilots(cell.config, self.tuned_key, value, self.grid.pilots)
        ]

    @property
    def is_shortened(self) -> bool:
        """Tells whether it trains or tests on less than its recipe says, as far as that is known.

        A length in another unit than the recipe's counts as less.
        """
        usual = recipe_row(self.recipe).recipe
        given = {key: getattr(usual, key.removeprefix("recipe.")) for key in SHORTER}
        asked = {key: value for key, value in self.settings.items() if key in SHORTER}
        return any(
            value is not None and (given[key] is None or value < given[key])
            for key, value in asked.items()
        )

    def record(self) -> StudyFile:
        """Returns what was asked, as it is kept beside the runs: all that the analysis needs.

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
            "training": training_of(self),
            "demonstration": about.demonstration or self.is_shortened,
            "expect": about.expect.get(self.dataset) if is_measured else None,
            "spread": about.spread.get(self.dataset) if is_measured else None,
            "settings": self.settings,
            "command": command_of(self),
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
        }
        found = {
            "declares": [one.model_dump(mode="json") for one in self.grid.declares],
            "looks": [one.plain() for one in self.looks],
            "tune": to_json(self) if self.tuned else None,
            "arithmetic": dict(self.arithmetic) if self.arithmetic != UNSETTLED else None,
            "grid_file": self.grid_file,
        }
        data |= {key: value for key, value in found.items() if value}
        return parse(StudyFile, data, self.source)

    def resumed(self, before: StudyFile) -> "StudyDesign":
        """Returns the study with the seeds and looks that its file, written `before`, has."""
        asked = {row.cell: row.seeds for row in before.rows if row.seeds}
        added = {c.label: n for c in self.settled if (n := asked.get(c.config.cell))}
        seeds = max(self.seeds, before.seeds)
        return replace(self, seeds=seeds, added=added, looks=before.looks)


def expand(name: str, **asked: Any) -> StudyDesign:
    """Makes a study of a grid, by its name or the path of its file; `asked` is as for `make_study`.

    Raises ConfigError, in one sentence, for whatever does not fit.
    """
    return make_study(name, *read_grid(name), **asked)


def make_study(
    source: str,
    path: Path,
    grid: Grid,
    *,
    dataset: str,
    network: str = "auto",
    recipe: str,
    seeds: int | None = None,
    settings: dict[str, Any] | None = None,
) -> StudyDesign:
    """Makes a study of a grid: on one data set, with one network and one recipe.

    Args:
        source: what the grid was named by; `path` and `grid` are what `read_grid` made of it.
        network: its name; "auto" is DEFAULT_NETWORK. Of a grid that varies the network it takes
            the rows of this one only, and "auto" takes all.
        recipe: its name; "paper" is that of each network's family.
        seeds: N means the seeds 0 to N - 1; None takes the recipe's number, or the grid's if that
            is smaller.
        settings: dotted keys that the grid leaves open, e.g. {"recipe.epochs": 2}.

    Raises:
        ConfigError: whatever does not fit, in one sentence.
    """
    name, settings = path.stem, dict(sorted((settings or {}).items()))
    if grid.dataset not in (None, dataset):
        raise ConfigError(
            f"dataset {dataset}: the grid {name!r} is of {shortened(grid.dataset)} alone"
        )
    if seeds is None:
        usual = recipe_row(recipe).about.seeds
        seeds = min(usual, grid.seeds or usual)
    if not 1 <= seeds <= MOST_SEEDS:
        raise ConfigError(f"seeds {seeds}: at least one seed is needed, at most {MOST_SEEDS:,}")
    refuse_taken(settings, name, grid.keys)
    if network == "auto":
        network = ALL if grid.varies_network else DEFAULT_NETWORK
    code = path.parent / grid.code if grid.code else None
    where = "" if name == source else path.name
    base = Base(name, dataset, network, recipe, read_own_code(code) if code else None, where)
    cells = tuple(make_cells(base, grid, settings))
    tuned = {}
    for key, values in grid.tune.items():
        for cell in cells:
            with_value(cell.config, key, values[0])  # refuses what is no setting
            if not cell.config.recipe.holdout:
                raise ConfigError(f"tune {key}: recipe.holdout is 0, and held-out images choose")
            tuned[cell.label] = Tuning(dict.fromkeys(values))
    asked = (source, name, grid, dataset, network, recipe, settings, seeds, cells, code)
    return StudyDesign(*asked, tuned=tuned)
