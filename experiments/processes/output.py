"""What the user is shown: a text that cannot be written is dropped, and ends nothing.

A terminal is closed, `tee` ends before us at Ctrl-C, a disk is full: none of them may come between
a run and its checkpoint.
"""

import os
import sys
from contextlib import suppress
from typing import Any

from rich.console import Console

console = Console()
errors = Console(stderr=True)


def say(text: str, style: str | None = None) -> None:
    """Prints a line for the user."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def complain(text: object) -> None:
    """Prints a line about what ends the command."""
    errors.print(f"error: {text}", style="red", markup=False, highlight=False, soft_wrap=True)


class Lossy:
    """Writes to another stream for as long as that takes it, and then to nowhere."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        try:
            return self.stream.write(text)
        except (OSError, ValueError):  # ValueError: it was closed
            self.drop()
            return len(text)

    def flush(self) -> None:
        try:
            self.stream.flush()
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
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, Lossy):
            if hasattr(stream, "reconfigure"):  # a terminal's character set may lack a sign
                stream.reconfigure(errors="replace")
            setattr(sys, name, Lossy(stream))
