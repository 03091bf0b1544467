"""The precision and the step of a run here: as its recipe says, or as its study was begun.

No torch here until it is asked.
"""

from collections.abc import Iterable

from experiments.records.config import Recipe
from experiments.records.parsing import ConfigError
from experiments.records.study_file import Arithmetic
from experiments.train.environment import DEVICES, device_name, pick_precision, pick_step
from experiments.train.trust import why_not_captured


class Unfit(ConfigError):
    """This machine cannot compute as the study was begun; another one can."""


def pick_arithmetic(recipe: Recipe, begun: Arithmetic, device: str) -> Arithmetic:
    """The precision and the step of a run here: what its recipe says, else how its study was begun.

    Raises Unfit where this machine cannot do the latter, ConfigError as `pick_step` does.
    """
    wanted = begun.of(recipe)
    precision, step = wanted.precision, wanted.step
    if recipe.precision != precision == "bf16" and pick_precision("auto", device) != "bf16":
        raise Unfit(
            f"it was begun in bf16, for which {device_name(device)[device != 'cpu']} has no "
            "instructions (about nine times slower on a CPU): train it elsewhere, or here with "
            "another RESULTS, or as a study of its own with --set recipe.precision=fp32"
        )
    try:
        step = pick_step(step, device)
    except ConfigError as error:
        if recipe.step == step:
            raise
        raise Unfit(
            f"it was begun with the {step} step, and {error}: train it elsewhere, or here with "
            "another RESULTS, or as a study of its own with --set recipe.step=plain"
        ) from None
    if recipe.step != wanted.step == "captured" and (reason := why_not_captured(device)):
        raise Unfit(
            f"it was begun with the captured step, and here {reason}: train it elsewhere, or here "
            "with another RESULTS, or as a study of its own with --set recipe.step=plain"
        )
    return Arithmetic(precision=pick_precision(precision, device), step=step)


def begin_arithmetic(
    recipes: Iterable[Recipe], begun: dict[str, str], device: str
) -> dict[str, str]:
    """What `auto` stands for in a study that begins on this machine, or joins in here.

    Args:
        recipes: of its runs.
        begun: what is known of it, by the names of `Arithmetic`.
        device: of its runs; where it is not here, the machines that have it decide.

    Raises ConfigError as `pick_arithmetic` does, for each recipe.
    """
    if not DEVICES[device.split(":")[0]]():
        for recipe in recipes:
            pick_step(recipe.step, device)
        return begun
    here = {"precision": pick_precision("auto", device), "step": pick_step("auto", device)}
    for recipe in recipes:
        pick_arithmetic(recipe, Arithmetic(**here | begun), device)
    return here | begun
