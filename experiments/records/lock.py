"""Locks a file in a run's folder, which says who trains the run. No torch here.

The kernel holds the lock (flock) for the process that trains, and takes it back when that process
ends, however it ends: no clock and no process number decides, and nobody has to clean up. On a
shared disk the file server does the same between machines (NFS, Lustre, GPFS). Where a disk does
not pass locks on, a lock file of another machine that still changes counts as held, too.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from experiments.records.parsing import ConfigError
from experiments.records.signs import SIZE, Signs, machine

BEAT = 5.0  # seconds between two signs of life in a lock file


class Lock:
    """Gives the right to train the run in a folder while it is held; get it with `hold`."""

    def __init__(self, file: int) -> None:
        self.file, self.beat, self.told = file, 0, -BEAT

    def tell(self, **progress: Any) -> None:
        """Writes signs of life for `holder`, fields of Signs, at most once every BEAT seconds."""
        if (now := time.monotonic()) - self.told >= BEAT:
            self.told = now
            self.write(**progress)

    def write(self, **progress: Any) -> None:
        """Writes signs of life for `holder`, fields of Signs, at once."""
        self.beat += 1
        os.pwrite(self.file, Signs.of_us(beat=self.beat, **progress).pack(), 0)


class Moved(ConfigError):
    """Says that a folder is no longer ours: moved, deleted, or taken over by another driver."""


HELD: dict[Path, int] = {}  # folder -> its open lock file


def _let_go() -> None:
    """Closes our lock files in a forked child, which may outlive us and must not keep our locks."""
    for file in HELD.values():
        os.close(file)
    HELD.clear()


def confirm(folder: Path) -> None:
    """Raises Moved where we hold a folder's lock, and another file is at its place now.

    Another driver may train the run there: whatever we wrote would be mixed with its files.
    """
    if folder in HELD and not is_at(HELD[folder], folder / "lock"):
        raise Moved(
            f"{folder} was moved or deleted while it was written to, "
            "or another process has taken it over"
        )


def is_at(file: int, path: Path) -> bool:
    """Tells whether an open file is the one at a path."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except OSError:
        return False


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def hold(folder: Path) -> Iterator[Lock | None]:
    """Holds the lock of a run's folder; gives None where another process has it."""
    path = folder / "lock"
    file = take(path)
    if file is None:
        yield None
        return
    HELD[folder] = file
    try:
        lock = Lock(file)
        lock.write()
        yield lock
    finally:
        if is_at(file, path):  # else it is that of another driver
            path.unlink(missing_ok=True)  # while it is ours
        HELD.pop(folder, None)
        os.close(file)


@contextmanager
def wait_for(folder: Path) -> Iterator[Lock]:
    """Holds the lock of a folder, as soon as no other process has it."""
    while True:
        with hold(folder) as lock:
            if lock is not None:
                yield lock
                return
        time.sleep(0.05)


def take(path: Path) -> int | None:
    """Opens and locks the file at a path; returns it, or None where another process holds it."""
    while True:
        file, is_ours = _open_or_read(path)
        if not _try_lock(file) or _is_alive_elsewhere(path, file):
            os.close(file)
            return None
        if is_at(file, path):
            if is_ours and read(file).machine in ("", machine()):
                return file
            path.unlink()  # its holder has died, or may wake up: one of our own takes its place
        os.close(file)  # its holder has deleted it a moment ago: take the new one


def _open_or_read(path: Path) -> tuple[int, bool]:
    """Opens the lock file, and tells whether we may write to it.

    Another user's can be locked all the same.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666), True
    except PermissionError as error:
        with suppress(FileNotFoundError):
            return os.open(path, os.O_RDONLY), False
        raise error


def _try_lock(file: int, tries: int = 5) -> bool:
    """Locks an open file, and tells whether that worked.

    It tries several times, as one who only looks (`holder`) holds the lock for a moment."""
    for _ in range(tries):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.02)
    return False


def holder(folder: Path) -> Signs | None:
    """Returns what the process that trains a run says of itself, or None where nobody does.

    On a disk that does not pass locks on, one of another machine is known by its last sign of life.
    """
    try:
        file = os.open(folder / "lock", os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        who = read(file)
        is_foreign = who.machine not in ("", machine())
        is_fresh = abs(time.time() - os.fstat(file).st_mtime) < 3 * BEAT
        return who if is_foreign and is_fresh else None
    except BlockingIOError:
        return read(file)
    finally:
        os.close(file)


def read(file: int) -> Signs:
    """Reads the signs of life in an open lock file."""
    return Signs.parse(os.pread(file, SIZE, 0))


def _is_alive_elsewhere(path: Path, file: int) -> bool:
    """Tells whether another machine still writes to a lock file whose lock we were given."""
    before = read(file)
    if before.machine in ("", machine()):
        return False
    deadline = time.monotonic() + 3 * BEAT
    while time.monotonic() < deadline:
        time.sleep(BEAT / 5)
        try:
            again = os.open(path, os.O_RDONLY)  # a file that is opened anew is asked for anew
        except FileNotFoundError:
            return False
        now = read(again)
        os.close(again)
        if now.beat != before.beat:
            return True
    return False
