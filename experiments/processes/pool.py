"""Calls functions in processes that only we end: a terminal or a batch system signals them, too."""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

from experiments.processes.signals import children_ignore_stops


@contextmanager
def in_processes(calls: Iterable[tuple[Any, ...]], number: int) -> Iterator[list[Future]]:
    """Gives what calls return, (function, argument, ...) each, in so many processes.

    At the end of the block, as where Ctrl-C ends it, a call that has not begun is not made.
    """
    with children_ignore_stops():  # also that which multiprocessing starts beside them
        pool = ProcessPoolExecutor(number, get_context("spawn"))
        tasks = [pool.submit(*call) for call in calls]
    try:
        yield tasks
    finally:
        pool.shutdown(cancel_futures=True)
