"""Prints texts for the user: one that cannot be written is dropped, and ends nothing.

A terminal is closed or stopped with Ctrl-S, `tee` ends before us at Ctrl-C, a disk is full: none of
them may come between a run and its checkpoint.
"""

import os
import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console

MOST_WAITING = 10_000  # texts; of more, the oldest go
PASSES_ON = "passes on what is printed"  # the name of a thread
LAST_WORDS = 1.0  # seconds for a reader to take what is left, once a command was told to end

console = Console()
errors = Console(stderr=True)


def say(text: str, style: str | None = None) -> None:
    """Prints a line for the user."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def remark(text: str, style: str | None = None) -> None:
    """Prints a line beside the output, where that is for a program."""
    errors.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def complain(text: object) -> None:
    """Prints a line about what ends the command, whatever the names in it: one line."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text))
    errors.print(f"error: {line}", style="red", markup=False, highlight=False, soft_wrap=True)


class Lossy:
    """Writes to a stream until that fails, and then discards what is written."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.texts: queue.SimpleQueue | None = None  # where texts wait for `_pass_on`

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        if self.texts is not None:
            self.texts.put((self, text))
            if self.texts.qsize() > MOST_WAITING:
                with suppress(queue.Empty):
                    self.texts.get_nowait()
            return len(text)
        try:
            return self.stream.write(text)
        except (OSError, ValueError):  # ValueError: it was closed
            self.drop()
            return len(text)

    def flush(self) -> None:
        if self.texts is not None:
            return
        try:
            self.stream.flush()
        except (OSError, ValueError):
            self.drop()

    def write_now(self, text: str) -> None:
        """Writes a text without Python's buffer.

        A thread that waits in that buffer would abort the process at its end.
        """
        left = text.encode(self.stream.encoding, "replace")
        try:
            while left:
                left = left[os.write(self.stream.fileno(), left) :]
        except (OSError, ValueError):
            self.drop()

    def drop(self) -> None:
        """Sends what is left, and all that comes, to nowhere: also that of our processes."""
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)


def protect() -> None:
    """Makes stdout and stderr lossy. Opens the standard streams that are closed (`>&-`).

    Otherwise the next file that is opened would get such a stream's number, and what a library
    prints would be written into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, number)
            if nowhere != number:
                os.close(nowhere)
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115
    for number, name in enumerate(("stdout", "stderr"), start=1):
        stream = getattr(sys, name)
        with suppress(OSError):  # a pipe of who started us might refuse what it has no room for
            os.set_blocking(number, True)
        if not isinstance(stream, Lossy):
            if hasattr(stream, "reconfigure"):  # a terminal's character set may lack a sign
                stream.reconfigure(errors="replace")
            setattr(sys, name, Lossy(stream))


@contextmanager
def waiting_for_nobody() -> Iterator[None]:
    """Writes all output in a background thread, so that a blocked reader blocks nothing else.

    The end waits for the reader: not longer than LAST_WORDS where the command was told to end.
    """
    texts: queue.SimpleQueue = queue.SimpleQueue()
    streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, Lossy)]
    thread = threading.Thread(target=_pass_on, args=(texts,), name=PASSES_ON, daemon=True)
    for stream in streams:
        stream.flush()
        stream.texts = texts
    thread.start()
    patience = None
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        patience = LAST_WORDS
        raise
    finally:
        texts.put(None)
        thread.join(patience)
        if not thread.is_alive():  # else what is still printed would wait, too
            for stream in streams:
                stream.texts = None


def _pass_on(texts: queue.SimpleQueue) -> None:
    """Writes the texts that come through a queue, each to its stream, until None."""
    while (found := texts.get()) is not None:
        stream, text = found
        stream.write_now(text)
