"""What one run is: RunConfig = data set + network + SEConfig + Recipe + seed. Strict and hashable.

No torch here. Whatever is wrong with a config, a grid or a command line is a `ConfigError`: one
sentence that names the key, the value and what is allowed.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from senet.config import SEConfig, choose

Model = TypeVar("Model", bound=BaseModel)
RECIPES = Path(__file__).parents[1] / "recipes.yaml"


class ConfigError(ValueError):
    """A wrong command, config, grid or data file, in one sentence for the user."""


MOST_VALUES = 100_000  # of a YAML file


class Strict(BaseModel):
    """Nothing is guessed: no unknown keys, no text where a number belongs."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Recipe(Strict):
    """How a network is trained. The named ones are in recipes.yaml.

    epochs, images or     the length: exactly one of them; `images` are those seen, an image
    iterations            as often as it is shown
    schedule              a row of SCHEDULES in optimization.py
    milestones, drop      where the schedule "steps" multiplies the learning rate by `drop`: epochs,
                          images or iterations, as the length is given
    warmup                iterations at a tenth of the learning rate before that
    train_images          the first so many training images that are not held out; None is all
    holdout               training images set aside for the curves, the same for every seed
    curve_images          how many of them are read after each epoch; None is all
    test_images           the first so many test images; None is all
    intervention_images   how many of them are read with replaced gates; None is all
    cutout                side in pixels of the square that is blanked in each training image
    precision             "auto" is bf16 where the processor has instructions for it, else fp32;
                          as that of `step`, settled for a study by the machine that begins it
    step                  "plain", module by module; "fused", on a CPU, in fewer passes
                          (senet/fast/fused.py); "captured", on a GPU, in one launch, and several
                          runs in a process (experiments/train/epoch.py); "auto" is fused on a CPU
                          where there is a C++ compiler, captured on a GPU that has proved it equal
                          (trust.py), else plain
    """

    name: str
    epochs: int | None = Field(None, ge=1, le=10**6)
    images: int | None = Field(None, ge=1, le=10**12)
    iterations: int | None = Field(None, ge=1, le=10**9)
    batch_size: int = Field(128, ge=2, le=2**16)
    lr: float = Field(0.1, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(1e-4, ge=0)
    schedule: Literal["onecycle", "steps", "cosine"] = "onecycle"
    milestones: tuple[Annotated[int, Field(ge=1)], ...] = ()
    drop: float = Field(0.1, gt=0, lt=1)
    warmup: int = Field(0, ge=0, le=10**9)
    train_images: int | None = Field(None, ge=1)
    holdout: int = Field(5000, ge=0)
    curve_images: int | None = Field(None, ge=1)
    test_images: int | None = Field(None, ge=1)
    intervention_images: int | None = Field(None, ge=1)
    cutout: int = Field(0, ge=0, le=64)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    step: Literal["auto", "plain", "fused", "captured"] = "auto"

    @model_validator(mode="after")
    def check(self) -> Self:
        if [self.epochs, self.images, self.iterations].count(None) != 2:
            raise ValueError("give exactly one of epochs, images and iterations")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        if (self.schedule == "steps") != bool(self.milestones):
            raise ValueError("milestones belong to the schedule 'steps', which needs them")
        return self


class Code(Strict):
    """A source file that adds choices of one's own (senet/custom.py), by name and content."""

    file: str
    digest: str = Field(pattern=r"^[0-9a-f]{16}$")


class RunConfig(Strict):
    """One training run, complete: the config.json of its record.

    width, shortcut, stride_on, branch_scale  as for `senet.networks.build`
    """

    dataset: str
    network: str
    width: float = Field(1.0, gt=0, le=64)
    shortcut: Literal["pad", "projection"] | None = None
    stride_on: Literal["3x3", "1x1"] = "3x3"
    branch_scale: float = Field(1.0, ge=0, le=64)
    se: SEConfig | None = None
    code: Code | None = None
    recipe: Recipe
    seed: int = Field(0, ge=0, lt=2**63)

    @model_validator(mode="after")
    def check_name(self) -> Self:
        if not re.fullmatch(r"[\w.,=+-]+", self.label):
            raise ValueError(
                f"{self.label!r} would name a folder: the names in it, such as one of your own in "
                "`se`, may have letters, digits and . , = + - _"
            )
        return self

    @property
    def id(self) -> str:
        """Names the cell that the run belongs to: a hash of everything but the seed.

        Only what differs from its default is hashed, so that a field which is added later
        leaves the ids of old configs alone.
        """
        text = json.dumps(non_defaults(self, leave_out={"seed"}), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    @property
    def label(self) -> str:
        """What a person reads in the name of a record's folder, made from the config alone."""
        width = "" if self.width == 1 else f"-width{self.width:g}"
        scale = "" if self.branch_scale == 1 else f"-scale{self.branch_scale:g}"
        trunk = f"{self.dataset}-{self.network}{width}{scale}"
        return f"{trunk}-{self.recipe.name}-{variant(self.se)}"

    @property
    def cell(self) -> str:
        """The folder that holds the seeds of this config: `<label>-<id>`."""
        return f"{self.label}-{self.id}"


def variant(se: SEConfig | None) -> str:
    """`plain`, `se`, or `se` and what differs from the paper's block: `se-max-ratio4`."""
    if se is None:
        return "plain"
    named = {"ratio": "ratio", "stages": "stage", "bias": "bias", "squeeze": "squeeze"}
    parts = ["se"]
    for name, value in non_defaults(se).items():
        text = "".join(map(str, value)) if isinstance(value, tuple) else str(value)
        parts.append(named.get(name, "") + text)
    return "-".join(parts)


def non_defaults(value: Any, leave_out: Iterable[str] = ()) -> Any:
    """A config as nested dicts that hold only what differs from the defaults."""
    if isinstance(value, BaseModel):
        defaults = {name: field.default for name, field in type(value).model_fields.items()}
    elif is_dataclass(value):
        defaults = {field.name: field.default for field in fields(value)}
    else:
        return value
    return {
        name: non_defaults(getattr(value, name))
        for name, default in defaults.items()
        if name not in leave_out and getattr(value, name) != default
    }


class About(Strict):
    """What a reader should know of a recipe; nothing of it reaches the training.

    seeds          how many a grid trains unless it is told otherwise
    demonstration  true where the training is too short to compare anything
    expect         test error in % that a plain network ends in, from-to, by data set
    spread         standard deviation of that error over seeds in points, where it was measured
    paper_of       the family (how its networks' names begin) for which the recipe "paper" means
                   this one
    """

    what: str
    paper_of: str | None = None
    seeds: int = Field(ge=1)
    demonstration: bool = False
    expect: dict[str, tuple[float, float]] = {}
    spread: dict[str, float] = {}


class RecipeRow(Strict):
    """A row of recipes.yaml."""

    about: About
    recipe: Recipe


@cache
def recipes() -> dict[str, RecipeRow]:
    """The rows of recipes.yaml by name."""
    return {
        name: parse(
            RecipeRow,
            {"about": row.pop("about"), "recipe": {"name": name, **row}},
            f"{RECIPES.name}, {name}",
        )
        for name, row in read_yaml(RECIPES).items()
    }


def recipe_row(name: str, network: str = "") -> RecipeRow:
    """A row by its name; `paper` is that of the network's family, where it has one of its own."""
    if name == "paper":
        for row in recipes().values():
            if row.about.paper_of and network.startswith(row.about.paper_of):
                return row
    return checked(choose, "recipe", name, recipes())


def checked(function, *args):
    """Calls a function of `senet`, whose ValueError is one sentence, as part of a config."""
    try:
        return function(*args)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file whose top level is a mapping, no key of which may stand twice."""
    try:
        if path.is_fifo() or path.is_char_device():  # which would never end
            raise ConfigError(f"{path}: not a file")
        data = yaml.load(path.read_text(encoding="utf-8"), UniqueKeys)
        if size(data, {}) > MOST_VALUES:
            raise ConfigError(f"{path}: more than {MOST_VALUES:,} values, written out")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except ConfigError:
        raise
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: a mapping of keys to values is expected")
    return data


def size(data: Any, known: dict[int, int]) -> int:
    """How many values YAML's data has: what `*` repeats counts each time, though it is there once.

    Raises RecursionError where something is in itself.
    """
    if id(data) not in known:
        parts = [*data, *data.values()] if isinstance(data, dict) else data
        parts = parts if isinstance(data, dict | list) else ()
        known[id(data)] = 1 + sum(size(part, known) for part in parts)
    return known[id(data)]


class UniqueKeys(yaml.SafeLoader):
    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := {key for key in keys if keys.count(key) > 1}:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {sorted(map(str, twice))[0]!r} stands twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


def parse(model: type[Model], data: Any, where: str = "") -> Model:
    """`data` (plain dicts, lists, numbers, text) as a model, or a ConfigError of one sentence."""
    try:
        return model.model_validate_json(json.dumps(data))  # JSON: lists may become tuples
    except ValidationError as error:
        sentence = explain(error, model)
    except (TypeError, ValueError, RecursionError) as error:  # a date, a set, a list in itself
        sentence = str(error)
    raise ConfigError(f"{where}: {sentence}" if where else sentence)


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first thing that pydantic found, in one sentence: the key, the value, what is allowed."""
    # A key that is unknown explains one that is missing.
    problems = sorted(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    first = problems[0]
    parts = list(map(str, first["loc"]))
    path = [part for part in parts if "[" not in part] or parts  # without pydantic's own names
    key, given = ".".join(path), first["input"]
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        allowed = fields_at(model, path[:-1])
        try:
            choose("key", path[-1], allowed)
        except ValueError as unknown:
            return str(unknown).replace(repr(path[-1]), repr(key), 1)
    if first["type"] == "json_invalid":  # of what YAML and JSON can write
        return "a text has a lone surrogate in it, which is half of a character"
    if first["type"] in ("missing", "missing_argument"):
        return f"the key {key!r} is missing"
    if isinstance(given, str) and re.fullmatch(r"[-+]?\d+e[-+]?\d+", given, re.IGNORECASE):
        return f"{key}: {given!r} is text to YAML: write {re.sub('e', '.0e', given, flags=re.I)}"
    says = " or ".join(
        problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        for problem in problems
        if problem["loc"][: len(path)] == first["loc"][: len(path)]
    )
    if first["type"] == "value_error":
        return f"{key}: {says}" if key else says
    says = says.replace("valid array", "list").replace("an object", "keys with values")
    shown = repr(given) if len(repr(given)) <= 80 else f"{repr(given)[:77]}..."
    return f"{key}: {shown} is not allowed: it should be {says}"


def fields_at(model: Any, path: list[str]) -> list[str]:
    """The names of the fields of the model or dataclass at this path."""
    for name in path:
        annotation = model.model_fields[name].annotation
        options = getattr(annotation, "__args__", (annotation,))
        model = next(option for option in options if option is not type(None))
    return [f.name for f in fields(model)] if is_dataclass(model) else list(model.model_fields)
