"""Gates and changes of error that are known, and what a figure shows of them."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

from analysis.figures.style import STYLE
from experiments.records.gates import Block, Gates, Walk, spaced

NINE = [f"SE_{stage}_{block}" for stage in (2, 3, 4) for block in (1, 2, 3)]
CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship",
           "truck"]  # fmt: skip


@pytest.fixture(autouse=True)
def style():
    with matplotlib.rc_context(STYLE):
        yield


def simulated(images: np.ndarray, channels: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Gates (images, channels) that depend on the class, and the classes (images,)."""
    random = np.random.default_rng(seed)
    classes = np.repeat(np.arange(len(images)), images)
    means = random.normal(0, 1, (len(images), channels))
    logits = means[classes] + random.normal(
        0, random.uniform(0.2, 3, channels), (len(classes), channels)
    )
    return 1 / (1 + np.exp(-logits)), classes


def block_of(s: np.ndarray, classes: np.ndarray, kept: int) -> Block:
    groups = [s[classes == c] for c in np.unique(classes)]
    class_mean, class_std = (np.stack([f(g, 0) for g in groups]) for f in (np.mean, np.std))
    between = class_mean[classes].std(0)
    sample = spaced(s.shape[1], kept)
    return Block(s.mean(0), s.std(0), between, sample, class_mean[:, sample], class_std[:, sample])


def gates(
    names=NINE, class_names=CIFAR10, channels=64, kept=64, low=0.0, high=1.0, seed=0
) -> Gates:
    """Gates of several blocks, spread from `low` to `high`."""
    images = np.arange(5, 5 + len(class_names))
    blocks = {}
    for number, name in enumerate(names):
        s, classes = simulated(images, channels, seed + number)
        blocks[name] = block_of(low + (high - low) * s, classes, kept)
    random = np.random.default_rng(seed)
    walk = Walk(
        image=random.integers(0, 256, (32, 32, 3), dtype=np.uint8), label=3, block=names[0],
        z=random.normal(0, 1, channels), s=random.uniform(0, 1, channels),
        channels=np.array([4, 0, 11, 7, 2, 9]), x=random.normal(0, 1, (6, 8, 8)),
    )  # fmt: skip
    return Gates(list(class_names), images, blocks, walk)


def frame(rise: float = 1.0, seeds: int = 3, stages=("2", "3", "4")) -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(
        [
            (seed, where, how, scale * rise * random.normal(1, 0.2), 1000)
            for seed in range(seeds)
            for where in ("all", *stages)
            for how, scale in {"mean": 1, "another": 2, "half": 3, "one": 30}.items()
        ],
        columns=["seed", "where", "how", "rise", "n_images"],
    )


def drawn(figure) -> list:
    """The panels of a figure that show something."""
    return [ax for ax in figure.axes if ax.axison]
