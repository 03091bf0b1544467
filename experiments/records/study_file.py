"""A study on disk, RESULTS/studies/<name>.json: what was asked for, which runs that is.

What names a file, bounds a loop or stands in a table is checked, so that a file that was edited or
damaged is never half believed. No torch here.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from experiments.records.config import Recipe
from experiments.records.files import read_maybe_sealed, write_sealed
from experiments.records.lock import wait_for
from experiments.records.parsing import ConfigError, parse

Group = tuple[str, str, str]  # data set, network, recipe

MOST_SEEDS = 10_000
MOST_ROWS = 10_000
# A part of the name of a file: in its folder, no option, not hidden.
Name = Annotated[str, Field(pattern=r"^[\w,=+][\w.,=+-]*$", max_length=250)]
RunName = Annotated[str, Field(pattern=r"^[\w,=+][\w.,=+-]*/seed\d{1,6}$", max_length=300)]
Line = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=10_000)]
Label = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f|]+$", max_length=1_000)]
Text = Annotated[str, Field(pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]*$", max_length=100_000)]
Seeds = Annotated[int, Field(ge=0, le=MOST_SEEDS)]
Percent = Annotated[float, Field(ge=0, le=100)]


class Part(BaseModel):
    """A part of a study's file. What a later version has added is kept, and read by nobody."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    def plain(self) -> dict[str, Any]:
        """Returns it as it stands in the file: what nobody has set is left out."""
        return self.model_dump(mode="json", exclude_unset=True)


class Arithmetic(Part):
    """Says what `auto` of a recipe's precision and step stands for in all runs of a study.

    "auto" leaves it to each machine, as in a study of an older version whose runs are mixed.
    """

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    step: Literal["auto", "plain", "fused", "captured"] = "auto"

    def of(self, recipe: Recipe) -> Self:
        """What a run of this recipe takes: what the recipe itself says, else this."""
        own = {key: getattr(recipe, key) for key in Arithmetic.model_fields}
        return self.model_copy(update={k: v for k, v in own.items() if v != "auto"})


UNSETTLED = Arithmetic()


class Row(Part):
    """A row of the study's table.

    reference  the label of the row that it is compared with
    levels     what is varied, and its value here
    seeds      that --decide has added: it has the most of these and of the study's
    """

    label: Label
    cell: Name
    reference: Label | None = None
    levels: dict[Line, Line] = {}
    seeds: Seeds = 0


class Contrast(Part):
    """Means of rows against each other, which the grid itself declares: `rows` minus `minus`."""

    rows: tuple[Label, ...] = Field(min_length=1)
    minus: tuple[Label, ...] = Field(min_length=1)


class Look(Part):
    """What --decide has seen of a comparison, when its rows had so many seeds."""

    comparison: Line
    rows: tuple[Label, ...]
    seeds: tuple[Seeds, ...]
    verdict: Line


class Tried(Part):
    """The values that a row has tried, with their held-out errors, in its pilots, `runs`."""

    tried: tuple[tuple[float, float | None], ...]
    chosen: float | None
    runs: tuple[RunName, ...]


class Tune(Part):
    """What each row has tried of the setting `key`."""

    key: Line
    rows: dict[Label, Tried]


class StudyFile(Part):
    """One grid on one data set, network and recipe, as it was asked for.

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


def read_study(path: Path) -> StudyFile:
    """Reads what was asked for. Raises ConfigError, which names the file.

    A file of an older version has no checksum: it is read, where all in it makes sense. No such
    version wrote `arithmetic`.
    """
    data = read_maybe_sealed(path, newer="arithmetic")
    study = parse(StudyFile, data, f"{path} was edited or damaged")
    if study.name != path.stem:
        raise ConfigError(f"{path} was edited or renamed: it describes {study.name!r}")
    return study


def read_studies(results: Path) -> list[StudyFile]:
    """Reads all that was asked for in RESULTS, by name."""
    return [read_study(path) for path in sorted((results / "studies").glob("*.json"))]


def write_study(results: Path, study: StudyFile) -> None:
    """Writes RESULTS/studies/<name>.json. What its file has already had is kept.

    One process at a time reads what is there and writes: none loses what another has added.
    """
    path = results / "studies" / f"{study.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with wait_for(path.parent):
        write_sealed(path, (joined(study, path) if path.exists() else study).plain())


def joined(study: StudyFile, path: Path) -> StudyFile:
    """Returns a study with the seeds, looks and arithmetic that its file has, too.

    Raises ConfigError where that was begun with another arithmetic.
    """
    before = read_study(path)
    first = before.arithmetic
    if first and (study.arithmetic or first) != first:
        raise ConfigError(
            f"{path}: another machine has begun this study at the same moment, with "
            f"{first.precision} and {first.step}: the same command joins it"
        )
    more = {row.cell: row.seeds for row in before.rows if row.seeds}
    found: dict[str, Any] = {
        "seeds": max(study.seeds, before.seeds),
        "rows": tuple(
            row.model_copy(update={"seeds": max(row.seeds, more[row.cell])})
            if row.cell in more
            else row
            for row in study.rows
        ),
        "looks": before.looks + tuple(one for one in study.looks if one not in before.looks),
        "arithmetic": first or study.arithmetic,
    }
    known = {key: value for key, value in found.items() if value}
    return study.model_copy(update=(before.model_extra or {}) | known)


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


def seeds_of_cells(studies: Iterable[StudyFile]) -> dict[str, int]:
    """Maps a cell to how many seeds it has: the most of all studies that share it."""
    found: dict[str, int] = {}
    for study in studies:
        for row in study.rows:
            found[row.cell] = max(study.seeds, row.seeds, found.get(row.cell, 0))
    return found
