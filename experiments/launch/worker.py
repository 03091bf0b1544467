"""Trains a run in a process, or several at once on a GPU: reports, and stops when told to.

Through its pipe a run sends (step, steps, metrics of an epoch that has ended, or None), a sentence
for the user, and at its end an `Outcome`. No torch at the top: whoever starts these processes
needs none.
"""

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from experiments.launch.events import Outcome
from experiments.launch.failures import first_line, kind_of
from experiments.processes.child import die_with_parent, printing_into
from experiments.records.lock import Lock, Moved, hold
from experiments.records.record import Record
from experiments.train.environment import keep_freed_memory

REPORT_EVERY = 0.5  # seconds between two reports of a run

Send = Callable[[Any], None]


@dataclass(frozen=True)
class Task:
    """Says which run to train, and where; `is_shared`: other runs have the same process."""

    record: Record
    data_dir: Path
    device: str
    checkpoint_every: float
    is_shared: bool = False


def train_in_process(task: Task, pipe: Connection) -> None:
    stop = start_work()
    _train(task, pipe, stop, printing_into(task.record.path / "log.txt"))


def train_in_threads(pipes: list[Connection]) -> None:
    """Trains several runs at once in this process: a thread takes tasks from each pipe.

    An exception of Python's ends one run; a crash ends all of them.
    """
    from experiments.train.gpu import allow_streams

    stop = start_work()
    allow_streams(len(pipes))
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    threads = [threading.Thread(target=_take_tasks, args=(p, stop), daemon=True) for p in pipes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _take_tasks(pipe: Connection, stop: threading.Event) -> None:
    from experiments.train.epoch import free_kept_loop

    try:
        while not stop.is_set():
            if pipe.poll(REPORT_EVERY):
                _train(pipe.recv(), pipe, stop, nullcontext())
    except EOFError:
        return
    finally:
        free_kept_loop()  # under its lock: the thread's end would free it beside another's capture


def start_work() -> threading.Event:
    """Makes this a process that ends with its driver, and returns what SIGTERM sets."""
    die_with_parent()
    stop = threading.Event()

    def handle(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_IGN)  # or one more would wait for the event's lock
        stop.set()

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's, which sends SIGTERM
    signal.signal(signal.SIGTERM, handle)
    return stop


def _train(
    task: Task, pipe: Connection, stop: threading.Event, printing: AbstractContextManager
) -> None:
    """Trains a run unless another process does, and sends how that ended."""

    def send(message: Any) -> None:
        try:
            pipe.send(message)
        except OSError:  # the driver is gone
            os._exit(1)

    folder = task.record.path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with hold(folder) as lock:
            if lock is None or task.record.finished:  # another driver's, or was a moment ago
                outcome = Outcome("elsewhere")
            else:
                with printing:
                    outcome = _attempt(task, lock, send, stop.is_set)
    except OSError as error:  # no folder, no lock, no log
        outcome = Outcome("failed", kind_of(error), str(error))
    send(outcome)


def _attempt(task: Task, lock: Lock, send: Send, stop: Callable[[], bool]) -> Outcome:
    """Trains a run whose lock is ours, and returns how that ended."""
    import torch

    from experiments.train.epoch import free_kept_loop
    from experiments.train.gpu import on_own_stream
    from experiments.train.train import train
    from experiments.train.training import Interrupted, Watch

    torch.set_num_threads(1)  # however many go at a time: workers x threads = cores
    keep_freed_memory()
    stream = nullcontext()
    if "cuda" in task.device:
        torch.cuda.set_device(task.device)  # or it takes memory on the first GPU, too
        stream = on_own_stream(torch.device(task.device))
    record = task.record
    report = _Reporter(send, lock, record.config.recipe.batch_size)
    try:
        with stream:
            watch = Watch(report, send, stop, task.checkpoint_every)
            train(record.config, record, task.data_dir, task.device, watch)
    except Interrupted:
        return Outcome("interrupted")
    except Exception as error:
        outcome = Outcome("failed", kind_of(error), first_line(error))
        if task.is_shared and outcome.kind == "AcceleratorError":
            os._exit(1)  # of the GPU: no run of this process can go on after it
        with suppress(OSError, Moved):  # a full disk: the driver is told all the same
            record.fail(outcome.kind, outcome.reason, traceback.format_exc())
        free_kept_loop(error)
        return outcome
    return Outcome("done")


class _Reporter:
    """Sends how far a run is, and leaves that in its lock, for `status`."""

    def __init__(self, send: Send, lock: Lock, batch_size: int) -> None:
        self.send, self.lock, self.batch_size = send, lock, batch_size
        self.first: tuple[int, float] | None = None  # the first step of this process, and when
        self.sent = 0.0
        self.epoch: dict[str, Any] = {}  # the metrics of the last one

    def __call__(self, step: int, steps: int, row: dict | None) -> None:
        """Reports each epoch that has ended, else not more often than every REPORT_EVERY."""
        now = time.monotonic()
        self.first, self.epoch = self.first or (step, now), row or self.epoch
        if row is None and now - self.sent < REPORT_EVERY:
            return
        self.sent, since = now, now - self.first[1]
        speed = (step - self.first[0]) / since if since else 0.0
        self.send((step, steps, row))
        self.lock.tell(
            step=step,
            steps=steps,
            epoch=self.epoch.get("epoch", 0),
            error=self.epoch.get("val_error"),
            images_per_second=speed * self.batch_size,
            seconds_left=(steps - step) / speed if speed else None,
        )
