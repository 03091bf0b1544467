"""Picks a run's precision and step here: as its recipe says, or as its study was begun.

No torch here until it is asked.
"""

from collections.abc import Iterable

from experiments.records.config import Recipe
from experiments.records.parsing import ConfigError
from experiments.records.study_file import Arithmetic
from experiments.train.devices import DEVICES
from experiments.train.environment import device_name, has_bf16, pick_precision, pick_step
from experiments.train.trust import why_not_captured

# What a study begins with where its devices are on other machines; one that cannot do it says so.
ASSUMED = {"cuda": {"precision": "bf16", "step": "plain"}}


class Unfit(ConfigError):
    """Says that this machine cannot compute as the study was begun; another one can."""


def pick_arithmetic(recipe: Recipe, begun: Arithmetic, device: str) -> Arithmetic:
    """Picks a run's precision and step here: what its recipe says, else how its study was begun.

    Raises Unfit where this machine cannot do the latter, ConfigError as `pick_step` does.
    """
    wanted = begun.of(recipe)
    precision, step = wanted.precision, wanted.step
    if recipe.precision != precision == "bf16" and not has_bf16(device):
        raise _unfit(
            f"in bf16, for which {device_name(device)[device != 'cpu']} has no instructions (about "
            "nine times slower on a CPU)",
            "precision=fp32",
        )
    try:
        step = pick_step(step, device)
    except ConfigError as error:
        if recipe.step == step:
            raise
        raise _unfit(f"with the {step} step, and {error}", "step=plain") from None
    if recipe.step != wanted.step == "captured" and (reason := why_not_captured(device)):
        raise _unfit(f"with the captured step, and here {reason}", "step=plain")
    found = {"precision": pick_precision(precision, device), "step": step}
    return Arithmetic.model_validate(found)


def _unfit(how: str, instead: str) -> Unfit:
    """Makes the error of a study that was begun as this machine cannot compute."""
    return Unfit(
        f"it was begun {how}: train it elsewhere, or here with another RESULTS, or as a study of "
        f"its own with --set recipe.{instead}"
    )


def begin_arithmetic(
    recipes: Iterable[Recipe], begun: dict[str, str], device: str
) -> dict[str, str]:
    """Says what `auto` stands for in a study that begins on this machine, or joins in here.

    `begun` is what is known of it, by the names of `Arithmetic`. Where the device is not here, it
    is as ASSUMED. Raises ConfigError as `pick_arithmetic` does, for each recipe.
    """
    if not DEVICES[device.split(":")[0]]():
        for recipe in recipes:
            pick_step(recipe.step, device)
        return ASSUMED.get(device.split(":")[0], {}) | begun
    here = {"precision": pick_precision("auto", device), "step": pick_step("auto", device)}
    for recipe in recipes:
        pick_arithmetic(recipe, Arithmetic.model_validate(here | begun), device)
    return here | begun
