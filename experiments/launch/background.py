"""Processes beside the training: told of news, free to be slow, to hang and to die.

What follows a grid, the page and W&B, reads the records that the runs write anyway. Whatever
happens to it, no run waits for it.
"""

import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, Self

from experiments.data.datasets import Say
from experiments.launch.local import Event
from experiments.launch.worker import die_with_runner, first_line
from experiments.processes.fork_server import spawn

PATIENCE = 30.0  # seconds for the last work, once the training has ended
HURRY = 10.0  # the same after Ctrl-C
QUIET = 2.0  # seconds of waiting before a word about it


@dataclass(frozen=True)
class News:
    """What has happened to a run, whose files tell the rest.

    kind  started; epoch: one has ended; ended, in whatever way; drawn: there are new figures (of no
          run)
    run   its folder
    """

    kind: Literal["started", "epoch", "ended", "drawn"]
    run: Path | None = None


class Ears:
    """Where a process hears the news: the end of a pipe, with the `get` of a queue."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe

    def get(self, timeout: float | None = None) -> News | None:
        """None at the end, also where the runner is gone. Raises queue.Empty when it is time."""
        if not self.pipe.poll(timeout):
            raise queue.Empty
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            return None


class Beside:
    """A process that hears of the training.

    It starts with the first news. A context manager: at its end the process gets some seconds for
    its last work. In whatever way that ends, and if it ended long before, the training does not
    notice.

    Args:
        name: what it is about, to the user.
        function: called in the process as function(*args, ears, mouth): `ears.get()` gives News,
            and None at the end; a sentence sent through `mouth` reaches the user.
        args: picklable.
        say: tells the user.
        lost: a sentence for when it did not do all of its work.
    """

    def __init__(self, name: str, function: Callable, *args: Any, say: Say, lost: str) -> None:
        self.name, self.function, self.args, self.say, self.lost = name, function, args, say, lost
        self.state: Literal["waits", "listens", "lost"] = "waits"
        self.news: queue.SimpleQueue = queue.SimpleQueue()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind, *_) -> None:
        self.close(HURRY if kind else PATIENCE)

    def follow(self, event: Event) -> None:
        """Passes an event of a launcher on, if it is news."""
        kinds = {"started": "started", "ended": "ended", "again": "ended"}
        kind = "epoch" if event.row is not None else kinds.get(event.kind)
        if kind is None:
            return
        if self.state == "waits":
            self.start()
        self.tell(News(kind, event.record.path))

    def start(self) -> None:
        try:
            theirs, pipe = multiprocessing.get_context("forkserver").Pipe(duplex=False)
            with theirs:
                words = (self.name, self.function, *self.args, Ears(theirs))
                self.process, self.mouth = spawn(begin, *words)
        except (OSError, EOFError):  # no memory, no file descriptor: the training may have them
            self.give_up()
            return
        self.state = "listens"
        threading.Thread(target=pass_on, args=(self.news, pipe), daemon=True).start()

    def tell(self, news: News | None) -> None:
        """Nothing where nothing was trained. Never waits, however much there is to be heard."""
        if self.state == "listens":
            self.news.put(news)
            self.listen()
            if news is not None and not self.process.is_alive():
                self.give_up()

    def give_up(self) -> None:
        self.state = "lost"
        self.say(self.lost, style="yellow")

    def listen(self) -> None:
        """Tells the user what the process has to say."""
        with suppress(EOFError, OSError):
            while self.mouth.poll():
                self.say(self.mouth.recv(), style="yellow")

    def close(self, patience: float) -> None:
        if self.state != "listens":
            return
        began, has_said = time.monotonic(), False
        try:
            self.tell(None)
            while self.process.is_alive() and time.monotonic() - began < patience:
                self.process.join(0.2)
                self.listen()
                if not has_said and self.process.is_alive() and time.monotonic() - began > QUIET:
                    has_said = True
                    self.say(f"{self.name}: the last of it, for {patience:.0f} s at most ...")
        finally:  # also where someone is in a hurry and presses Ctrl-C
            is_late = self.process.is_alive()
            if is_late:
                with suppress(OSError):  # with what it has started
                    os.killpg(self.process.pid, signal.SIGKILL)
                self.process.kill()  # also where it has not come to a group of its own yet
            self.process.join()
            self.listen()
            self.state = "waits"
            if is_late or self.process.exitcode:
                self.give_up()


def pass_on(news: queue.SimpleQueue, pipe: Connection) -> None:
    """Sends news until None, in a thread of its own, which may wait for a process that is busy."""
    with pipe, suppress(OSError):
        while (one := news.get()) is not None:
            pipe.send(one)
        pipe.send(None)


def begin(name: str, function: Callable, *args: Any) -> None:
    """Calls function(*args) in a group of its own, which Ctrl-C does not reach, and politely."""
    os.setsid()
    os.nice(10)  # the training comes first
    die_with_runner()
    *_, mouth = args
    try:
        function(*args)
    except Exception as error:  # told in a sentence: its traceback is of no use to anybody
        with suppress(OSError):
            mouth.send(f"{name}: {type(error).__name__}: {first_line(error)}")
        os._exit(1)
