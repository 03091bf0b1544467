"""Declares what every launcher offers, wherever its runs are trained."""

from collections.abc import Iterable, Iterator
from typing import Protocol, Self, runtime_checkable

from experiments.launch.events import Event
from experiments.records.record import Record


@runtime_checkable
class Launcher(Protocol):
    """Trains runs somewhere and tells what happens to them.

    A context manager: `train` is called inside it, and its end stops the runs that are under way,
    which write checkpoints, or leaves them to a cluster.

    workers  how many runs go at a time; 0 where that is not known
    """

    workers: int

    def __enter__(self) -> Self:
        """Raises ConfigError where there is no place to train at."""
        ...

    def __exit__(self, kind: type[BaseException] | None = None, /, *_: object) -> None: ...

    def train(self, records: Iterable[Record], deadline: float | None = None) -> Iterator[Event]:
        """Trains the runs in this order, each unless it is finished or another process trains it.

        Those of other processes are waited for, and taken over if they are given up.

        Args:
            records: the runs.
            deadline: a time of `time.monotonic`, at which this returns though runs are left.

        Yields:
            What happens to the runs. It ends when all of them have ended.
        """
        ...
