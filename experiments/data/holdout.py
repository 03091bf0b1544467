"""Which images are trained on, and which are held out for the curves. No torch here."""

import numpy as np

from experiments.data.datasets import Arrays
from experiments.records.config import Recipe
from experiments.records.parsing import ConfigError


def held_out(arrays: Arrays, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the images to train on, and of those that the curves are drawn on.

    Which are held out is drawn once for all seeds: it depends on how many images there are.

    Raises:
        ConfigError: the data set has too few.
    """
    order = np.random.default_rng(1709_01507).permutation(len(arrays.train_labels))
    available = max(0, len(order) - recipe.holdout)
    limits = {
        "holdout": len(order) - 1,
        "train_images": available,
        "test_images": len(arrays.test_labels),
    }
    for name, limit in limits.items():
        if (getattr(recipe, name) or 0) > limit:
            raise ConfigError(
                f"recipe.{name} {getattr(recipe, name)}: {arrays.name} has {len(order)} training "
                f"and {len(arrays.test_labels)} test images, of which {limit} are left for it"
            )
    training = order[:available][: recipe.train_images]
    return training, order[available:][: recipe.curve_images]
