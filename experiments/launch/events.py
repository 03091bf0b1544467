"""What a launcher tells of its runs, and how a run has ended."""

from dataclasses import dataclass
from typing import Literal

from experiments.records.record import Record


@dataclass(frozen=True)
class Outcome:
    """Says how a run ended, this time.

    state        done; failed, with an error.txt; interrupted, with a checkpoint; or elsewhere:
                 another process trains this run
    kind, reason of a failure, as in `Record.fail`
    """

    state: Literal["done", "failed", "interrupted", "elsewhere"]
    kind: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Started:
    """A process has begun to train the run."""

    record: Record


@dataclass(frozen=True)
class Progressed:
    """The run has done `step` of its `steps`; `row` has the metrics of an epoch that has ended."""

    record: Record
    step: int
    steps: int
    row: dict | None = None


@dataclass(frozen=True)
class Noted:
    """There is something to tell the user of the run."""

    record: Record
    sentence: str


@dataclass(frozen=True)
class Requeued:
    """The run's process has ended, and the launcher tries the run again: the sentence says why."""

    record: Record
    outcome: Outcome
    sentence: str


@dataclass(frozen=True)
class Ended:
    """The run has ended, and this launcher does not try it again."""

    record: Record
    outcome: Outcome


Event = Started | Progressed | Noted | Requeued | Ended
