"""Finds out why a job of Slurm's has left a run unfinished."""

from pathlib import Path

from experiments.launch.events import Outcome
from experiments.launch.slurm.squeue import GONE, Job
from experiments.records.record import Record
from experiments.records.states import CANCELLED, KILLED

LOG_LINES = 30  # of a job's log, in the error.txt of a run that it has left without a word


def explain(record: Record, job: Job, folder: Path) -> Outcome:
    """Returns why a job is over and has left a run unfinished; writes its error.txt.

    Args:
        folder: RESULTS/slurm.
    """
    record.path.mkdir(parents=True, exist_ok=True)
    if job.state == "CANCELLED":
        reason = f"job {job.id} was cancelled"
        record.fail(CANCELLED, reason)
        return Outcome("interrupted", reason=reason)
    reason = f"job {job.id} ended: {job.state}" if job is not GONE else "its job is gone"
    logs = folder.glob(f"se-*/{job.id}_0_log.out") if job.id else ()
    texts = (log.read_text(encoding="utf-8", errors="replace") for log in logs)
    lines = [line for text in texts for line in text.splitlines()]
    record.fail(KILLED, reason, "\n".join(lines[-LOG_LINES:]))
    return Outcome("failed", KILLED, reason)
