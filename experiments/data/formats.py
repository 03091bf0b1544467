"""Reads the files that data sets are published as: folder -> the arrays of a prepared file.

Each gives train_images and test_images (uint8, N x 32 x 32 x 3), train_labels, test_labels (N) and
class_names. What is slow to import is imported where it is used.
"""

from pathlib import Path
from typing import Any

CIFAR10_NAMES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


def cifar(folder: Path, kind: str) -> dict[str, Any]:
    """Reads CIFAR from its archive, or from the folder that torchvision unpacks it to.

    Raises RuntimeError, EOFError or KeyError where a part is damaged.
    """
    import numpy as np
    import torchvision  # takes seconds, and only the first preparation needs it

    dataset = getattr(torchvision.datasets, kind)
    has_archive = (folder / dataset.filename).exists()
    train, test = (dataset(folder, part, download=has_archive) for part in (True, False))
    return {
        "train_images": train.data,
        "train_labels": np.array(train.targets),
        "test_images": test.data,
        "test_labels": np.array(test.targets),
        "class_names": np.array(train.classes),
    }


def cifar10_1(folder: Path) -> dict[str, Any]:
    """Reads version 6 of CIFAR-10.1 (Recht et al. 2018), which is a test set only."""
    import numpy as np

    return {
        "train_images": np.zeros((0, 32, 32, 3), np.uint8),
        "train_labels": np.zeros(0, np.int64),
        "test_images": np.load(folder / "cifar10.1_v6_data.npy", allow_pickle=False),
        "test_labels": np.load(folder / "cifar10.1_v6_labels.npy", allow_pickle=False),
        "class_names": np.array(CIFAR10_NAMES),
    }


def svhn(folder: Path) -> dict[str, Any]:
    """Reads the cropped digits of SVHN (Netzer et al. 2011), whose label 10 is the digit 0."""
    import numpy as np
    from scipy.io import loadmat

    arrays: dict[str, Any] = {"class_names": np.array([str(digit) for digit in range(10)])}
    for split in ("train", "test"):
        content = loadmat(folder / f"{split}_32x32.mat")  # X is (32, 32, 3, N), y is (N, 1)
        arrays[f"{split}_images"] = np.ascontiguousarray(content["X"].transpose(3, 0, 1, 2))
        arrays[f"{split}_labels"] = content["y"].ravel().astype(np.int64) % 10
    return arrays
