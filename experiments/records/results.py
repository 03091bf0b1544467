"""Reads a finished run and checks it against its checksums, or refuses it."""

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from experiments.records.config import RunConfig
from experiments.records.files import digest_of_file, read_lines, read_sealed
from experiments.records.parsing import ConfigError
from experiments.records.record import SEALED, load_record
from experiments.records.states import read_summary

_MOST_IMAGES, _MOST_SECONDS = 10**12, 10**9  # of an epoch: beyond, a file was damaged


@dataclass(frozen=True)
class Result:
    """Holds a finished run as it was written."""

    config: RunConfig
    summary: dict[str, Any]
    env: dict[str, Any]
    metrics: list[dict[str, Any]]


def read_result(path: Path) -> Result:
    """Reads a finished run, all of it or nothing.

    Raises ConfigError, which names the file, where one of them was edited, cut short, is lost, or
    belongs to another config than the folder's name says.
    """
    needed = ("test_error", "test_images", "parameters", "multiply_adds", "hidden")
    summary = read_summary(path, *needed)
    env = _check_files(path, summary)
    return Result(load_record(path).config, summary, env, read_lines(path / "metrics.jsonl"))


def _check_files(path: Path, summary: dict[str, Any]) -> dict[str, Any]:
    """Returns the env.json of a finished run.

    Raises ConfigError where one of its files is not whole, or was not written by this run.
    """
    for name in SEALED:
        if name not in summary["files"] and (path / name).exists():
            raise ConfigError(f"{path / name} is not of this run: its summary does not list it")
    for name, digest in summary["files"].items():
        if not (path / name).exists():
            raise ConfigError(f"{path / name} is not there")
        if digest_of_file(path / name) != digest:
            raise ConfigError(f"{path / name} is not what the run wrote: edited, or cut short")
    env = read_sealed(path / "env.json", "precision", "data")
    timings = path / "timings.jsonl"
    if "timings" in env and digest_of_file(timings) != env["timings"]:  # not in older versions
        raise ConfigError(f"{timings} is not what the run wrote: edited, or cut short")
    return env


def read_timings(path: Path) -> list[dict[str, Any]]:
    """Reads epoch, images and seconds of each epoch; what is no such line is left out."""
    lines = read_lines(path / "timings.jsonl", cut_short=True)
    return [line for line in lines if _is_timing(**{"epoch": 0, "images": 0, "seconds": 0} | line)]


def seconds_spent(path: Path) -> float:
    """Adds up the seconds of a run's epochs so far, also of those that were lost."""
    return sum(line["seconds"] for line in read_timings(path))


def _is_timing(epoch: Any, images: Any, seconds: Any, **_) -> bool:
    return (
        type(epoch) is int
        and type(images) is int
        and type(seconds) in (int, float)
        and 0 < images < _MOST_IMAGES
        and 0 < seconds < _MOST_SECONDS
    )


def damage(path: Path) -> str:
    """Says why a finished run is not whole, as `what_is_lost` does; "" where it is.

    The files are read again only where one has changed since the last call.
    """
    try:
        with os.scandir(path) as files:
            return _damage(path, frozenset((one.name, one.stat().st_mtime_ns) for one in files))
    except OSError as error:  # another user's folder
        return f"{path} cannot be read: {error.strerror}"


@cache
def _damage(path: Path, stamps: frozenset[tuple[str, int]]) -> str:
    return what_is_lost(path)


def what_is_lost(path: Path) -> str:
    """Says why the files of a finished run are not what its summary sums up; "" where they are.

    A summary that cannot be read says nothing of them.
    """
    try:
        summary = read_summary(path)
    except ConfigError:
        return ""
    try:
        _check_files(path, summary)
    except ConfigError as error:
        return str(error)
    return ""
