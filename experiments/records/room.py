"""Checks, before anything is written, that RESULTS can be written and has room."""

import os
import shutil
import stat
from pathlib import Path

from experiments.records.parsing import ConfigError

SMALLEST_RUN = 1_200_000  # bytes that a run of ResNet-20 leaves, with its checkpoint


def check_writable(results: Path) -> None:
    """Raises ConfigError where RESULTS cannot be written, before anything is."""
    for folder in (results / "runs", results / "studies", results / "code"):
        there = _nearest(folder)
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            raise ConfigError(
                f"RESULTS {results} cannot be written: {there} is not a writable folder"
            )
        facts = there.stat()
        if there == folder.absolute() and facts.st_mode & stat.S_ISVTX and not _is_ours(facts):
            raise ConfigError(
                f"RESULTS {results} cannot be shared: {folder} is sticky, so that nobody may "
                f"replace what another user has left there: chmod -R -t {results}"
            )


def _is_ours(facts: os.stat_result) -> bool:
    """Tells whether we may replace all that is in a folder, also where it is sticky."""
    return os.geteuid() in (0, facts.st_uid)


def check_room(results: Path, runs: int) -> None:
    """Raises ConfigError where the disk of RESULTS has no room for so many runs of ResNet-20.

    Larger networks need more.
    """
    free, needed = shutil.disk_usage(_nearest(results)).free, runs * SMALLEST_RUN
    if free < needed:
        raise ConfigError(
            f"RESULTS {results} has no room: {runs} runs need at least {needed / 1e6:.0f} MB, and "
            f"{free / 1e6:.1f} MB are free"
        )


def _nearest(folder: Path) -> Path:
    """Returns the folder, or the one above it that is there."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    return there
