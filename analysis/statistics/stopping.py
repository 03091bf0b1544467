"""Decides when a declared comparison has seeds enough, by the rule of `--decide`. Trains nothing.

After every round each comparison is judged by an interval that holds however often one looks
(`stats.boundary`). Where that neither leaves out 0 nor lies within the margin of likeness, the rows
of the comparison get one more seed.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from analysis.statistics.comparisons import NO_INTERVAL, UNDECIDED, declared_in, verdict_on
from analysis.statistics.contrasts import Comparison
from analysis.study import Study
from experiments.records.study_file import Look

OPEN = (UNDECIDED, NO_INTERVAL)


def judge_declared(study: Study, most: int) -> tuple[list[Look], dict[str, int]]:
    """Judges the comparisons that are declared for a study's grid; a row gets at most `most` seeds.

    Returns (what was seen, row -> how many seeds it needs now, for the rows that need more). A
    comparison that lost a run, or whose runs differ in precision, waits for no more: seeds do
    not mend that.
    """
    pool = replace(study.pool, watched=frozenset(study.pool.values))
    watched = replace(study, shared={"test_error": pool})
    counts = {row: len(study.states(row)) for row in study.rows}
    looks, undecided = [], []
    for comparison, weights in declared_in(study):
        if comparison.grid != study.asked.grid:
            continue
        found = verdict_on(watched, weights, comparison.steps)
        rows = comparison.labels
        seeds = tuple(counts[row] for row in rows)
        looks.append(Look(comparison=comparison.name, rows=rows, seeds=seeds, verdict=found))
        if found in OPEN:
            undecided.append(comparison)
    return looks, seeds_needed(undecided, counts, most)


def seeds_needed(
    undecided: Iterable[Comparison], counts: Mapping[str, int], most: int
) -> dict[str, int]:
    """Returns row -> seeds for the next round, for those rows that have fewer.

    Each undecided comparison asks for one seed more than its row with the fewest has. A reference,
    a row that k others are compared with, gets sqrt(k) times as many: with that the k differences
    are known best for the runs that they cost (Dunnett 1955). Nothing is asked beyond `most`.
    """
    undecided = list(undecided)
    compared: dict[str, set[str]] = {}
    for one in undecided:
        for reference in one.minus:
            compared.setdefault(reference, set()).update(one.rows)
    needed: dict[str, int] = {}
    for one in undecided:
        seeds = min(counts[row] for row in one.labels) + 1
        for row in one.labels:
            times = math.sqrt(len(compared.get(row, ())) or 1) if row in one.minus else 1
            needed[row] = max(needed.get(row, 0), min(round(times * seeds), most))
    return {row: seeds for row, seeds in needed.items() if seeds > counts[row]}
