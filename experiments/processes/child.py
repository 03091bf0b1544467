"""Prepares a process that was started for some work: it ends with its parent, and keeps a log."""

import ctypes
import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from experiments.processes.output import protect
from experiments.records.lock import is_at


def die_with_parent() -> None:
    """Ends this process when the one that asked for it ends, in whatever way: its locks are free.

    A thread waits for that; on Linux the kernel does, too, as a thread cannot where C code hangs:
    the fork server, of which this process is a child, ends with its user.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def printing_into(path: Path) -> Iterator[None]:
    """Redirects this process's output, also that of C++, and the traceback of a crash to a file.

    SIGUSR1 writes where it is. The file goes where nothing was printed. What Python cannot write
    is dropped.
    """
    try:
        path.unlink(missing_ok=True)  # that of another user could not be written to
    except PermissionError as error:
        why = "another user's, in a folder that is sticky or not ours to write to"
        raise PermissionError(error.errno, why, str(path)) from None
    with path.open("wb", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    protect()
    faulthandler.enable(all_threads=False)
    faulthandler.register(signal.SIGUSR1, all_threads=False)
    yield
    sys.stdout.flush()
    sys.stderr.flush()
    if is_at(1, path) and not os.fstat(1).st_size:
        path.unlink()
