"""Fetches and prepares the data sets, once each, as DATA_DIR/<name>.npz. No torch here.

A prepared file that is there already is used as it is.
"""

from pathlib import Path
from typing import Any

from experiments.data.datasets import DATASETS, Source, path_of
from experiments.data.download import Say, Unreachable, download, is_whole
from experiments.records.files import write_atomically
from experiments.records.lock import wait_for
from experiments.records.parsing import ConfigError, checked
from senet.config import find_row

MINI = "cifar10_mini"  # what `auto` is where CIFAR-10 cannot be had


def prepare(name: str, data_dir: Path, say: Say, patience: float | None = None) -> None:
    """Makes DATA_DIR/<name>.npz, unless it is there; published files that lie there are used.

    The download of a file may take `patience` seconds; None is no limit.

    Raises:
        Unreachable: no address answers, or none is fast enough.
        ConfigError: the folder cannot be written, or what is there is damaged.
    """
    import numpy as np

    source, path = checked(find_row, "dataset", name, DATASETS), path_of(name, data_dir)
    if path.exists():
        return
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with wait_for(data_dir):  # another process would unpack into the same files
            if path.exists():
                return
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


def prepare_any(name: str, data_dir: Path, say: Say) -> str:
    """Prepares a data set and returns its name, which `auto` leaves open.

    `auto` is cifar10 if it is there or comes within two minutes, else cifar10_mini. A damaged file
    is an error, never a reason to fall back.
    """
    if name != "auto":
        prepare(name, data_dir, say)
        return name
    try:
        prepare("cifar10", data_dir, say, patience=120)
        return "cifar10"
    except Unreachable as error:
        say(f"{error}; until then there is {DATASETS[MINI].caveat}", style="bold red")
        prepare(MINI, data_dir, say)
        return MINI
