"""Trains many runs on this machine, each in a process or a thread of its own."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Self

from experiments.launch.events import Ended, Event, Noted, Outcome, Progressed, Requeued
from experiments.launch.failures import OUT_OF_MEMORY, died
from experiments.launch.queue import GRACE, SlotLauncher
from experiments.launch.shared_process import SharedProcesses, Worker
from experiments.launch.worker import Task, train_in_process
from experiments.processes.fork_server import kills_for_memory, spawn, warm_up, was_terminated
from experiments.processes.signals import uninterrupted
from experiments.records.lock import holder
from experiments.records.record import Record
from experiments.records.signs import Signs

PAUSED = 4.0  # seconds between two looks: after more, silence proves nothing, as we were paused
LAST_MESSAGE = 10.0  # seconds for a process to end in, once it has closed its pipe


@dataclass
class LocalRun:
    """Holds what is known of a run that is under way on this machine.

    kills    how many processes the kernel had ended for want of memory before it began
    heard    when it last gave a sign of life
    is_hung  whether its process was ended, as it gave none
    outcome  as its worker has reported it
    """

    record: Record
    device: str
    worker: Worker
    kills: int
    heard: float = field(default_factory=time.monotonic)
    is_hung: bool = False
    outcome: Outcome | None = None


class Local(SlotLauncher):
    """Trains runs on this machine, each in a process of its own, from a fork server with torch.

    Those that may share a process have one on each device, and a thread each. Where that crashes it
    is not known which of them is the reason: all go on from their checkpoints, each alone.

    A context manager: at its end, the runs that are under way write checkpoints and stop.

    Args:
        slots: the device of each run that goes at a time.
        patience: seconds without a sign of life after which a run is ended.
        checkpoint_every: seconds between two checkpoints of a run, at least.
        together: the runs that may share a process.
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
        super().__init__()
        self.free, self.data_dir, self.say = list(slots), data_dir, say
        self.workers = len(self.free)
        self.together, self.shared = set(together), SharedProcesses(Counter(self.free))
        self.patience, self.checkpoint_every = patience, checkpoint_every
        self.active: dict[Connection, LocalRun] = {}
        self.looked = time.monotonic()  # when we last looked for messages of the runs

    def __enter__(self) -> Self:
        warm_up()
        return self

    def __exit__(self, *_: object) -> None:
        idle = [worker for workers in self.shared.idle.values() for worker in workers]
        busy = [run.worker for run in self.active.values()]
        processes = list({worker.process for worker in (*busy, *idle)})
        try:
            for process in processes:  # before the message, which a terminal may not take
                process.terminate()
            if n := len(self.active):
                self.say(
                    f"stopping: {n} runs write their checkpoints; Ctrl-C again ends them at once"
                )
            deadline = time.monotonic() + GRACE
            while any(p.is_alive() for p in processes) and time.monotonic() < deadline:
                for process in processes:
                    process.terminate()  # again and again: a new one does not handle it yet
                wait([process.sentinel for process in processes if process.is_alive()], 0.5)
        finally:  # also where Ctrl-C is pressed again
            for process in processes:
                process.kill()
                process.join()

    def has_room(self) -> bool:
        return bool(self.free)

    def choose(self) -> Record:
        return self.shared.choose(self.free[0], self.queue.pending, self.together)

    def start(self, record: Record) -> Signs | None:
        """Begins a run. Ctrl-C waits until it is known: `__exit__` ends those that are."""
        if (other := holder(record.path)) is not None:
            return other
        device, is_shared = self.free.pop(0), record in self.together
        task = Task(record, self.data_dir, device, self.checkpoint_every, is_shared)
        with uninterrupted():
            if is_shared:
                worker = self.shared.take(device, record.config)
                with suppress(OSError):  # it has just ended, which its pipe will tell
                    worker.pipe.send(task)
            else:
                worker = Worker(*spawn(train_in_process, task))
            self.active[worker.pipe] = LocalRun(record, device, worker, kills_for_memory())
        return None

    def look(self) -> Iterator[Event]:
        pipes = wait(list(self.active), timeout=1.0)
        # A child of a crashed run's own may keep its pipe open.
        dead = [p for p, run in self.active.items() if not run.worker.process.is_alive()]
        for pipe in [*pipes, *(p for p in dead if p not in pipes)]:
            yield self._receive(pipe) if pipe in pipes or pipe.poll() else self._end(pipe)
        self.end_hung()

    def _receive(self, pipe: Connection) -> Event:
        """Takes a message of a run, or the end of its process."""
        run = self.active[pipe]
        try:
            message = pipe.recv()
        except (EOFError, OSError):
            return self._end(pipe)
        run.heard = time.monotonic()
        match message:
            case (step, steps, row):
                return Progressed(run.record, step, steps, row)
            case str(sentence):
                return Noted(run.record, sentence)
        run.outcome = message
        return self._end(pipe)

    def _end(self, pipe: Connection) -> Event:
        """Takes a run out of those under way, and decides whether it is tried again."""
        run = self.active.pop(pipe)
        worker, neighbours = run.worker, self._count(run.device)
        if not worker.is_shared or run.outcome is None:
            worker.process.join(LAST_MESSAGE)
            worker.process.kill()  # one that has sent its outcome, and has not ended
            worker.process.join()
            pipe.close()
        is_crash = run.outcome is None and not run.is_hung and not was_terminated(worker.process)
        if is_crash and worker.is_shared:
            self.together.discard(run.record)
            self.free.append(run.device)
            sentence = "the process that it shared with others has ended: again, alone"
            return self._requeue(run, Outcome("interrupted"), sentence)
        outcome = run.outcome or died(run.record, worker.process, run.is_hung, run.kills)
        if outcome.kind == OUT_OF_MEMORY and neighbours:
            # This slot is not used any more. The threads stay, so that the bits do, too.
            sentence = f"out of memory beside {neighbours} more: again, with one less at a time"
            return self._requeue(run, outcome, sentence)
        self.free.append(run.device)
        if worker.is_shared and run.outcome is not None:
            self.shared.idle[run.device].append(worker)
        if outcome.state == "elsewhere":
            self.queue.elsewhere.append(run.record)
            return Requeued(run.record, outcome, "trained elsewhere")
        return Ended(run.record, outcome)

    def _count(self, device: str) -> int:
        return sum(run.device == device for run in self.active.values())

    def _requeue(self, run: LocalRun, outcome: Outcome, sentence: str) -> Requeued:
        """Puts a run at the end of the queue, as if it had not failed."""
        (run.record.path / "error.txt").unlink(missing_ok=True)
        self.queue.pending.append(run.record)
        return Requeued(run.record, outcome, sentence)

    def end_hung(self) -> None:
        """Ends runs without a sign of life for too long, unless this process was paused, too."""
        now, before = time.monotonic(), self.looked
        self.looked = now
        for run in self.active.values():
            if now - before > PAUSED:  # by Ctrl-Z, perhaps, and they with us
                run.heard = now
            if not run.is_hung and now - run.heard > self.patience:
                run.is_hung, process = True, run.worker.process
                if process.pid is not None and process.is_alive():
                    os.kill(process.pid, signal.SIGUSR1)  # it writes where it is
                    time.sleep(0.5)
                process.kill()
