"""How many seeds a difference needs, from the spread that was measured."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
from tabulate import tabulate

from analysis.load import Study
from analysis.statistics.stats import (
    MOST_SEEDS,
    PRIOR,
    Plan,
    seeds_for_difference,
    seeds_for_likeness,
)

POINTS = (0.1, 0.2, 0.3, 0.5, 1.0, 2.0)


def texts(studies: Sequence[Study], power: float) -> list[str]:
    """One table a study, or a sentence that says why there is none."""
    found = []
    for study in studies:
        plan, source = study.pool.plan, study.name
        if math.isnan(plan.spread):
            if study.asked.spread is None:
                found.append(f"{study.name}: no row has two seeds: give the spread as --spread\n")
                continue
            plan = Plan(study.asked.spread)
            source = f"{study.name}, measured before with this recipe"
        found.append(text(source, plan, power))
    return found


def text(source: str, plan: Plan, power: float) -> str:
    """How many seeds on each side, by size of the difference."""
    watched = replace(plan, is_watched=True)
    table = pd.DataFrame(
        {
            "points": [f"{points:g}" for points in POINTS],
            "seeds to see it": [shown(seeds_for_difference(x, plan, power)) for x in POINTS],
            "to show likeness": [shown(seeds_for_likeness(x, plan, power)) for x in POINTS],
            "to see it, --decide": [shown(seeds_for_difference(x, watched, power)) for x in POINTS],
            "likeness, --decide": [shown(seeds_for_likeness(x, watched, power)) for x in POINTS],
        }
    )
    body = tabulate(table, "keys", "simple", showindex=False, disable_numparse=True)
    head = (
        f"Seeds differ by {plan.spread:.2f} points (standard deviation; {source}); power {power:g}"
    )
    pooled = "" if math.isinf(plan.cells) else f", here of {plan.cells} networks"
    note = (
        "So many seeds on each side of one comparison, by the interval of the tables: variances "
        f"drawn towards the pool's{pooled}, which counts as {PRIOR:g} degrees of freedom. A "
        "declared comparison needs no correction for the others. With --decide, which looks after "
        "every round by wider intervals, the same share of studies is decided with these seeds or "
        "fewer: most of them stop earlier."
    )
    return f"{head}\n\n{body}\n\n{note}\n"


def shown(seeds: int) -> str:
    return f"{seeds}" if seeds < MOST_SEEDS else f"more than {MOST_SEEDS:,}"
