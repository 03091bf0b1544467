"""Keeps processes in the background that follow the training: the page, and W&B.

They are sent messages and read the records that the runs write anyway. No run waits for them: they
may be slow, hang or crash.
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

from experiments.data.download import Say
from experiments.launch.events import (
    Ended,
    Event,
    Noted,
    Outcome,
    Progressed,
    Requeued,
    Started,
)
from experiments.launch.failures import first_line
from experiments.processes.child import die_with_parent
from experiments.processes.fork_server import spawn

PATIENCE = 30.0  # seconds for the last work, once the training has ended
HURRY = 10.0  # the same after Ctrl-C
QUIET = 2.0  # seconds of waiting before the user is told of it


@dataclass(frozen=True)
class Message:
    """Says what has happened to a run, whose files tell the rest.

    kind  started; epoch: one has ended; ended, in whatever way; drawn: there are new figures (of no
          run)
    run   its folder
    """

    kind: Literal["started", "epoch", "ended", "drawn"]
    run: Path | None = None


class Inbox:
    """Gives the messages that are sent to a process, one after the other."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def get(self, timeout: float | None = None) -> Message | None:
        """Waits for the next message; None is the end, also where the sender is gone.

        Raises queue.Empty after `timeout` seconds.
        """
        if not self._pipe.poll(timeout):
            raise queue.Empty
        try:
            return self._pipe.recv()
        except (EOFError, OSError):
            return None


class BackgroundProcess:
    """Runs a function in a process of its own, which is sent messages about the training.

    It starts with the first event. A context manager: at its end the process gets some seconds for
    its last work. The training notices neither how that ends, nor whether it ended long before.

    Args:
        name: what it is about, to the user.
        function: called in the process as function(*args, inbox, tell): `inbox.get()` gives
            messages, and None at the end; `tell(sentence)` tells the user. `args` can be pickled.
        lost: a sentence for when it did not do all of its work.
    """

    def __init__(self, name: str, function: Callable, *args: Any, say: Say, lost: str) -> None:
        self.name, self.function, self.args, self.say, self.lost = name, function, args, say, lost
        self.state: Literal["idle", "running", "lost"] = "idle"
        self._messages: queue.SimpleQueue = queue.SimpleQueue()
        self._begun: set[Path] = set()  # the runs that have started, which is not sent yet

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(HURRY if kind else PATIENCE)

    def follow(self, event: Event) -> None:
        """Sends what an event of a launcher means for the files of its run.

        That it has started is sent with what comes next of it: another process may be quicker to
        take its lock, and tells of it then.
        """
        run = event.record.path
        match event:
            case Noted():
                return
            case Started():
                self._begun.add(run)
                return
            case Requeued(outcome=Outcome(state="elsewhere")):
                self._begun.discard(run)
                return
        first = [Message("started", run)] if run in self._begun else []
        self._begun.discard(run)
        for message in [*first, *_messages(event)]:
            if self.state == "idle":
                self.start()
            self.send(message)

    def start(self) -> None:
        """Starts the process, unless there is no memory or no file descriptor for it."""
        try:
            theirs, pipe = multiprocessing.get_context("forkserver").Pipe(duplex=False)
            with theirs:
                words = (self.name, self.function, *self.args, Inbox(theirs))
                self.process, self._outbox = spawn(_run, *words)
        except (OSError, EOFError):  # the training may have them
            self._give_up()
            return
        self.state = "running"
        threading.Thread(target=_pass_on, args=(self._messages, pipe), daemon=True).start()

    def send(self, message: Message | None) -> None:
        """Sends a message, if the process was started; None is the last one. Never waits."""
        if self.state == "running":
            self._messages.put(message)
            self._say_what_it_tells()
            if message is not None and not self.process.is_alive():
                self._say_what_it_tells()  # what it sent before it ended
                self._give_up()

    def close(self, patience: float) -> None:
        """Ends the process: at first in order, after so many seconds by a kill."""
        if self.state != "running":
            return
        began, has_said = time.monotonic(), False
        try:
            self.send(None)
            while self.process.is_alive() and time.monotonic() - began < patience:
                self.process.join(0.2)
                self._say_what_it_tells()
                if not has_said and self.process.is_alive() and time.monotonic() - began > QUIET:
                    has_said = True
                    self.say(f"{self.name}: the last of it, for {patience:.0f} s at most ...")
        finally:  # also where Ctrl-C is pressed meanwhile
            is_late = self.process.is_alive()
            if is_late and self.process.pid is not None:
                with suppress(OSError):  # with what it has started
                    os.killpg(self.process.pid, signal.SIGKILL)
                self.process.kill()  # also where it has not come to a group of its own yet
            self.process.join()
            self._say_what_it_tells()
            self.state = "idle"
            if is_late or self.process.exitcode:
                self._give_up()

    def _give_up(self) -> None:
        self.state = "lost"
        self.say(self.lost, style="yellow")

    def _say_what_it_tells(self) -> None:
        with suppress(EOFError, OSError):
            while self._outbox.poll():
                self.say(self._outbox.recv(), style="yellow")


def _messages(event: Event) -> list[Message]:
    """Returns what a process is sent of an event: nothing of one that changes no file."""
    match event:
        case Progressed(record, row=dict()):
            return [Message("epoch", record.path)]
        case Ended(record) | Requeued(record):
            return [Message("ended", record.path)]
    return []


def _pass_on(messages: queue.SimpleQueue, pipe: Connection) -> None:
    """Sends messages until None, in a thread of its own, which may wait for a busy process."""
    with pipe, suppress(OSError):
        while (message := messages.get()) is not None:
            pipe.send(message)
        pipe.send(None)


def _run(name: str, function: Callable, *args_and_pipe: Any) -> None:
    """Calls function(*args, tell) in a process group of its own, which Ctrl-C does not reach.

    Its arguments are those of `BackgroundProcess`, and at the end the pipe to the user.
    """
    os.setsid()
    os.nice(10)  # the training comes first
    die_with_parent()
    *args, pipe = args_and_pipe

    def tell(sentence: str) -> None:
        with suppress(OSError):
            pipe.send(sentence)

    try:
        function(*args, tell)
    except Exception as error:  # a sentence is enough: its traceback is of no use to anybody
        tell(f"{name}: {type(error).__name__}: {first_line(error)}")
        os._exit(1)
