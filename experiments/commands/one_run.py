"""Says of one run, for `status`, its state, and why it is not done or how far it is."""

from collections.abc import Mapping
from pathlib import Path

from experiments.launch.slurm.squeue import Job
from experiments.records.lock import holder
from experiments.records.parsing import ConfigError
from experiments.records.results import damage
from experiments.records.signs import Signs
from experiments.records.states import (
    FINISHED,
    LEFT,
    MISSING,
    State,
    failure,
    how_it_was_left,
    read_summary,
    state,
)


def state_in(path: Path, jobs: Mapping[Path, Job]) -> State:
    """Returns a run's state; what Slurm says of it, where its files leave that open."""
    now, job = state(path), jobs.get(path)
    if now in FINISHED and damage(path):
        return State.DAMAGED
    if job is None or now not in MISSING or now == State.RUNNING:
        return now
    if job.is_live:
        return State.PENDING
    return State.CANCELLED if job.state == "CANCELLED" else now


def describe(path: Path, now: str) -> str:
    """Says why a run is not done, or how far it is; "" where there is nothing to say."""
    if now == State.RUNNING:
        return _progress(holder(path) or Signs())
    if now in LEFT:
        epochs, *why = how_it_was_left(path)
        resumes = "a checkpoint" if (path / "checkpoint.pt").exists() else "no checkpoint"
        return "; ".join([f"{epochs}, with {resumes}", *why])
    if now == State.FAILED:
        return f"{failure(path)} ({path / 'error.txt'})"
    if now == State.DAMAGED:
        try:
            read_summary(path)
        except ConfigError as error:
            return str(error)
        return damage(path)
    return ""


def _progress(signs: Signs) -> str:
    """Says what the process that trains a run tells of itself."""
    is_training = signs.share is not None and signs.share < 1
    step = [f"step {signs.step:,} of {signs.steps:,}"] if is_training else []
    return ", ".join([*step, *signs.words, signs.who])
