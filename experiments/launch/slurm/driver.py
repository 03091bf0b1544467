"""Runs as jobs of a Slurm cluster, through submitit: the driver's side (a job's: job.py).

Slurm is the queue and the scheduler. The driver sends what is not there yet, in job arrays, and
looks on; it may be stopped, killed and started again, here or on another machine of the cluster.
"""

import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from typing import Any, Self
from uuid import uuid4

from experiments.data.datasets import Say
from experiments.launch.cluster import SlurmSettings
from experiments.launch.local import Event, failure_of
from experiments.launch.slurm import squeue
from experiments.launch.slurm.job import Pack, pack
from experiments.launch.slurm.squeue import GONE, Job
from experiments.launch.worker import Outcome
from experiments.records.config import ConfigError
from experiments.records.files import write_json
from experiments.records.lock import hold, holder
from experiments.records.record import CANCELLED, KILLED, Record, failure

LOOK_EVERY = 2.0  # seconds between two looks at the files of runs in jobs
PAUSE = (2.0, 30.0)  # seconds between two questions to Slurm: a tenth of the time so far, within
LATE = 15.0  # seconds that a shared disk may take to show what a job has written
LEAVING = 60.0  # seconds for cancelled jobs to write their checkpoints in
LOG_LINES = 30  # of a job's log, in the error.txt of a run that it has left without a word


class Slurm:
    """Trains runs in jobs of Slurm; they outlive it.

    A context manager: an exception, such as Ctrl-C, leaves the jobs in the queue; any other end
    cancels those that are open, which write checkpoints.

    Args:
        settings: of the jobs.
        slots: the device of each run that goes at a time in a job.
        results: RESULTS, on a disk that the nodes share.
        data_dir: holds the prepared data sets, on such a disk, too.
        patience, checkpoint_every: as of `Local`.
        expected: seconds that each run takes, about.
        say: tells the user.
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
        self.settings, self.slots, self.results, self.say = settings, list(slots), results, say
        self.where = (data_dir.absolute(), patience, checkpoint_every)
        self.expected = expected
        self.folder = squeue.folder_of(results)
        self.open: dict[Record, Job] = {}  # those in jobs
        self.elsewhere: list[Record] = []  # those that another process trains, or Slurm refused
        self.epochs: dict[Record, int] = {}  # of those that have started, how many are done
        self.quiet: dict[Record, float] = {}  # since when nobody trains a run, in a job that began
        self.told: set[Record] = set()  # those of `elsewhere` that the user knows of
        self.is_deaf = False  # Slurm did not answer when we asked last
        self.held: set[tuple[str, str]] = set()  # arrays, and why, that the user knows of
        self.began = self.asked = time.monotonic()

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, kind, *_) -> None:
        if not (arrays := sorted({job.array for job in self.open.values()})):
            self.forget()
            return
        runs, numbers = f"{len(self.open)} runs", " ".join(arrays)
        if kind:
            self.say(f"{runs} stay with Slurm: `scancel {numbers}` ends them, `status` looks at "
                     "them, and the same command finds them again")  # fmt: skip
            return
        self.say(f"stopping: scancel {numbers} ({runs}), which write checkpoints")
        squeue.cancel(arrays)
        deadline = time.monotonic() + LEAVING
        while time.monotonic() < deadline and any(job.is_live for job in self.jobs().values()):
            time.sleep(1.0)

    def jobs(self) -> dict[Record, Job]:
        """The open runs and their jobs as Slurm sees them now, or saw them last."""
        queue, was_deaf = squeue.ask(), self.is_deaf
        self.is_deaf = queue is None
        if self.is_deaf != was_deaf:
            self.say("Slurm does not answer `squeue`: waiting for it" if self.is_deaf
                     else "Slurm answers again", style="yellow")  # fmt: skip
        if queue is None:
            return self.open
        by_path = squeue.jobs_of(self.results, queue)
        return {record: by_path.get(record.path, GONE) for record in self.open}

    def train(self, records: Iterable[Record], deadline: float | None = None) -> Iterator[Event]:
        """As `Local.train`; runs that are in jobs already, of whichever driver, are looked on."""
        yield from self.send(list(records))
        while self.open or self.elsewhere:
            if deadline is not None and time.monotonic() > deadline:
                return
            now = time.monotonic()
            if now - self.asked > min(PAUSE[1], max(PAUSE[0], 0.1 * (now - self.began))):
                self.asked = now
                for record, job in self.jobs().items():
                    self.warn(job)
                    yield from self.follow(record, self.open[record], job)
                    self.open[record] = job
                if not self.is_deaf:
                    waiting, self.elsewhere = self.elsewhere, []
                    yield from self.send(waiting)
            for record, job in list(self.open.items()):
                if job.state != "PENDING":
                    yield from self.look(record, job)
            time.sleep(LOOK_EVERY)

    def send(self, records: list[Record]) -> Iterator[Event]:
        """Gives Slurm the runs that are not with it yet, and takes up those that are."""
        if not records:
            return
        while True:  # two drivers at once: the second one finds what the first one has sent
            with hold(self.folder) as lock:
                if lock is not None:
                    yield from self.send_alone(records)
                    return
            time.sleep(0.5)

    def send_alone(self, records: list[Record]) -> Iterator[Event]:
        if (queue := squeue.ask()) is None:
            raise ConfigError("Slurm does not answer `squeue`: is this one of its hosts?")
        known = squeue.jobs_of(self.results, queue)
        fresh, adopted = [], Counter()
        for record in records:
            job = known.get(record.path, GONE)
            if record.finished:
                yield Event("ended", record, outcome=Outcome("done"))
            elif record.failed:
                yield Event("ended", record, outcome=Outcome("failed", *failure_of(record)))
            elif job.is_live:
                self.open[record] = job
                adopted[job.array] += 1
            elif (other := holder(record.path)) is not None:
                self.elsewhere.append(record)
                if record not in self.told:
                    self.told.add(record)
                    who = f"process {other.get('pid', '?')} on {other.get('host', '?')}"
                    yield Event("note", record, sentence=f"{who} trains it: waiting for that")
            else:
                fresh.append(record)
        for array, runs in adopted.items():
            self.say(f"{runs} runs are in job {array} already")
        packs = pack(fresh, self.expected, len(self.slots), 60.0 * self.settings.pack)
        for first in range(0, len(packs), self.settings.array):
            try:
                self.submit(packs[first : first + self.settings.array])
            except ConfigError as error:
                if not self.open:
                    raise
                rest = [record for some in packs[first:] for record in some]
                if not self.told.issuperset(rest):
                    self.say(f"{error}; the other {len(rest)} runs wait for room", style="yellow")
                self.told.update(rest)
                self.elsewhere += rest
                return

    def submit(self, packs: list[list[Record]]) -> None:
        """Sends a job array, a job a pack. Raises ConfigError where Slurm refuses it."""
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        name = f"se-{uuid4().hex[:12]}"
        note, folder = self.folder / f"{name}.json", self.folder / name
        write_json(note, {"jobs": [[record.name for record in some] for some in packs]})
        executor = submitit.SlurmExecutor(folder, max_num_timeout=self.settings.restarts)
        executor.update_parameters(job_name=name, **self.settings.for_submitit())
        tasks = [Pack(some, self.slots, *self.where) for some in packs]
        try:
            with undisturbed():
                jobs = executor.submit_array(tasks)
        except (FailedJobError, FailedSubmissionError) as error:
            note.unlink()
            rmtree(folder, ignore_errors=True)
            sentence = str(error).strip().splitlines()[-1].removeprefix("sbatch: error: ")
            raise ConfigError(f"Slurm refused the jobs: {sentence}") from None
        for job, some in zip(jobs, packs, strict=True):
            for record in some:
                (record.path / "error.txt").unlink(missing_ok=True)  # of an earlier job
                self.open[record] = Job(job.job_id, "PENDING")
        number = jobs[0].job_id.partition("_")[0]
        runs = sum(map(len, packs))
        array = f", an array of {len(packs)}" if len(packs) > 1 else ""
        self.say(f"sent: {runs} runs as job {number}{array}")

    def warn(self, job: Job) -> None:
        """Says once of an array that jobs of it wait for somebody and not for something."""
        if job.is_held and (job.array, job.reason) not in self.held:
            self.held.add((job.array, job.reason))
            self.say(f"job {job.id} is held ({job.reason}): `scontrol release {job.array}` frees "
                     "it, and the others of its array", style="yellow")  # fmt: skip

    def follow(self, record: Record, before: Job, now: Job) -> Iterator[Event]:
        """What a job's change means for a run of it."""
        if now.state == "PENDING" and record in self.epochs:
            del self.epochs[record]
            sentence = f"job {now.id} is in the queue again"
            yield Event("again", record, sentence=sentence, outcome=Outcome("interrupted"))

    def look(self, record: Record, job: Job) -> Iterator[Event]:
        """What the files of a run say that is in a job which has begun, or is over."""
        is_done, has_failed = record.finished, failure(record.path) != ""
        who = None if is_done else holder(record.path)
        if record not in self.epochs and (is_done or has_failed or who is not None):
            self.epochs[record] = 0
            yield Event("started", record)
        if is_done:
            yield self.end(record, Outcome("done"))
        elif who is not None:
            self.quiet.pop(record, None)
            if who.get("steps"):
                yield self.progress(record, who)
        else:
            now = time.monotonic()
            seconds = now - self.quiet.setdefault(record, now)
            if has_failed and seconds > 0:  # for want of memory it may be tried again at once
                yield self.end(record, Outcome("failed", *failure_of(record)))
            elif not job.is_live and (job.state == "CANCELLED" or seconds > LATE):
                yield self.end(record, self.explain(record, job))

    def progress(self, record: Record, who: Mapping[str, Any]) -> Event:
        row = None
        if who["epoch"] > self.epochs[record]:
            self.epochs[record] = who["epoch"]
            row = {"epoch": who["epoch"], "val_error": who["error"]}
        return Event("progress", record, who["step"], who["steps"], row)

    def end(self, record: Record, outcome: Outcome) -> Event:
        del self.open[record]
        return Event("ended", record, outcome=outcome)

    def explain(self, record: Record, job: Job) -> Outcome:
        """Why a job is over and has left a run unfinished; writes its error.txt."""
        record.path.mkdir(parents=True, exist_ok=True)
        if job.state == "CANCELLED":
            reason = f"job {job.id} was cancelled"
            record.fail(CANCELLED, reason)
            return Outcome("interrupted", reason=reason)
        reason = f"job {job.id} ended: {job.state}" if job is not GONE else "its job is gone"
        logs = self.folder.glob(f"se-*/{job.id}_0_log.out") if job.id else ()
        lines = [line for log in logs for line in log.read_text(errors="replace").splitlines()]
        record.fail(KILLED, reason, "\n".join(lines[-LOG_LINES:]))
        return Outcome("failed", KILLED, reason)

    def forget(self) -> None:
        """Deletes what was kept of arrays whose runs are all finished."""
        for name, packs in squeue.sent(self.results).items():
            runs = (self.results / "runs" / run for some in packs for run in some)
            if all((run / "summary.json").exists() for run in runs):
                rmtree(self.folder / name, ignore_errors=True)
                (self.folder / f"{name}.json").unlink(missing_ok=True)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Lets no Ctrl-C part what was sent from what its jobs are given."""
    numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
