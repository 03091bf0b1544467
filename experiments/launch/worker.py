"""The process of a run: it reports, it stops when it is told to, and it dies with its runner.

On a GPU it may be that of several runs at once, a thread each: see `crew`.

No torch at the top: whoever starts these processes needs none.
"""

import ctypes
import errno
import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from experiments.records.lock import Lock, Moved, hold, is_at
from experiments.records.record import DISK_FULL, UNFIT, Record
from experiments.train.arithmetic import Unfit

REPORT_EVERY = 0.5  # seconds between two signs of life of a run
OUT_OF_MEMORY = "out of memory"
# <malloc.h>: M_MMAP_THRESHOLD, at its largest; M_TRIM_THRESHOLD; M_TOP_PAD
MALLOC = {-3: 32 << 20, -1: 2**31 - 1, -2: 64 << 20}
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_ROOM = ("can't allocate memory", "out of memory", "Cannot allocate memory", "ALLOC_FAILED")


@dataclass(frozen=True)
class Job:
    """A run to train, and where; `is_shared` where other runs have the same process."""

    record: Record
    data_dir: Path
    device: str
    checkpoint_every: float
    is_shared: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a process ended.

    state        done; failed, with an error.txt; interrupted, with a checkpoint; or elsewhere:
                 another process trains this run
    kind, reason of a failure, as in `Record.fail`
    """

    state: Literal["done", "failed", "interrupted", "elsewhere"]
    kind: str = ""
    reason: str = ""


def work(job: Job, pipe: Connection) -> None:
    """Trains a run and sends (what, ...) through the pipe: progress, note, ended."""
    told = begin()
    train_one(job, pipe, told, printing_into(job.record.path / "log.txt"))


def crew(pipes: list[Connection]) -> None:
    """Trains runs beside each other, in a thread for each pipe: of the jobs that come through it.

    Sends what `work` sends, of one after the other. What Python catches ends one run; what it does
    not, all of them.
    """
    from experiments.gpu import allow_streams

    told = begin()
    allow_streams(len(pipes))
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1), os.dup2(nowhere.fileno(), 2)
    threads = [threading.Thread(target=serve, args=(pipe, told), daemon=True) for pipe in pipes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def serve(pipe: Connection, told: threading.Event) -> None:
    while not told.is_set():
        if pipe.poll(REPORT_EVERY):
            try:
                job = pipe.recv()
            except EOFError:
                return
            train_one(job, pipe, told, nullcontext())


def begin() -> threading.Event:
    """Makes this a process that dies with its runner, and returns what tells it to stop."""
    die_with_runner()
    told = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the runner's, which sends SIGTERM
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    return told


def train_one(
    job: Job, pipe: Connection, told: threading.Event, printing: AbstractContextManager
) -> None:
    """Trains a run unless another process does, and sends how that ended."""

    def send(*message: Any) -> None:
        try:
            pipe.send(message)
        except OSError:  # the runner is gone
            os._exit(1)

    folder = job.record.path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with hold(folder) as lock:
            if lock is None:
                outcome = Outcome("elsewhere")
            elif job.record.finished:  # by another runner, a moment ago
                outcome = Outcome("done")
            else:
                with printing:
                    outcome = attempt(job, lock, send, told.is_set)
    except OSError as error:  # no folder, no lock, no log
        outcome = Outcome("failed", kind_of(error), str(error))
    send("ended", outcome)


def attempt(job: Job, lock: Lock, send, stop) -> Outcome:
    """Trains, and says how that ended."""
    import torch

    from experiments.gpu import on_own_stream
    from experiments.train.epoch import forget
    from experiments.train.train import Interrupted, Watch, train

    torch.set_num_threads(1)  # whatever the neighbours do: workers x threads = cores
    keep_freed_memory()
    if "cuda" in job.device:
        torch.cuda.set_device(job.device)  # or it takes memory on the first GPU, too
    record, batch_size = job.record, job.record.config.recipe.batch_size
    started, sent, latest = None, 0.0, {}

    def report(step: int, steps: int, row: dict | None) -> None:
        nonlocal started, sent, latest
        now = time.monotonic()
        started, latest = started or (step, now), row or latest
        if row is None and now - sent < REPORT_EVERY:
            return
        sent, since = now, now - started[1]
        speed = (step - started[0]) / since if since else 0.0
        send("progress", step, steps, row)
        lock.tell(
            step=step,
            steps=steps,
            epoch=latest.get("epoch", 0),
            error=latest.get("val_error"),
            images_per_second=speed * batch_size,
            seconds_left=(steps - step) / speed if speed else None,
        )

    watch = Watch(report, lambda text: send("note", text), stop, job.checkpoint_every)
    try:
        with on_own_stream(torch.device(job.device)):
            train(record.config, record, job.data_dir, job.device, watch)
    except Interrupted:
        return Outcome("interrupted")
    except Exception as error:
        outcome = Outcome("failed", kind_of(error), first_line(error))
        if job.is_shared and outcome.kind == "AcceleratorError":
            os._exit(1)  # of the GPU: no run of this process can go on after it
        with suppress(OSError, Moved):  # a full disk: the runner hears of it all the same
            record.fail(outcome.kind, outcome.reason, traceback.format_exc())
        forget(error)
        return outcome
    return Outcome("done")


def kind_of(error: Exception) -> str:
    """What two failures have in common."""
    if isinstance(error, MemoryError) or any(text in str(error) for text in NO_ROOM):
        return OUT_OF_MEMORY
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        return DISK_FULL
    if isinstance(error, Unfit):
        return UNFIT
    return type(error).__name__


def first_line(error: Exception) -> str:
    return (str(error).strip() or "no message").splitlines()[0]


@contextmanager
def printing_into(path: Path) -> Iterator[None]:
    """Sends what this process prints to a file, in C++ too, and where it was when it crashed.

    SIGUSR1 writes where it is. The file goes where nothing was printed.
    """
    path.unlink(missing_ok=True)  # that of another user could not be written to
    with path.open("wb", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    faulthandler.enable(all_threads=False)
    faulthandler.register(signal.SIGUSR1, all_threads=False)
    yield
    sys.stdout.flush()
    sys.stderr.flush()
    if is_at(1, path) and not os.fstat(1).st_size:
        path.unlink()


def keep_freed_memory() -> None:
    """Lets freed memory be used again at once, where the C library is glibc.

    As it comes, it gives large blocks back to the kernel, which hands out new ones at the next
    layer, zeroed page by page.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        for parameter, value in MALLOC.items():
            mallopt(parameter, value)


def die_with_runner() -> None:
    """Ends this process when its runner ends, in whatever way, so that it gives up its lock.

    A thread waits for that; on Linux the kernel does, too, as a thread cannot where C code hangs:
    the fork server, our parent, ends with the runner.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    runner = multiprocessing.parent_process()

    def wait() -> None:
        runner.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
