"""Defines what a launcher tells of its runs, and how a run has ended."""

from dataclasses import dataclass
from typing import Literal

from experiments.records.record import Record


@dataclass(frozen=True)
class Outcome:
    """Says how a run ended, this time.

    state        done; failed, with an error.txt; interrupted, with a checkpoint; or elsewhere:
                 another process trains this run, or has finished it
    kind, reason of a failure, as in `Record.fail`
    """

    state: Literal["done", "failed", "interrupted", "elsewhere"]
    kind: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Started:
    """Tells that a process has begun to train the run."""

    record: Record


@dataclass(frozen=True)
class Progressed:
    """Tells how far the run is; `row` has the metrics of an epoch that has just ended."""

    record: Record
    step: int
    steps: int
    row: dict | None = None


@dataclass(frozen=True)
class Noted:
    """Tells the user a sentence about the run."""

    record: Record
    sentence: str


@dataclass(frozen=True)
class Requeued:
    """Tells that the run's process has ended and the run is tried again; the sentence says why."""

    record: Record
    outcome: Outcome
    sentence: str


@dataclass(frozen=True)
class Ended:
    """Tells that the run has ended, and that this launcher does not try it again."""

    record: Record
    outcome: Outcome


Event = Started | Progressed | Noted | Requeued | Ended
