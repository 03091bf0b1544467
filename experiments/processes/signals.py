"""Makes Ctrl-C, SIGTERM and SIGHUP end a command in order: only a second Ctrl-C breaks that off."""

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STATUSES = tuple(128 + number for number in STOPS)
ONE = 0.5  # seconds within which two Ctrl-C are one: `timeout -s INT` signals us, then our group


class Stop:
    """Handles signals: the first one raises, and so does a second Ctrl-C.

    All others are ignored: `timeout`, `make` and systemd signal a process and then its group, and
    an exception in the middle of an orderly stop would end that.
    """

    def __init__(self) -> None:
        self.interrupted = -ONE  # when Ctrl-C was last pressed
        self.presses = 0
        self.number: int | None = None  # the signal that ends the command

    def __call__(self, number: int, frame: object) -> None:
        if number == signal.SIGINT:
            now = time.monotonic()
            self.presses += now - self.interrupted >= ONE
            self.interrupted = now
        is_second = number == signal.SIGINT and self.presses == 2
        if self.number and not is_second:
            return
        self.presses, self.number = min(self.presses, 1), number
        self.stop()

    def stop(self) -> None:
        """Raises KeyboardInterrupt or SystemExit, where a signal has come."""
        if self.number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.number:
            sys.exit(128 + self.number)


def stop_if_asked() -> None:
    """Raises what a signal has raised before, for a loop that should have ended by it.

    Python drops an exception that a signal raises while a finaliser or a callback runs, and later
    signals are ignored: the loop would go on for ever.
    """
    for number in STOPS:
        handler = signal.getsignal(number)
        if isinstance(handler, Stop):
            handler.stop()


@contextmanager
def children_ignore_stops() -> Iterator[None]:
    """Makes processes that are started meanwhile ignore what ends us: we end them in order.

    A terminal or a batch system signals them all.
    """
    is_main = threading.current_thread() is threading.main_thread()
    numbers = (*STOPS, signal.SIGUSR2) if is_main else ()
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Lets Ctrl-C, SIGTERM and SIGHUP wait for the end of a block.

    One that came in the middle of a request to the fork server would end that, with a traceback.
    """
    came: list[int] = []
    handlers = {number: signal.getsignal(number) for number in STOPS}
    is_main = threading.current_thread() is threading.main_thread()
    handlers = {number: found for number, found in handlers.items() if is_main and callable(found)}
    for number in handlers:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, found in handlers.items():
            signal.signal(number, found)
        for number in came:
            signal.raise_signal(number)


def handle_stops() -> None:
    """Handles the signals from now on, but for those that are ignored, as under nohup."""
    stop = Stop()
    for number in STOPS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)
