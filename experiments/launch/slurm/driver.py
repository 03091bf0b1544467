"""Trains runs in jobs of Slurm, through submitit: the driver's side (a job's: job.py).

Slurm is the queue and the scheduler. The driver sends what is not there yet, in job arrays, and
looks on; it may be stopped, killed and started again, here or on another machine of the cluster.
"""

import shlex
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Self

from experiments.data.download import Say
from experiments.launch.cluster import SlurmSettings
from experiments.launch.events import Ended, Event, Outcome, Progressed, Requeued, Started
from experiments.launch.failures import failed
from experiments.launch.queue import Launcher, outcome_of
from experiments.launch.slurm import squeue
from experiments.launch.slurm.array_locks import ArrayLocks
from experiments.launch.slurm.ends import explain
from experiments.launch.slurm.job import Pack, split_into_jobs
from experiments.launch.slurm.squeue import GONE, Asker, Job
from experiments.launch.slurm.submit import submit_array
from experiments.records.lock import holder, wait_for
from experiments.records.parsing import ConfigError
from experiments.records.record import Record
from experiments.records.signs import Signs
from experiments.records.states import failure

LOOK_EVERY = 2.0  # seconds between two looks at the files of runs in jobs
PAUSE = (2.0, 30.0)  # seconds between two questions to Slurm: a tenth of the time so far, within
LATE = 15.0  # seconds that a shared disk may take to show what a job has written
LEAVING = 60.0  # seconds for cancelled jobs to write their checkpoints in


class Slurm(Launcher):
    """Trains runs in jobs of Slurm; they outlive it.

    A context manager: an exception, such as Ctrl-C, leaves the jobs in the queue; any other end
    cancels those that are open and that no other command needs, which write checkpoints.

    `slots` are those of a job, and `expected` is about how many seconds each run takes. RESULTS and
    `data_dir` lie on a disk that the nodes share. What is not said here is as for `Local`.
    """

    workers = 0  # how many runs go at a time is Slurm's to say

    def __init__(
        self,
        settings: SlurmSettings,
        slots: Sequence[str],
        results: Path,
        data_dir: Path,
        patience: float,
        checkpoint_every: float,
        expected: Mapping[Record, float],
        say: Say,
    ) -> None:
        super().__init__()
        self.settings, self.slots, self.results, self.say = settings, list(slots), results, say
        self.where, self.expected = (data_dir.absolute(), patience, checkpoint_every), expected
        self.locks, self.slurm = ArrayLocks(results), Asker(say)
        self.folder = self.locks.folder
        self.active: dict[Record, Job] = {}  # the runs in jobs
        self.epochs: dict[Record, int] = {}  # of those that have started, how many are done
        self.quiet: dict[Record, float] = {}  # run -> when its job fell silent
        self.held: set[tuple[str, str]] = set()  # arrays, and why, that the user knows of
        self.began = self.asked = time.monotonic()

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, kind: type[BaseException] | None = None, /, *_: object) -> None:
        try:
            if not self.active:
                self.locks.forget()
            elif kind:
                self._say_that_they_stay([job.id for job in self.active.values()], "with Slurm")
            else:
                self._cancel()
        finally:
            self.locks.hold(())

    def _cancel(self) -> None:
        """Cancels the jobs that no other command needs, and waits until they are over."""
        with wait_for(self.folder):  # a second driver has taken them up before this, or does not
            self._cancel_ours()
            self.locks.hold(())
        deadline = time.monotonic() + LEAVING
        while self.active and time.monotonic() < deadline:
            self.active = {record: job for record, job in self.jobs().items() if job.is_live}
            if self.active:
                time.sleep(1.0)

    def _cancel_ours(self) -> None:
        """Cancels those jobs; only their runs are active then."""
        jobs = {job.id for job in self.active.values()}
        asked = {record.name for record in (*self.queue.all, *self.active)}
        ours, others, why = [], jobs, "which does not answer `squeue`"
        if (queue := squeue.ask()) is not None:
            self.locks.hold(record.name for record in self.active)
            ours, others = self.locks.divide(queue, jobs, asked)
            why = "as others need their jobs"
        if others:
            self._say_that_they_stay(others, f"with Slurm, {why}")
        self.active = {record: job for record, job in self.active.items() if job.id in ours}
        if numbers := squeue.together(ours):
            n = len(self.active)
            self.say(f"stopping: scancel {shlex.join(numbers)} ({n} runs), which write checkpoints")
            squeue.cancel(numbers)

    def _say_that_they_stay(self, jobs: Collection[str], where: str) -> None:
        n = sum(job.id in jobs for job in self.active.values())
        self.say(f"{n} runs stay {where}: `scancel {shlex.join(squeue.together(jobs))}` ends them, "
                 "`status` looks at them, and the same command finds them again")  # fmt: skip

    def jobs(self) -> dict[Record, Job]:
        """Returns the jobs of the active runs as Slurm sees them now, or saw them last."""
        if (queue := self.slurm.ask()) is None:
            return self.active
        by_path = squeue.jobs_of(self.results, queue)
        return {record: by_path.get(record.path, GONE) for record in self.active}

    def begin(self) -> Iterator[Event]:
        """Gives Slurm the pending runs that are not with it yet, and takes up those that are."""
        if self.queue.pending:
            with wait_for(self.folder):  # a second driver finds what the first one has sent
                yield from self._begin_alone()

    def _begin_alone(self) -> Iterator[Event]:
        if (queue := self.slurm.ask()) is None:
            self.queue.elsewhere += self.queue.pending  # until it answers again
            self.queue.pending.clear()
            return
        known = squeue.jobs_of(self.results, queue)
        fresh, adopted = [], Counter()
        while self.queue.pending:
            record = self.queue.pending.popleft()
            job = known.get(record.path, GONE)
            if (outcome := outcome_of(record)) is not None:
                yield Ended(record, outcome)
            elif job.is_live:
                self.active[record] = job
                adopted[job.array] += 1
            elif (other := holder(record.path)) is not None:
                yield from self.queue.leave(record, other)
            else:
                fresh.append(record)
        for array, runs in adopted.items():
            self.say(f"{runs} runs are in job {array} already")
        self._submit_all(
            split_into_jobs(fresh, self.expected, len(self.slots), 60.0 * self.settings.pack)
        )
        self.locks.hold(record.name for record in self.active)

    def _submit_all(self, packs: list[list[Record]]) -> None:
        """Sends the packs in arrays; what Slurm has no room for waits as if it were elsewhere.

        Raises ConfigError where none of our runs is with Slurm, and it takes none.
        """
        for first in range(0, len(packs), self.settings.array):
            try:
                self.submit(packs[first : first + self.settings.array])
            except ConfigError as error:
                if not self.active:
                    raise
                rest = [record for some in packs[first:] for record in some]
                if not self.queue.noted.issuperset(rest):
                    self.say(f"{error}; the other {len(rest)} runs wait for room", style="yellow")
                self.queue.noted.update(rest)
                self.queue.elsewhere += rest
                return

    def submit(self, packs: list[list[Record]]) -> None:
        """Sends a job array, a job a pack. Raises ConfigError where Slurm refuses it."""
        tasks = [Pack(some, self.slots, *self.where) for some in packs]
        for record in chain(*packs):
            (record.path / "error.txt").unlink(missing_ok=True)  # of an earlier job
        jobs = submit_array(self.folder, self.settings, tasks)
        for job, some in zip(jobs, packs, strict=True):
            for record in some:
                self.active[record] = job
        array = f", an array of {len(packs)}" if len(packs) > 1 else ""
        self.say(f"sent: {sum(map(len, packs))} runs as job {jobs[0].array}{array}")

    def look(self) -> Iterator[Event]:
        now = time.monotonic()
        if now - self.asked > min(PAUSE[1], max(PAUSE[0], 0.1 * (now - self.began))):
            self.asked = now
            for record, job in self.jobs().items():
                self._warn_of_hold(job)
                if job.state == "PENDING" and record in self.epochs:
                    del self.epochs[record]
                    sentence = f"job {job.id} is in the queue again"
                    yield Requeued(record, Outcome("interrupted"), sentence)
                self.active[record] = job
            self.locks.hold(record.name for record in self.active)
            if self.slurm.does_answer:
                self.queue.retry()
                yield from self.begin()
        for record, job in list(self.active.items()):
            if job.state != "PENDING":
                yield from self._look_at_files(record, job)
        time.sleep(LOOK_EVERY)

    def _warn_of_hold(self, job: Job) -> None:
        """Says once of an array that jobs of it wait for somebody and not for something."""
        if job.is_held and (job.array, job.reason) not in self.held:
            self.held.add((job.array, job.reason))
            self.say(f"job {job.id} is held ({job.reason}): `scontrol release {job.array}` frees "
                     "it, and the others of its array", style="yellow")  # fmt: skip

    def _look_at_files(self, record: Record, job: Job) -> Iterator[Event]:
        """Yields what the files say of a run whose job has begun, or is over."""
        is_done, has_failed = record.finished, failure(record.path) != ""
        who = None if is_done else holder(record.path)
        if record not in self.epochs and (is_done or has_failed or who is not None):
            self.epochs[record] = 0
            yield Started(record)
        if is_done:
            yield self._end(record, Outcome("done"))
        elif who is not None:
            self.quiet.pop(record, None)
            if who.steps:
                yield self._progress(record, who)
        else:
            now = time.monotonic()
            seconds = now - self.quiet.setdefault(record, now)
            if has_failed and seconds > 0:  # for want of memory it may be tried again at once
                yield self._end(record, failed(record))
            elif not job.is_live and (job.state == "CANCELLED" or seconds > LATE):
                yield self._end(record, explain(record, job, self.folder))

    def _progress(self, record: Record, who: Signs) -> Progressed:
        row = None
        if who.epoch > self.epochs[record]:
            self.epochs[record] = who.epoch
            row = {"epoch": who.epoch, "val_error": who.error}
        return Progressed(record, who.step, who.steps, row)

    def _end(self, record: Record, outcome: Outcome) -> Ended:
        del self.active[record]
        return Ended(record, outcome)
