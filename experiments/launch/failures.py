"""Finds out why a run failed: by an exception, by how its process ended, by its error.txt."""

import errno
import signal
from contextlib import suppress
from multiprocessing.process import BaseProcess

from experiments.launch.events import Outcome
from experiments.processes.fork_server import kills_for_memory, was_terminated
from experiments.records.lock import hold
from experiments.records.record import Record
from experiments.records.states import DISK_FULL, KILLED, UNFIT, failure
from experiments.train.arithmetic import Unfit

LOG_LINES = 60  # of what a process printed, in the error.txt of one that could not write its own
OUT_OF_MEMORY = "out of memory"
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_MEMORY = ("can't allocate memory", "out of memory", "Cannot allocate memory", "ALLOC_FAILED")


def kind_of(error: Exception) -> str:
    """Names the kind of a failure: failures with the same cause have the same kind."""
    if isinstance(error, MemoryError) or any(text in str(error) for text in _NO_MEMORY):
        return OUT_OF_MEMORY
    if isinstance(error, OSError) and error.errno in _NO_SPACE:
        return DISK_FULL
    if isinstance(error, Unfit):
        return UNFIT
    return type(error).__name__


def first_line(error: Exception) -> str:
    """Returns what an exception says, cut to one line."""
    return (str(error).strip() or "no message").splitlines()[0]


def failed(record: Record) -> Outcome:
    """Returns the failure that a run's error.txt tells of, as `Record.fail` wrote it."""
    kind, _, reason = failure(record.path).partition(": ")
    return Outcome("failed", kind, reason)


def died(record: Record, process: BaseProcess, is_hung: bool, kills: int) -> Outcome:
    """Returns why a process ended that could not say so itself; writes its run's error.txt.

    It `is_hung` where we ended it, as it gave no sign of life. `kills` is how many processes the
    kernel had ended for want of memory before this one began.
    """
    if was_terminated(process):
        return Outcome("interrupted")
    code, details = process.exitcode or 0, ""
    with suppress(OSError):
        lines = (record.path / "log.txt").read_text(encoding="utf-8", errors="replace").splitlines()
        details = "\n".join(lines[-LOG_LINES:])
    if is_hung:
        kind, reason = "hang", "no sign of life for too long, so its process was ended"
    elif code == -signal.SIGKILL and kills_for_memory() > kills:
        kind, reason = OUT_OF_MEMORY, "the kernel ended the process (SIGKILL)"
    elif code in (-signal.SIGKILL, 255):  # 255: the fork server went, and took it along
        kind, reason = KILLED, "its process was ended from outside (SIGKILL)"
    elif code < 0:
        kind, reason = signal.Signals(-code).name, "the process crashed"
    else:
        kind, reason = f"exit status {code}", "the process ended without a word"
    # A full disk is no reason to end the others, and the lock is free unless somebody was quick.
    with suppress(OSError), hold(record.path) as lock:
        if lock is not None:
            record.fail(kind, reason, details)
    return Outcome("failed", kind, reason)
