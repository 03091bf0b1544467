"""Processes beside the training: told of news, free to be slow, to hang and to die.

What follows a grid, the page and W&B, reads the records that the runs write anyway. Whatever
happens to it, no run waits for it.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, Self

from experiments.datasets import Say
from experiments.launch import Event, spawn, warm_up

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


class Beside:
    """A process that hears of the training.

    It starts with the first news. A context manager: at its end the process gets some seconds for
    its last work. In whatever way that ends, and if it ended long before, the training does not
    notice.

    Args:
        function: called in the process as function(*args, ears, mouth): `ears.get()` gives News,
            and None at the end; a sentence sent through `mouth` reaches the user.
        args: picklable.
        say: tells the user.
        lost: a sentence for when it did not do all of its work.
    """

    def __init__(self, function: Callable, *args: Any, say: Say, lost: str) -> None:
        self.function, self.args, self.say, self.lost = function, args, say, lost
        self.ears: multiprocessing.Queue | None = None

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
        if self.ears is None:
            self.start()
        self.tell(News(kind, event.record.path))

    def start(self) -> None:
        warm_up()
        # Its own thread writes to the pipe: `put` never waits, however much there is to be read.
        self.ears = multiprocessing.get_context("forkserver").Queue()
        self.ears.cancel_join_thread()
        self.process, self.mouth = spawn(begin, self.function, *self.args, self.ears)

    def tell(self, news: News | None) -> None:
        """Nothing where nothing was trained."""
        if self.ears is not None:
            self.ears.put(news)
            self.listen()

    def listen(self) -> None:
        """Tells the user what the process has to say."""
        with suppress(EOFError, OSError):
            while self.mouth.poll():
                self.say(self.mouth.recv(), style="yellow")

    def close(self, patience: float) -> None:
        if self.ears is None:
            return
        began, has_said = time.monotonic(), False
        try:
            self.tell(None)
            while self.process.is_alive() and time.monotonic() - began < patience:
                self.process.join(0.2)
                self.listen()
                if not has_said and self.process.is_alive() and time.monotonic() - began > QUIET:
                    has_said = True
                    self.say(f"the last of it, for {patience:.0f} s at most ...")
        finally:  # also where someone is in a hurry and presses Ctrl-C
            is_late = self.process.is_alive()
            if is_late:
                with suppress(OSError):  # with what it has started
                    os.killpg(self.process.pid, signal.SIGKILL)
            self.process.join()
            self.listen()
            if is_late or self.process.exitcode:
                self.say(self.lost, style="yellow")
            self.ears = None


def begin(function: Callable, *args: Any) -> None:
    """Calls function(*args) in a group of its own, which Ctrl-C does not reach, and politely."""
    from experiments.worker import die_with_runner

    os.setsid()
    os.nice(10)  # the training comes first
    die_with_runner()
    *_, mouth = args
    try:
        function(*args)
    except Exception as error:  # told in a sentence: its traceback is of no use to anybody
        say_last(mouth, f"{type(error).__name__}: {(str(error) or 'no message').splitlines()[0]}")
        os._exit(1)


def say_last(mouth: Connection, sentence: str) -> None:
    with suppress(OSError):
        mouth.send(sentence)
