"""Many runs on this machine: give `Local` their records, and it tells what happens to them."""

import multiprocessing
import os
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Literal, Self

from experiments.launch.worker import OUT_OF_MEMORY, Job, Outcome, crew, work
from experiments.processes.fork_server import (
    begin,
    kills_for_memory,
    spawn,
    uninterrupted,
    warm_up,
    was_told,
)
from experiments.records.config import RunConfig
from experiments.records.lock import hold, holder
from experiments.records.record import KILLED, Record, failure
from experiments.train.environment import STREAMS

LOOK_EVERY = 2.0  # seconds between two looks at a run that another process trains
DEAF = 4.0  # seconds without listening after which silence says nothing
LAST_WORDS = 10.0  # seconds for a process to end in, once it has closed its pipe
GRACE = 60.0  # seconds to write a checkpoint in, when all is to end
LOG_LINES = 60  # of what a process printed, in the error.txt of one that could not write its own


@dataclass(frozen=True)
class Event:
    """Something that happened to a run.

    kind     started; progress, with an ended epoch's metrics where it has a row; note, with a
             sentence; again, with a sentence: its process has ended, and it will be tried again;
             ended, with an outcome
    """

    kind: Literal["started", "progress", "note", "again", "ended"]
    record: Record
    step: int = 0
    steps: int = 0
    row: dict | None = None
    sentence: str = ""
    outcome: Outcome | None = None


@dataclass
class Active:
    """A run that is under way."""

    record: Record
    device: str
    process: multiprocessing.Process
    is_shared: bool  # the process trains others, too
    kills: int  # by the kernel for want of memory, before it began
    heard: float = field(default_factory=time.monotonic)
    hung: bool = False
    outcome: Outcome | None = None  # as the process told it


@dataclass
class Seat:
    """A thread that waits for a run, and our end of its pipe."""

    process: multiprocessing.Process
    pipe: Connection
    last: RunConfig | None = None  # what it trained: another seed of it begins sooner


class Local:
    """Trains runs on this machine, each in a process of its own, from a fork server with torch.

    Those that may be together have one process on each device, and a thread each. Should it end,
    nobody knows by whose fault: all of its runs go on from their checkpoints, each alone.

    A context manager: at its end, the runs that are under way write checkpoints and stop.

    Args:
        slots: the device of each run that goes at a time.
        data_dir: holds the prepared data sets.
        patience: seconds without a sign of life after which a run is ended.
        checkpoint_every: seconds between two checkpoints of a run, at least.
        together: the runs that may share a process.
        say: tells the user.
    """

    def __init__(
        self,
        slots: Iterable[str],
        data_dir: Path,
        patience: float = 600.0,
        checkpoint_every: float = 60.0,
        together: Iterable[Record] = (),
        say: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.free, self.data_dir, self.say = list(slots), data_dir, say
        self.workers = len(self.free)
        self.together, self.sizes = set(together), Counter(self.free)
        self.seats: dict[str, list[Seat]] = {device: [] for device in self.sizes}  # that are idle
        self.taken: dict[Connection, Seat] = {}
        self.patience, self.checkpoint_every = patience, checkpoint_every
        self.active: dict[Connection, Active] = {}
        self.listened = time.monotonic()

    def __enter__(self) -> Self:
        warm_up()
        return self

    def __exit__(self, *_) -> None:
        seats = [seat for idle in self.seats.values() for seat in idle]
        processes = list({one.process for one in (*self.active.values(), *seats)})
        try:
            for process in processes:  # before a word about it, as a terminal may take none
                process.terminate()
            if n := len(self.active):
                self.say(
                    f"stopping: {n} runs write their checkpoints; Ctrl-C again ends them at once"
                )
            deadline = time.monotonic() + GRACE
            while any(p.is_alive() for p in processes) and time.monotonic() < deadline:
                for process in processes:
                    process.terminate()  # again and again: a new one does not listen yet
                wait([process.sentinel for process in processes if process.is_alive()], 0.5)
        finally:  # also where someone is in a hurry and presses Ctrl-C again
            for process in processes:
                process.kill()
                process.join()

    def train(self, records: Iterable[Record], deadline: float | None = None) -> Iterator[Event]:
        """Trains the runs in this order, each unless it is finished or another process trains it.

        Those of others are waited for, and taken over if they are given up. Ends when all have
        ended, or at `deadline` (on time.monotonic's clock).
        """
        waiting, elsewhere, told = deque(records), [], set()
        looked = time.monotonic()
        while waiting or self.active or elsewhere:
            if deadline is not None and time.monotonic() > deadline:
                return
            while waiting and self.free:
                record = self.choose(waiting)
                if record.finished:  # by another runner, meanwhile
                    yield Event("ended", record, outcome=Outcome("done"))
                elif record.failed:
                    yield Event("ended", record, outcome=Outcome("failed", *failure_of(record)))
                elif (other := holder(record.path)) is not None:
                    elsewhere.append(record)
                    if record not in told:
                        told.add(record)
                        who = f"process {other.get('pid', '?')} on {other.get('host', '?')}"
                        yield Event("note", record, sentence=f"{who} trains it: waiting for that")
                else:
                    self.start(record)
                    yield Event("started", record)
            pipes = wait(list(self.active), timeout=1.0)
            # A child of a crashed run's own may keep its pipe open.
            dead = [p for p, run in self.active.items() if not run.process.is_alive()]
            for pipe in [*pipes, *(p for p in dead if p not in pipes)]:
                event = self.hear(pipe) if pipe in pipes or pipe.poll() else self.end(pipe)
                if event.kind == "again":
                    (elsewhere if event.outcome.state == "elsewhere" else waiting).append(
                        event.record
                    )
                yield event
            self.end_hung()
            if elsewhere and time.monotonic() - looked > LOOK_EVERY:
                looked = time.monotonic()
                waiting.extend(elsewhere)
                elsewhere.clear()

    def start(self, record: Record) -> None:
        """Begins a run. Ctrl-C waits until it is known: `__exit__` ends those that are."""
        device, is_shared = self.free.pop(0), record in self.together
        job = Job(record, self.data_dir, device, self.checkpoint_every, is_shared)
        with uninterrupted():
            if is_shared:
                seat = self.seat(device, record.config)
                process, pipe = seat.process, seat.pipe
                self.taken[pipe] = seat
                with suppress(OSError):  # it has just ended: we shall hear of that
                    pipe.send(job)
            else:
                process, pipe = spawn(work, job)
            self.active[pipe] = Active(record, device, process, is_shared, kills_for_memory())

    def choose(self, waiting: deque[Record]) -> Record:
        """The next run: another seed of what an idle seat has trained, or else the first."""
        known = [seat.last for seat in self.seats[self.free[0]] if seat.last is not None]
        for record in waiting if known else ():
            if record in self.together and any(same_cell(record.config, last) for last in known):
                waiting.remove(record)
                return record
        return waiting.popleft()

    def seat(self, device: str, config: RunConfig) -> Seat:
        """An idle seat on a device: best one that has trained another seed of this."""
        idle = [seat for seat in self.seats[device] if seat.process.is_alive()]
        if not idle:
            size = min(self.sizes[device], STREAMS)  # a thread has a stream of its own
            pairs = [multiprocessing.Pipe() for _ in range(size)]
            process = begin(crew, [theirs for _, theirs in pairs])
            for _, theirs in pairs:
                theirs.close()
            idle = [Seat(process, ours) for ours, _ in pairs]
        idle.sort(key=lambda seat: seat.last is None or not same_cell(seat.last, config))
        seat, *self.seats[device] = idle
        seat.last = config
        return seat

    def hear(self, pipe: Connection) -> Event:
        """What a process says, or that it has ended, one way or another."""
        run = self.active[pipe]
        try:
            what, *message = pipe.recv()
        except (EOFError, OSError):
            return self.end(pipe)
        run.heard = time.monotonic()
        if what == "progress":
            return Event("progress", run.record, *message)
        if what == "note":
            return Event("note", run.record, sentence=message[0])
        run.outcome = message[0]
        return self.end(pipe)

    def end(self, pipe: Connection) -> Event:
        """Clears up after a process."""
        run = self.active.pop(pipe)
        neighbours = sum(other.device == run.device for other in self.active.values())
        seat = self.taken.pop(pipe, None)
        if seat is None or run.outcome is None:
            run.process.join(LAST_WORDS)
            run.process.kill()  # one that has said how it ended, and does not go
            run.process.join()
            pipe.close()
        error = run.record.path / "error.txt"
        if run.outcome is None and run.is_shared and not run.hung and not was_told(run.process):
            error.unlink(missing_ok=True)
            self.together.discard(run.record)
            self.free.append(run.device)
            sentence = "the process that it shared with others has ended: again, alone"
            return Event("again", run.record, sentence=sentence, outcome=Outcome("interrupted"))
        outcome = run.outcome or explain(run)
        if outcome.kind == OUT_OF_MEMORY and neighbours:
            # This slot is not used any more. The threads stay, so that the bits do, too.
            error.unlink(missing_ok=True)
            sentence = f"out of memory beside {neighbours} more: again, with one less at a time"
            return Event("again", run.record, sentence=sentence, outcome=outcome)
        self.free.append(run.device)
        if seat is not None and run.outcome is not None:
            self.seats[run.device].append(seat)
        if outcome.state == "elsewhere":
            return Event("again", run.record, sentence="trained elsewhere", outcome=outcome)
        return Event("ended", run.record, outcome=outcome)

    def end_hung(self) -> None:
        """Ends the runs that have been silent for too long, unless we could not listen either."""
        now, before = time.monotonic(), self.listened
        self.listened = now
        for run in self.active.values():
            if now - before > DEAF:  # stopped by Ctrl-Z, perhaps, and they with us
                run.heard = now
            if not run.hung and now - run.heard > self.patience:
                run.hung = True
                if run.process.is_alive():
                    os.kill(run.process.pid, signal.SIGUSR1)  # where is it?
                    time.sleep(0.5)
                run.process.kill()


def explain(run: Active) -> Outcome:
    """Why a process ended that could not say so itself; writes its error.txt."""
    code, details = run.process.exitcode, ""
    with suppress(OSError):
        lines = (run.record.path / "log.txt").read_text(errors="replace").splitlines()
        details = "\n".join(lines[-LOG_LINES:])
    if was_told(run.process):
        return Outcome("interrupted")
    if run.hung:
        kind, reason = "hang", "no sign of life for too long, so its process was ended"
    elif code == -signal.SIGKILL and kills_for_memory() > run.kills:
        kind, reason = OUT_OF_MEMORY, "the kernel ended the process (SIGKILL)"
    elif code in (-signal.SIGKILL, 255):  # 255: the fork server went, and took it along
        kind, reason = KILLED, "its process was ended from outside (SIGKILL)"
    elif code < 0:
        kind, reason = signal.Signals(-code).name, "the process crashed"
    else:
        kind, reason = f"exit status {code}", "the process ended without a word"
    # A full disk is no reason to end the others, and the lock is free unless somebody was quick.
    with suppress(OSError), hold(run.record.path) as lock:
        if lock is not None:
            run.record.fail(kind, reason, details)
    return Outcome("failed", kind, reason)


def failure_of(record: Record) -> tuple[str, str]:
    """(kind, reason), as `Record.fail` wrote them."""
    kind, _, reason = failure(record.path).partition(": ")
    return kind, reason


def same_cell(one: RunConfig, other: RunConfig) -> bool:
    return one.model_copy(update={"seed": other.seed}) == other
