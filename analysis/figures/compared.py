"""Tells which rows are compared over all studies of a group, and how far an axis goes.

It does not import matplotlib.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.statistics.comparisons import pair, verdict
from analysis.statistics.stats import Difference
from analysis.study import Study
from experiments.records.states import State

FEWEST_POINTS = 1.5  # of the axis, to each side
Ends = tuple[float, float]  # of an axis


@dataclass(frozen=True)
class Line:
    """Holds a row: its difference, the paper's (NaN for none), verdict, and number of seeds."""

    study: Study
    label: str
    found: Difference
    paper: float
    verdict: str
    seeds: int


def lines(studies: Sequence[Study]) -> dict[str, list[Line]]:
    """Maps the title of a study, with its reference, to its rows; each pair only once."""
    seen: set[tuple[str, str]] = set()
    blocks: dict[str, list[Line]] = {}
    for study in studies:
        name = f"{study.asked.title} (minus {study.reference or study.references_in_words})"
        for row, reference in study.references.items():
            both, one = (study.cells[row], study.cells[reference]), line(study, row)
            is_over = {State.DIVERGED, State.FAILED} & set(study.states(row))
            if both in seen or (math.isnan(one.found.estimate) and not is_over):
                continue
            seen.add(both)
            blocks.setdefault(name, []).append(one)
    return blocks


def line(study: Study, row: str) -> Line:
    reference = study.references[row]
    found, word = pair(study, row, reference), verdict(study, row)
    if math.isnan(found.estimate):  # no run of it ended in a number
        word = State.DIVERGED if State.DIVERGED in study.states(row) else State.FAILED
    paper = study.paper.top1[row] - study.paper.top1[reference]
    seeds = min(len(study.errors(row)), len(study.errors(reference)))
    return Line(study, row, found, paper, word, seeds)


def reach(values: Iterable[float], fewest: float = FEWEST_POINTS) -> Ends:
    """Returns both ends of an axis: enough for most values; single large ones are written out.

    No side is longer than its values need, nor shorter than `fewest`.
    """
    known = [value for value in values if not math.isnan(value)] or [0.0]
    most = max(fewest, 1.1 * float(np.quantile(np.abs(known), 0.85)))
    low, high = (
        min(most, max(fewest, 0.1 * most, 1.1 * max(sign * value for value in known)))
        for sign in (-1, 1)
    )
    return -low, high


def ends_of(found: Difference) -> tuple[float, float, float]:
    return found.low, found.estimate, found.high


def beyond(value: float, ends: Ends) -> int:
    """Tells on which side of an axis a value lies: -1, 1, or 0 for one on it and for NaN."""
    low, high = ends
    return int(value > high) - int(value < low)
