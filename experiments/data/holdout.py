"""Chooses which images are trained on, and which are held out for the curves. No torch here."""

import numpy as np

from experiments.data.datasets import DATASETS, Arrays
from experiments.records.config import Recipe
from experiments.records.parsing import ConfigError


def held_out(arrays: Arrays, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """Returns the numbers of the images to train on, and of those that the curves are drawn on.

    Which are held out is drawn once for all seeds: it depends on how many images there are. Of a
    data set that has held-out images of its own (`Source.holdout`) it is its last ones. Raises
    ConfigError where the data set has too few.
    """
    source, n = DATASETS[arrays.name], len(arrays.train_labels)
    own = min(source.holdout or 0, n)
    drawn = np.random.default_rng(1709_01507).permutation(n - own)
    order = np.concatenate([drawn, np.arange(n - own, n)])
    held = source.held_out(recipe.holdout)
    available = max(0, n - held)
    limits = {
        "holdout": (held, n - 1),
        "train_images": (recipe.train_images, available),
        "test_images": (recipe.test_images, len(arrays.test_labels)),
    }
    for name, (asked, limit) in limits.items():
        if (asked or 0) > limit:
            raise ConfigError(
                f"recipe.{name} {asked}: {arrays.name} has {n} training and "
                f"{len(arrays.test_labels)} test images, of which {limit} are left for it"
            )
    training = order[:available][: recipe.train_images]
    return training, order[available:][: recipe.curve_images]
