"""Describes the file of a study, RESULTS/studies/<name>.json, and the runs that it names.

What names a file, bounds a loop or stands in a table is checked, so that a file that was edited or
damaged is never half believed (studies.py reads and writes it). No torch here.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from experiments.records.config import Recipe

Group = tuple[str, str, str]  # data set, network, recipe

MOST_SEEDS = 10_000
MOST_ROWS = 10_000
# A part of the name of a file: in its folder, no option, not hidden.
Name = Annotated[str, Field(pattern=r"^[\w,=+][\w.,=+-]*$", max_length=250)]
RunName = Annotated[str, Field(pattern=r"^[\w,=+][\w.,=+-]*/seed\d{1,6}$", max_length=300)]
Line = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=10_000)]
MOST_CHARACTERS = 1_000
Label = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f|]+$", max_length=MOST_CHARACTERS)]
Text = Annotated[str, Field(pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]*$", max_length=100_000)]
Seeds = Annotated[int, Field(ge=0, le=MOST_SEEDS)]
Percent = Annotated[float, Field(ge=0, le=100)]


class Stored(BaseModel):
    """Is the base of the models in a study's file: what a later version added is kept, not read."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    def plain(self) -> dict[str, Any]:
        """Returns it as it stands in the file: what nobody has set is left out."""
        return self.model_dump(mode="json", exclude_unset=True)


class Arithmetic(Stored):
    """Says what `auto` of a recipe's precision and step stands for in all runs of a study.

    "auto" leaves it to each machine, as in a study of an older version whose runs are mixed.
    """

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    step: Literal["auto", "plain", "fused", "captured"] = "auto"

    def of(self, recipe: Recipe) -> Self:
        """Returns the arithmetic of a run of this recipe: what the recipe says, else this one."""
        own = {key: getattr(recipe, key) for key in Arithmetic.model_fields}
        return self.model_copy(update={k: v for k, v in own.items() if v != "auto"})


UNSETTLED = Arithmetic()


class Row(Stored):
    """Describes a row of the study's table.

    reference  the label of the row that it is compared with
    levels     what is varied, and its value here
    seeds      that --decide has added: it has the most of these and of the study's
    """

    label: Label
    cell: Name
    reference: Label | None = None
    levels: dict[Line, Line] = {}
    seeds: Seeds = 0


class Contrast(Stored):
    """Compares means of rows, as the grid itself declares it: `rows` minus `minus`."""

    rows: tuple[Label, ...] = Field(min_length=1)
    minus: tuple[Label, ...] = Field(min_length=1)


class Look(Stored):
    """Holds what --decide has seen of a comparison, and how many seeds its rows had then."""

    comparison: Line
    rows: tuple[Label, ...]
    seeds: tuple[Seeds, ...]
    verdict: Line


class Tried(Stored):
    """Holds the values that a row has tried, with their held-out errors, in its pilots, `runs`."""

    tried: tuple[tuple[float, float | None], ...]
    chosen: float | None
    runs: tuple[RunName, ...]


class Tune(Stored):
    """Holds what each row has tried of the setting `key`."""

    key: Line
    rows: dict[Label, Tried]


class StudyFile(Stored):
    """Describes one grid on one data set, network and recipe, as it was asked for.

    table          the paper's table that it rebuilds
    about          what is asked
    expected       what was expected before any run
    training       the recipe in words
    demonstration  whether the training is too short to compare anything
    expect         test error in % that the plain network should end in, from-to
    spread         standard deviation of that error over seeds in points, where it was measured
    settings       what --set has changed
    command        what trains it again
    looks, tune    what --decide and the pilots have shown
    arithmetic     that it was begun with
    grid_file      where the grid's own file lies, as seen from RESULTS; None for a grid of ours
    """

    name: Name
    grid: Label
    title: Label
    table: Annotated[str, Field(pattern=r"^\d{1,9}$")] | None
    about: Text
    expected: Text
    dataset: Name
    network: Name
    recipe: Name
    training: Line
    demonstration: bool
    expect: tuple[Percent, Percent] | None
    spread: Annotated[float, Field(gt=0, le=100)] | None
    settings: dict[Line, Any]
    command: Line
    seeds: Annotated[int, Field(ge=1, le=MOST_SEEDS)]
    rows: tuple[Row, ...] = Field(min_length=1, max_length=MOST_ROWS)
    declares: tuple[Contrast, ...] = ()
    looks: tuple[Look, ...] = ()
    tune: Tune | None = None
    arithmetic: Arithmetic | None = None
    grid_file: Line | None = None

    @model_validator(mode="after")
    def fit(self) -> Self:
        labels = [row.label for row in self.rows]
        if len(set(labels)) < len(labels):
            raise ValueError("two rows have one label")
        named = {row.reference for row in self.rows if row.reference is not None}
        named |= {label for one in self.declares for label in one.rows + one.minus}
        if lost := named - set(labels):
            raise ValueError(f"no row is called {sorted(lost)[0]!r}")
        return self

    @property
    def group(self) -> Group:
        return self.dataset, self.network, self.recipe


def runs_of(study: StudyFile, results: Path) -> list[Path]:
    """Returns the folders of a study's runs, there or not, in whole rounds of seeds."""
    cells = seeds_of_cells([study])
    return [
        results / "runs" / cell / f"seed{seed}"
        for seed in range(max(cells.values()))
        for cell, seeds in cells.items()
        if seed < seeds
    ]


def pilots_of(study: StudyFile, results: Path) -> list[Path]:
    """Returns the folders of the runs that tried settings for a study's rows: tuning.py."""
    rows = study.tune.rows.values() if study.tune else ()
    return [results / "runs" / name for row in rows for name in row.runs]


def all_runs_of(study: StudyFile, results: Path) -> list[Path]:
    """Returns the folders of a study's runs and of its pilots."""
    return [*runs_of(study, results), *pilots_of(study, results)]


def seeds_of_cells(studies: Iterable[StudyFile]) -> dict[str, int]:
    """Maps a cell to how many seeds it has: the most of all studies that share it."""
    found: dict[str, int] = {}
    for study in studies:
        for row in study.rows:
            found[row.cell] = max(study.seeds, row.seeds, found.get(row.cell, 0))
    return found
