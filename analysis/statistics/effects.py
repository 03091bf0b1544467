"""Computes what each choice of a crossed study does alone, and what two of them do together."""

import math
from itertools import combinations, product

import numpy as np
import pandas as pd

from analysis.statistics.comparisons import CHANCE, difference_text
from analysis.statistics.stats import UNKNOWN, Difference, Spread, contrast
from analysis.study import Study


def factors(study: Study) -> dict[str, list[str]]:
    """Returns factor -> its levels; {} unless there is a row for every combination of them."""
    rows = [study.levels[row] for row in study.varied]
    if len({tuple(row) for row in rows}) != 1:  # not all rows set the same keys
        return {}
    found = {name: list(dict.fromkeys(row[name] for row in rows)) for name in rows[0]}
    crossed = {name: levels for name, levels in found.items() if len(levels) > 1}
    combinations_of = math.prod(map(len, crossed.values()))
    return crossed if len(crossed) > 1 and combinations_of == len(rows) else {}


def effects(study: Study) -> pd.DataFrame:
    """Computes main effects and interactions of two, in points of test error.

    A main effect is the mean over the rows with a level minus that over all rows. An interaction is
    what two levels do together beyond the sum of their main effects. Every row counts the same,
    whatever its seeds. Each has its own 95 % interval. With one seed a row the spread is that of
    the pool's other cells or, where no cell has two, of the interactions of three and more.

    Returns term, level, effect, low and high, a row an effect: none where nothing is crossed, or a
    row has no result.
    """
    crossed, columns = factors(study), ["term", "level", "effect", "low", "high"]
    groups = [np.asarray(study.errors(row)) for row in study.varied]
    if not crossed or not all(map(len, groups)):
        return pd.DataFrame(columns=columns)
    rows = [
        (" x ".join(term), ", ".join(levels), weights(study, dict(zip(term, levels, strict=True))))
        for size in (1, 2)
        for term in combinations(crossed, size)
        for levels in product(*(crossed[name] for name in term))
    ]
    means = np.array([group.mean() for group in groups])
    spread = study.pool.spread
    if not spread.is_known:
        spread = _high_order(np.array([weight for *_, weight in rows]), means)
    found = []
    for term, level, weight in rows:
        one = contrast(groups, weight, spread)
        found.append((term, level, one.estimate, one.low, one.high))
    return pd.DataFrame(found, columns=columns)


def _high_order(weights: np.ndarray, means: np.ndarray) -> Spread:
    """Returns the variance of (rows,) means that the effects, (effects, rows), do not explain.

    The interactions of three and more choices: what is random where they do not exist, and more
    than that where they do.
    """
    model = np.vstack([np.ones(len(means)), weights])
    left = means - np.linalg.pinv(model) @ (model @ means)
    freedom = len(means) - int(np.linalg.matrix_rank(model))
    return Spread(float((left**2).sum() / freedom), freedom) if freedom else UNKNOWN


def weights(study: Study, levels: dict[str, str]) -> np.ndarray:
    """Returns the contrast of an effect over the varied rows: (rows,), adding up to 0.

    With shares of the rows that have the levels: of A for a main effect, minus that of all; of A
    and B for an interaction, minus those of A and of B, plus that of all.
    """
    has = {
        name: np.array([study.levels[row][name] == level for row in study.varied])
        for name, level in levels.items()
    }
    total = np.zeros(len(study.varied))
    for size in range(len(has) + 1):
        for names in combinations(has, size):
            chosen = np.logical_and.reduce([np.full(len(total), True), *(has[n] for n in names)])
            total += (-1) ** (len(has) - size) * chosen / chosen.sum()
    return total


def as_text(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    """Returns the effects as text."""
    rows = table[["effect", "low", "high"]].values.tolist()
    found = [difference_text(Difference(*row)) for row in rows]
    return pd.DataFrame({"term": table.term, "level": table.level, "effect (points)": found})


def notes(study: Study, table: pd.DataFrame) -> list[str]:
    lines = [
        "An effect is the mean test error over all rows with a level minus the mean over all rows; "
        "of two choices, what they do together beyond the sum of both.",
    ]
    if table.low.notna().any():
        beyond = int(((table.low > 0) | (table.high < 0)).sum())
        lines.append(
            f"{beyond} of {len(table)} intervals leave out 0; if nothing had an effect, "
            f"{CHANCE * len(table):.1f} would, by chance."
        )
    if not study.pool.spread.is_known:
        lines.append("One seed a cell: the spread is that of the interactions of three and more.")
    if lost := sum(map(study.lost, study.varied)):
        lines.append(f"{lost} runs have no result, and are in no mean.")
    if study.asked.demonstration:
        lines.append("A DEMONSTRATION: rank nothing by it.")
    return lines
