"""Lists the learning-rate schedules that a recipe can name. No torch here."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experiments.records.config import Recipe

# The learning rate as a share of the recipe's, from (step, steps in all, recipe), without warm-up.
SCHEDULES: dict[str, Callable[[int, int, "Recipe"], float]] = {
    # from a fifth up over the first quarter, then down to zero: two straight lines
    "onecycle": lambda step, steps, recipe: min(
        0.2 + 0.8 * step / max(1, 0.25 * steps), (steps - step) / max(1, 0.75 * steps)
    ),
    # multiplied by `drop` at each milestone (He et al. 2015, section 4.2)
    "steps": lambda step, steps, recipe: (
        recipe.drop ** sum(step >= m * steps / recipe.length for m in recipe.milestones)
    ),
    # half a cosine down to zero (Loshchilov and Hutter 2017)
    "cosine": lambda step, steps, recipe: (1 + math.cos(math.pi * step / steps)) / 2,
}


def learning_rate(step: int, steps: int, recipe: "Recipe") -> float:
    """Returns the learning rate of a step, counted from 0, of so many steps in all."""
    share = 0.1 if step < recipe.warmup else SCHEDULES[recipe.schedule](step, steps, recipe)
    return recipe.lr * share
