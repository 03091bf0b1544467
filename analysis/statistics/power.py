"""Computes how many seeds a difference needs, from the spread that was measured."""

import math
from dataclasses import replace

import pandas as pd
from tabulate import tabulate

from analysis.schema import NeededSeeds, Source, StudyPower
from analysis.statistics.seeds import MOST_SEEDS, Plan, seeds_for_difference, seeds_for_likeness
from analysis.statistics.stats import PRIOR
from analysis.study import Study

POINTS = (0.1, 0.2, 0.3, 0.5, 1.0, 2.0)


def needed(study: Study, power: float) -> StudyPower:
    """Says how many seeds the differences of a study need, from the spread of its records."""
    plan = study.pool.plan
    if not math.isnan(plan.spread):
        return by_plan(study.name, "records", plan, power)
    if study.asked.spread is not None:
        return by_plan(study.name, "recipe", Plan(study.asked.spread), power)
    return StudyPower(name=study.name, source=None, spread=None, seeds=())


def by_plan(name: str, source: Source, plan: Plan, power: float) -> StudyPower:
    """Says how many seeds on each side it takes, by size of the difference."""
    watched = replace(plan, is_watched=True)
    seeds = tuple(
        NeededSeeds(
            points=points,
            difference=known(seeds_for_difference(points, plan, power)),
            likeness=known(seeds_for_likeness(points, plan, power)),
            decide_difference=known(seeds_for_difference(points, watched, power)),
            decide_likeness=known(seeds_for_likeness(points, watched, power)),
        )
        for points in POINTS
    )
    cells = None if math.isinf(plan.cells) else int(plan.cells)
    return StudyPower(name=name, source=source, spread=plan.spread, networks=cells, seeds=seeds)


def known(seeds: int) -> int | None:
    return seeds if seeds < MOST_SEEDS else None


def text(found: StudyPower, power: float) -> str:
    """Returns the needed seeds as a table, or a sentence that says why there is none."""
    if found.spread is None:
        return f"{found.name}: no row has two seeds: give the spread as --spread\n"
    table = pd.DataFrame(
        {
            "points": [f"{one.points:g}" for one in found.seeds],
            "seeds to see it": [seeds_text(one.difference) for one in found.seeds],
            "to show likeness": [seeds_text(one.likeness) for one in found.seeds],
            "to see it, --decide": [seeds_text(one.decide_difference) for one in found.seeds],
            "likeness, --decide": [seeds_text(one.decide_likeness) for one in found.seeds],
        }
    )
    body = tabulate(table, "keys", "simple", showindex=False, disable_numparse=True)
    source = f"{found.name}{', measured before with this recipe' * (found.source == 'recipe')}"
    head = (
        f"Seeds differ by {found.spread:.2f} points (standard deviation; {source}); power {power:g}"
    )
    pooled = f", here of {found.networks} networks" if found.networks else ""
    note = (
        "So many seeds on each side of one comparison, by the interval of the tables: variances "
        f"shrunk towards the pool's{pooled}, which counts as {PRIOR:g} degrees of freedom. A "
        "declared comparison needs no correction for the others. With --decide, which looks after "
        "every round by wider intervals, the same share of studies is decided with these seeds or "
        "fewer: most of them stop earlier."
    )
    return f"{head}\n\n{body}\n\n{note}\n"


def seeds_text(seeds: int | None) -> str:
    """Returns a number of seeds in words."""
    is_known = seeds is not None and seeds < MOST_SEEDS
    return f"{seeds}" if is_known else f"more than {MOST_SEEDS:,}"
