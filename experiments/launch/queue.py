"""Holds the queue of pending runs, and the loop in which every launcher works it off."""

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Sized
from typing import Self

from experiments.launch.events import Ended, Event, Noted, Outcome, Started
from experiments.launch.failures import failed
from experiments.processes.signals import stop_if_asked
from experiments.records.record import Record
from experiments.records.signs import Signs

LOOK_EVERY = 2.0  # seconds between two looks at the runs that other processes train
GRACE = 60.0  # seconds to write a checkpoint in, when all is to end


class Queue:
    """Holds the runs that are neither under way nor over.

    pending    those to begin next, in order
    elsewhere  those that have to wait, as another process trains them
    noted      those of which the user knows why they wait
    all        these, and those that are under way or over
    """

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.pending, self.elsewhere = deque(records), []
        self.all = frozenset(self.pending)
        self.noted: set[Record] = set()
        self._looked = time.monotonic()

    def __len__(self) -> int:
        return len(self.pending) + len(self.elsewhere)

    def leave(self, record: Record, holder: Signs) -> Iterator[Noted]:
        """Leaves a run to the process that holds its lock; says so the first time."""
        self.elsewhere.append(record)
        if record not in self.noted:
            self.noted.add(record)
            yield Noted(record, f"{holder.who} trains it: waiting for that")

    def retry(self, every: float = 0.0) -> None:
        """Makes the runs that wait for other processes pending, unless that was a moment ago."""
        if self.elsewhere and time.monotonic() - self._looked > every:
            self._looked = time.monotonic()
            self.pending.extend(self.elsewhere)
            self.elsewhere.clear()


class Launcher(ABC):
    """Trains runs somewhere and tells what happens to them; a subclass says how they begin.

    A context manager: `train` is called inside it, and its end stops the runs that are under way,
    which write checkpoints, or leaves them to a cluster.

    workers  how many runs go at a time; 0 where that is not known
    active   the runs that are under way
    """

    workers: int

    def __init__(self) -> None:
        self.queue = Queue()
        self.active: Sized = ()

    def __enter__(self) -> Self:
        """Raises ConfigError where there is no place to train at."""
        return self

    @abstractmethod
    def __exit__(self, kind: type[BaseException] | None = None, /, *_: object) -> None:
        """Ends what is under way, after an exception of this kind or in order."""

    def train(self, records: Iterable[Record], deadline: float | None = None) -> Iterator[Event]:
        """Trains the runs in this order, each unless it is finished or another process trains it.

        Those of other processes are waited for, and taken over if they are given up. Yields what
        happens, until all runs have ended, or until `deadline`, a time of `time.monotonic`.
        """
        self.queue = Queue(records)
        while self.queue or self.active:
            stop_if_asked()
            if deadline is not None and time.monotonic() > deadline:
                return
            yield from self.begin()
            yield from self.look()

    @abstractmethod
    def begin(self) -> Iterator[Event]:
        """Begins the pending runs that there is room for, and yields what has become of them."""

    @abstractmethod
    def look(self) -> Iterator[Event]:
        """Yields what has happened to the runs under way; waits for it, but for a moment only."""


class SlotLauncher(Launcher):
    """Begins one run after the other, for as long as a slot is free."""

    def begin(self) -> Iterator[Event]:
        self.queue.retry(LOOK_EVERY)
        while self.queue.pending and self.has_room():
            record = self.choose()
            if (outcome := outcome_of(record)) is not None:
                yield Ended(record, outcome)
            elif (holder := self.start(record)) is not None:
                yield from self.queue.leave(record, holder)
            else:
                yield Started(record)

    def choose(self) -> Record:
        """Takes the next run out of the queue."""
        return self.queue.pending.popleft()

    @abstractmethod
    def has_room(self) -> bool:
        """Tells whether one more run can begin now."""

    @abstractmethod
    def start(self, record: Record) -> Signs | None:
        """Begins a run; where another process trains it, returns the signs in the run's lock."""


def outcome_of(record: Record) -> Outcome | None:
    """Returns how a run has ended under another driver; None where it is to be trained."""
    if record.finished:
        return Outcome("done")
    return failed(record) if record.failed else None
