"""What several tests need: a tiny prepared data set, and settings that train in a moment."""

import numpy as np
import pytest
import torch

from experiments.config import RunConfig, parse

TINY = {
    "name": "tiny", "epochs": 2, "batch_size": 16, "train_images": 48, "holdout": 32,
    "curve_images": 16, "test_images": 40,
}  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A folder with a `cifar10` of 200 images in which a class is a brightness."""
    random = np.random.default_rng(0)
    labels = np.arange(200) % 10
    images = random.integers(0, 40, (200, 32, 32, 3)) + 20 * labels[:, None, None, None]
    images = images.astype(np.uint8)
    folder = tmp_path_factory.mktemp("data")
    np.savez(
        folder / "cifar10.npz",
        train_images=images[:120], train_labels=labels[:120],
        test_images=images[120:], test_labels=labels[120:],
        class_names=np.array([f"class {i}" for i in range(10)]),
    )  # fmt: skip
    return folder


def tiny(**changes) -> RunConfig:
    recipe = TINY | changes.pop("recipe", {})
    return parse(
        RunConfig, {"dataset": "cifar10", "network": "resnet20", "recipe": recipe} | changes
    )
