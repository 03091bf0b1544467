"""Compares two rows of records: difference, interval, and a verdict where one was declared.

A pair of cells has one answer, whichever study, table or figure asks.
"""

import math
from dataclasses import dataclass

from analysis.statistics.contrasts import Declared, declared, own_comparison
from analysis.statistics.pool import Pool, Weights
from analysis.statistics.stats import Difference, diverges_more
from analysis.study import Study
from experiments.data.datasets import DATASETS
from experiments.records.states import State

MARGINS = {name: source.margin for name, source in DATASETS.items() if source.margin}
UNDECIDED, NO_INTERVAL = "not decided", "not decided: no interval"  # more seeds may change that
RUNS_LOST = "not decided: runs were lost"
CHANCE = 0.05  # of the intervals of networks that do not differ leave out 0


@dataclass(frozen=True)
class Answer:
    """Holds what a declared comparison found, and its verdict."""

    comparison: Declared
    found: Difference
    verdict: str


def against_reference(study: Study) -> dict[str, Difference]:
    """Returns row -> its test error minus that of its reference in points."""
    return {row: pair(study, row, reference) for row, reference in study.references.items()}


def pair(study: Study, row: str, reference: str) -> Difference:
    """Returns a row's mean test error minus another's, with the one interval of these two cells."""
    return study.pool.difference(study.cells[row], study.cells[reference])


def verdict(study: Study, row: str, reference: str | None = None) -> str:
    """Returns the verdict on a row against its reference in a word; "" where none was declared."""
    cells, reference = study.cells, reference or study.references[row]
    for one in declared_in(study):
        weights = one[1]
        if weights == {cells[row]: 1, cells[reference]: -1}:
            return judge(study, weights)
        if weights == {cells[reference]: 1, cells[row]: -1}:
            return judge(study, {cell: -weight for cell, weight in weights.items()})
    return ""


def declared_in(study: Study) -> list[tuple[Declared, Weights]]:
    """Lists the comparisons that are declared for the study's data, network, recipe and settings,
    and those of its own grid."""
    asked = study.asked
    ours = [
        (one, weights if one.grid != asked.grid else one.of_cells(study.cells))
        for one, weights in declared(*asked.group, asked.settings)
        if one.grid != asked.grid or set(one.labels) <= set(study.cells)
    ]
    own = [own_comparison(asked.grid, one) for one in asked.declares]
    return ours + [(one, one.of_cells(study.cells)) for one in own]


def answers(study: Study, every: bool = False) -> list[Answer]:
    """Returns the answers to the comparisons that are declared for this grid; [] where none is.

    With `every` also of those of another grid whose rows are all here.
    """
    return [
        Answer(comparison, study.pool.contrast(weights), judge(study, weights, comparison.steps))
        for comparison, weights in declared_in(study)
        if (every or comparison.grid == study.asked.grid)
        and set(weights) <= set(study.cells.values())
    ]


def says_something(study: Study) -> bool:
    """Tells whether a comparison that is declared for a study has a number."""
    return any(not math.isnan(one.found.estimate) for one in answers(study))


def is_judged(study: Study) -> bool:
    """Tells whether a study's numbers can prove something: no demonstration, all of CIFAR."""
    return study.asked.dataset in MARGINS and not study.asked.demonstration


def judge(study: Study, weights: Weights, steps: float = 1.0) -> str:
    """Judges a contrast: "better", "worse", "alike" or "not decided"; "" for a demonstration."""
    return verdict_on(study, weights, steps) if is_judged(study) else ""


def verdict_on(study: Study, weights: Weights, steps: float = 1.0) -> str:
    """Returns the verdict on a contrast of a study's cells, also of a demonstration.

    Means of rows that lost runs are judged by how many diverged, with Fisher's exact test. No
    other contrast is: which side of a slope is the better one does not depend on the side of a row.
    """
    rows = {row: weights[cell] for row, cell in study.cells.items() if cell in weights}
    states = {state for row in rows for state in study.states(row)} - {State.DONE}
    if states == {State.MISSING}:
        return "not decided: runs are missing"
    if states:
        return _of_lost(study, rows) if _is_of_means(weights) else RUNS_LOST
    if len(study.precisions(*rows)) > 1:
        return "not decided: precisions differ"
    return word(study.pool, weights, MARGINS.get(study.asked.dataset, 0.0) / steps)


def word(pool: Pool, weights: Weights, margin: float) -> str:
    """Returns the verdict on a contrast from its numbers alone.

    Better and worse need an interval that leaves out 0; alike needs two one-sided tests within
    -+ `margin`.
    """
    found = pool.contrast(weights)
    if math.isnan(found.low):
        return NO_INTERVAL
    is_alike = pool.is_alike(weights, margin)
    if not found.leaves_out_zero:
        return "alike" if is_alike else UNDECIDED
    side = "worse" if found.estimate > 0 else "better"
    return f"{side}, within the margin" if is_alike else side


def _is_of_means(weights: Weights) -> bool:
    """Tells whether a contrast is the mean of some cells minus the mean of others."""
    sizes = {(weight > 0, round(abs(weight), 9)) for weight in weights.values()}
    return len(sizes) == 2 and sum(is_positive for is_positive, _ in sizes) == 1


def _of_lost(study: Study, rows: dict[str, float]) -> str:
    """Returns the verdict on means of rows where a run has no number."""
    states = {
        sign: [s for row, w in rows.items() if w * sign > 0 for s in study.states(row)]
        for sign in (1, -1)
    }
    lost = {sign: some.count(State.DIVERGED) for sign, some in states.items()}
    kept = {sign: some.count(State.DONE) for sign, some in states.items()}
    for sign, word in ((1, "worse"), (-1, "better")):
        if diverges_more(lost[sign], kept[sign], lost[-sign], kept[-sign]):
            more = f"{lost[sign]} of {len(states[sign])} diverged"
            return f"{word}: {more}, against {lost[-sign]} of {len(states[-sign])}"
    return RUNS_LOST


def undeclared(study: Study) -> dict[str, Difference]:
    """Returns row -> its difference from its reference, of the rows whose is not declared."""
    pairs = [set(weights) for _, weights in declared_in(study) if len(weights) == 2]
    return {
        row: one
        for row, one in against_reference(study).items()
        if {study.cells[row], study.cells[study.references[row]]} not in pairs
    }


def by_chance(study: Study, is_named: bool = False) -> str:
    """Says how many intervals without a verdict leave out 0, and how many would by chance alone.

    "" where there is none. With `is_named` it says which they are.
    """
    known = {row: one for row, one in undeclared(study).items() if not math.isnan(one.low)}
    if not known:
        return ""
    beyond = [f"{row} {difference_text(one)}" for row, one in known.items() if one.leaves_out_zero]
    against = study.reference or study.references_in_words
    names = f" (minus {against}: {'; '.join(beyond)})" if is_named and beyond else ""
    return (
        f"{len(beyond)} of {len(known)} intervals that belong to no declared comparison leave out "
        f"0{names}; if nothing differed, {CHANCE * len(known):.2g} would, by chance."
    )


def difference_text(found: Difference, digits: int = 2) -> str:
    """Returns a difference as text, `+0.05 [-0.10, +0.20]`: the same form everywhere."""
    if math.isnan(found.estimate):
        return "–"
    if math.isnan(found.low):
        return f"{found.estimate:+z.{digits}f}"
    estimate, low, high = (f"{x:+z.{digits}f}" for x in (found.estimate, found.low, found.high))
    return f"{estimate} [{low}, {high}]"
