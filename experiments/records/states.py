"""Reads the state of a run from its files. No torch here.

`status` adds what Slurm says of its job (commands/look.py), and tables add MISSING and
OTHER_DATA (analysis/read.py).
"""

from enum import StrEnum
from pathlib import Path
from typing import Any

from experiments.records.files import read_lines, read_sealed
from experiments.records.lock import holder
from experiments.records.parsing import ConfigError

# Kinds of failure that are not the run's fault: it goes on as soon as it may.
KILLED, DISK_FULL, CANCELLED = "killed", "disk full", "cancelled"
UNFIT = "unfit machine"  # it cannot compute as the study was begun; another machine can


class State(StrEnum):
    """Says where a run stands. The value is the word that is printed."""

    PLANNED = "planned"
    PENDING = "pending"  # in Slurm's queue
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"
    FAILED = "failed"
    DIVERGED = "diverged"  # which is a result
    DONE = "done"
    DAMAGED = "damaged"
    MISSING = "missing"  # in a table: any state of UNFINISHED below
    OTHER_DATA = "other data"  # in a table: done, on other data than most runs of the study


FINISHED = (State.DONE, State.DIVERGED)  # there is a result
LEFT = (State.INTERRUPTED, State.CANCELLED)  # begun, and trained by nobody now
BEGUN = (State.RUNNING, *LEFT)  # there may be epochs, and there is no result yet
UNFINISHED = (State.PLANNED, *BEGUN)  # `run` sees to them
REFUSED = (State.FAILED, State.DAMAGED, State.OTHER_DATA)  # no number of theirs is used


def read_summary(path: Path, *keys: str) -> dict[str, Any]:
    """Reads the summary of a finished run in a folder.

    It has to have `keys`, besides its state and the checksums of its files. Raises ConfigError,
    which names the file, where it is no such summary.
    """
    where = path / "summary.json"
    summary = read_sealed(where, "state", "files", *keys)
    error, files = summary.get("test_error", 0.0), summary["files"]
    if summary["state"] not in FINISHED:
        raise ConfigError(f"{where}: {summary['state']!r} is no state of a finished run")
    is_number = type(error) in (int, float) and 0 <= error <= 100
    if summary["state"] == State.DONE and not is_number:
        raise ConfigError(f"{where}: done, and its test error is no number from 0 to 100")
    if not isinstance(files, dict) or any(Path(name).name != name for name in files):
        raise ConfigError(f"{where}: its `files` are no names and checksums")
    return summary


def state(path: Path) -> State:
    """Reads what a run's files say: no state of Slurm, and none of tables."""
    try:
        if (path / "summary.json").exists():
            summary = read_summary(path)
            is_whole = all((path / name).stat().st_size > 0 for name in summary["files"])
            return State(summary["state"]) if is_whole else State.DAMAGED
    except (ConfigError, OSError):  # also another user's folder
        return State.DAMAGED
    if holder(path) is not None:
        return State.RUNNING
    kind = failure(path).partition(":")[0]
    if kind == CANCELLED:
        return State.CANCELLED
    if kind and kind not in (KILLED, DISK_FULL, UNFIT):
        return State.FAILED
    if (path / "summary.json").exists():  # it has ended since we looked
        return state(path)
    return State.INTERRUPTED if (path / "config.json").exists() else State.PLANNED


def failure(path: Path) -> str:
    """Reads the first line of a run's error.txt, `kind: reason`; "" where there is none."""
    try:
        with (path / "error.txt").open(encoding="utf-8", errors="replace") as lines:
            return lines.readline().strip() or "unknown: error.txt is empty"
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"unknown: error.txt cannot be read: {error.strerror}"


def how_it_was_left(path: Path) -> list[str]:
    """Says after how many epochs a run was left, and why where that is known."""
    epochs = len(read_lines(path / "metrics.jsonl", cut_short=True))
    return [f"after {epochs} epochs", *filter(None, [failure(path)])]
