"""Defines one run: RunConfig = data set + network + SEConfig + Recipe + seed.

Configs are strict and hashable. No torch here.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from experiments.records.parsing import Strict
from experiments.records.schedules import SCHEDULES
from senet.config import SEConfig, find_row


class Recipe(Strict):
    """Says how a network is trained. The named recipes are in recipes.yaml.

    epochs, images or     the length: exactly one of them; `images` are those seen, an image
    iterations            as often as it is shown
    schedule              a row of SCHEDULES in schedules.py
    milestones, drop      where the schedule "steps" multiplies the learning rate by `drop`: epochs,
                          images or iterations, as the length is given
    warmup                iterations at a tenth of the learning rate before that
    train_images          the first so many training images that are not held out; None is all
    holdout               training images set aside for the curves, the same for every seed; of
                          cifar10_mini at most the 1,000 that it has for it
    curve_images          how many of them are read after each epoch; None is all
    test_images           the first so many test images; None is all
    intervention_images   how many of them are read with replaced gates; None is all
    cutout                side in pixels of the square that is blanked in each training image
    precision             "auto" is bf16 where the processor is faster in it, else fp32;
                          as that of `step`, settled for a study by the machine that begins it
    step                  "plain", module by module; "fused", on a CPU, in fewer passes
                          (senet/fast/fused.py); "captured", on a GPU, in one launch, and several
                          runs in a process (experiments/train/epoch.py); "auto" is fused on a CPU
                          where there is a C++ compiler, captured on a GPU that has proved it equal
                          (trust.py), else plain
    """

    name: str
    epochs: int | None = Field(default=None, ge=1, le=10**6)
    images: int | None = Field(default=None, ge=1, le=10**12)
    iterations: int | None = Field(default=None, ge=1, le=10**9)
    batch_size: int = Field(default=128, ge=2, le=2**16)
    lr: float = Field(default=0.1, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(default=1e-4, ge=0)
    schedule: str = "onecycle"
    milestones: tuple[Annotated[int, Field(ge=1)], ...] = ()
    drop: float = Field(default=0.1, gt=0, lt=1)
    warmup: int = Field(default=0, ge=0, le=10**9)
    train_images: int | None = Field(default=None, ge=1)
    holdout: int = Field(default=5000, ge=0)
    curve_images: int | None = Field(default=None, ge=1)
    test_images: int | None = Field(default=None, ge=1)
    intervention_images: int | None = Field(default=None, ge=1)
    cutout: int = Field(default=0, ge=0, le=64)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    step: Literal["auto", "plain", "fused", "captured"] = "auto"

    @field_validator("schedule")
    @classmethod
    def check_schedule(cls, name: str) -> str:
        find_row("schedule", name, SCHEDULES)
        return name

    @model_validator(mode="after")
    def check(self) -> Self:
        if [self.epochs, self.images, self.iterations].count(None) != 2:
            raise ValueError("give exactly one of epochs, images and iterations")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        if (self.schedule == "steps") != bool(self.milestones):
            raise ValueError("milestones belong to the schedule 'steps', which needs them")
        return self

    @property
    def length(self) -> int:
        """Returns the length of a training, in the unit in which it is given."""
        return self.epochs or self.images or self.iterations or 0  # one of them is there


class Code(Strict):
    """Identifies a source file of own choices (senet/custom.py) by its name and content."""

    file: str
    digest: str = Field(pattern=r"^[0-9a-f]{16}$")


class RunConfig(Strict):
    """Describes one training run completely: it is the config.json of its record.

    width, shortcut, stride_on, branch_scale  as for `senet.networks.build`
    """

    dataset: str
    network: str
    width: float = Field(default=1.0, gt=0, le=64)
    shortcut: Literal["pad", "projection"] | None = None
    stride_on: Literal["3x3", "1x1"] = "3x3"
    branch_scale: float = Field(default=1.0, ge=0, le=64)
    se: SEConfig | None = None
    code: Code | None = None
    recipe: Recipe
    seed: int = Field(default=0, ge=0, lt=2**63)

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
        """Names the cell that the run belongs to, by a hash of everything but the seed.

        Only what differs from its default is hashed, so that a field which is added later
        leaves the ids of old configs alone.
        """
        text = json.dumps(non_defaults(self, leave_out={"seed"}), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    @property
    def label(self) -> str:
        """Returns the readable part of the name of a record's folder, from the config alone."""
        width = "" if self.width == 1 else f"-width{self.width:g}"
        scale = "" if self.branch_scale == 1 else f"-scale{self.branch_scale:g}"
        trunk = f"{self.dataset}-{self.network}{width}{scale}"
        return f"{trunk}-{self.recipe.name}-{variant(self.se)}"

    @property
    def cell(self) -> str:
        """Names the folder that holds the seeds of this config: `<label>-<id>`."""
        return f"{self.label}-{self.id}"


def variant(se: SEConfig | None) -> str:
    """Returns `plain`, `se`, or `se` and what differs from the paper's block: `se-max-ratio4`."""
    if se is None:
        return "plain"
    named = {"ratio": "ratio", "stages": "stage", "bias": "bias", "squeeze": "squeeze"}
    parts = ["se"]
    for name, value in non_defaults(se).items():
        text = "".join(map(str, value)) if isinstance(value, tuple) else str(value)
        parts.append(named.get(name, "") + text)
    return "-".join(parts)


def non_defaults(value: Any, leave_out: Iterable[str] = ()) -> Any:
    """Returns a config as nested dicts that hold only what differs from the defaults."""
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
