"""A study's file, RESULTS/studies/<name>.json: what was asked, or a sentence that refuses it.

What names a file, bounds a loop or stands in a table is checked, so that a file that was edited or
damaged is never half believed. No torch here.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from experiments.records.config import ConfigError, Recipe, parse
from experiments.records.files import read_maybe_sealed

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


class Checked(BaseModel):
    """What nobody reads may be there: a later version may have added it."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class Arithmetic(Checked):
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


class Row(Checked):
    label: Label
    cell: Name
    reference: Label | None = None
    levels: dict[Line, Line] = {}
    seeds: Seeds = 0


class Declared(Checked):
    rows: list[Label] = Field(min_length=1)
    minus: list[Label] = Field(min_length=1)


class Look(Checked):
    comparison: Line
    rows: list[Label]
    seeds: list[Seeds]
    verdict: Line


class Tried(Checked):
    tried: list[tuple[float, float | None]]
    chosen: float | None
    runs: list[RunName]


class Tune(Checked):
    key: Line
    rows: dict[Label, Tried]


class Asked(Checked):
    """A study's file as `Study.record` makes it."""

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
    rows: list[Row] = Field(min_length=1, max_length=MOST_ROWS)
    declares: list[Declared] = []
    looks: list[Look] = []
    tune: Tune | None = None
    arithmetic: Arithmetic | None = None

    @model_validator(mode="after")
    def fit(self) -> Self:
        labels = [row.label for row in self.rows]
        if len(set(labels)) < len(labels):
            raise ValueError("two rows have one label")
        named = {row.reference for row in self.rows} - {None}
        named |= {label for one in self.declares for label in one.rows + one.minus}
        if lost := named - set(labels):
            raise ValueError(f"no row is called {sorted(lost)[0]!r}")
        return self


def check(study: dict[str, Any], where: str) -> None:
    """Raises ConfigError where a study would not be read again, before any of it is written."""
    parse(Asked, study, where)


def read_study(path: Path) -> dict[str, Any]:
    """What was asked, as it was written. Raises ConfigError, which names the file.

    A file of an older version has no checksum: it is read, where all in it makes sense. No such
    version wrote `arithmetic`.
    """
    data = read_maybe_sealed(path, newer="arithmetic")
    study = parse(Asked, data, f"{path} was edited or damaged")
    if study.name != path.stem:
        raise ConfigError(f"{path} was edited or renamed: it describes {study.name!r}")
    return data


def read_studies(results: Path) -> list[dict[str, Any]]:
    """What was asked for in RESULTS, by name."""
    return [read_study(path) for path in sorted((results / "studies").glob("*.json"))]
