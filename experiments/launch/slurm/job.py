"""Trains some runs in a job of Slurm, as on any machine. No torch here."""

import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from experiments.launch.events import Ended, Event, Noted, Progressed, Requeued
from experiments.launch.local import Local
from experiments.launch.slurm import squeue
from experiments.processes.output import protect
from experiments.records.record import Record
from experiments.train.environment import use


def split_into_jobs(
    records: Iterable[Record], expected: Mapping[Record, float], at_once: int, seconds: float
) -> list[list[Record]]:
    """Puts the runs together, in their order, so that each part takes about so many seconds.

    Each run takes the `expected` seconds alone, and `at_once` of them go at a time in a part. A run
    that takes longer than a part has one of its own.
    """
    packs: list[list[Record]] = []
    room = 0.0
    for record in records:
        cost = expected[record] / at_once
        if not packs or cost > room:
            packs.append([])
            room = seconds
        packs[-1].append(record)
        room -= cost
    return packs


@dataclass
class Pack:
    """Trains its runs when submitit calls it in a job; writes checkpoints before the job's end.

    The fields are as for `Local`.
    """

    records: list[Record]
    slots: list[str]
    data_dir: Path
    patience: float
    checkpoint_every: float

    def __call__(self) -> None:
        protect()  # a disk without room for the job's log is no reason to end its runs
        use()
        slots = self.slots[: len(self.records)]
        with Local(slots, self.data_dir, self.patience, self.checkpoint_every) as self.local:
            for event in self.local.train(self.records):
                if not isinstance(event, Progressed):
                    print(_line(event), flush=True)
                # Slurm has sent SIGTERM to all of us: it cancels the job or queues it again, or,
                # where it says that the job runs, only warns that it will preempt it.
                if isinstance(event, Ended) and event.outcome.state == "interrupted":
                    if squeue.state_of(_own_number()) == "RUNNING":
                        signal.raise_signal(signal.SIGUSR2)  # submitit's: `checkpoint`, and requeue
                    return

    def checkpoint(self, *_):
        """Gives submitit, which then queues the job again, what goes on after this one."""
        from submitit.helpers import DelayedSubmission

        if (local := getattr(self, "local", None)) is not None:
            local.__exit__()
        return DelayedSubmission(replace(self))


def _own_number() -> str:
    """Returns the id of this job; SLURM_JOB_ID is that of the whole array in its last job."""
    from submitit import JobEnvironment

    return JobEnvironment().job_id


def _line(event: Event) -> str:
    """Returns a line for the job's log."""
    what = f"{type(event).__name__.lower()} {event.record.name}:"
    match event:
        case Noted(_, sentence):
            return f"{what} {sentence}"
        case Requeued(_, outcome, sentence):
            return f"{what} {sentence} {outcome.state} {outcome.reason}"
        case Ended(_, outcome):
            return f"{what} {outcome.state} {outcome.reason}"
    return what
