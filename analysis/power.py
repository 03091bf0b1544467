"""How many seeds a difference needs, from the spread that was measured."""

import math
from collections.abc import Sequence

import pandas as pd
from tabulate import tabulate

from analysis.records import Study
from analysis.stats import MOST_SEEDS, PRIOR, seeds_for_difference, seeds_for_likeness

POINTS = (0.1, 0.2, 0.3, 0.5, 1.0, 2.0)


def texts(studies: Sequence[Study], power: float) -> list[str]:
    """One table a study, or a sentence that says why there is none."""
    found = []
    for study in studies:
        spread = study.pool.spread.deviation
        if math.isnan(spread) and study.asked["spread"] is None:
            found.append(f"{study.name}: no row has two seeds: give the spread as --spread\n")
        elif math.isnan(spread):
            source = f"{study.name}, measured before with this recipe"
            found.append(text(source, study.asked["spread"], power))
        else:
            found.append(text(study.name, spread, power))
    return found


def text(source: str, spread: float, power: float) -> str:
    """How many seeds on each side, by size of the difference."""
    table = pd.DataFrame(
        {
            "points": [f"{points:g}" for points in POINTS],
            "seeds to see such a difference": [
                shown(seeds_for_difference(points, spread, power)) for points in POINTS
            ],
            "seeds to show likeness within it": [
                shown(seeds_for_likeness(points, spread, power)) for points in POINTS
            ],
        }
    )
    body = tabulate(table, "keys", "simple", showindex=False, disable_numparse=True)
    head = f"Seeds differ by {spread:.2f} points (standard deviation; {source}); power {power:g}"
    note = (
        "So many seeds on each side of one comparison, by the interval of the tables: variances "
        f"drawn towards the pool's, which counts as {PRIOR:g} degrees of freedom. A declared "
        "comparison needs no correction for the others."
    )
    return f"{head}\n\n{body}\n\n{note}\n"


def shown(seeds: int) -> str:
    return f"{seeds}" if seeds < MOST_SEEDS else f"more than {MOST_SEEDS:,}"
