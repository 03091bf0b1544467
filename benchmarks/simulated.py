"""Draws test errors of networks that do not differ, for simulations of the verdicts.

The cells are those of the kept records that were seen before the rule was changed: the five rows of
`control` first, then what only the pool sees.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.statistics.comparisons import MARGINS
from analysis.statistics.contrasts import read_contrasts
from analysis.statistics.stats import pool

RUNS = Path(__file__).parents[1] / "results" / "published" / "runs.csv"
REFERENCE = "no SE"
ROWS = (REFERENCE, "SE", "gate fixed at 1/2", "static gate", "squeeze of another image")
CONTROL = tuple(one for one in read_contrasts().comparisons if one.grid == "control")
MARGIN = MARGINS["cifar10"]
SHIFTS = (1.3, 0.5)  # points; the second one is the margin

Draw = Callable[[np.random.Generator, int], np.ndarray]  # n -> (cells, n) test errors around 0


@cache
def kept() -> np.ndarray:
    """Returns (cells, seeds) test errors of the kept records in points, those of ROWS first."""
    table, group = pd.read_csv(RUNS), read_contrasts().groups.exploratory
    table = table[(table[["dataset", "network", "recipe"]] == list(group)).all(axis=1)]
    cells = [
        (place(some["rows"].iloc[0]), list(some.test_error)) for _, some in table.groupby("id")
    ]
    return np.array([errors for _, errors in sorted(cells, key=lambda cell: cell[0])])


def place(rows: str) -> int:
    """Returns the place of a cell in the order of ROWS, by what `runs.csv` says of its rows."""
    found = re.search(r"control-[^:]*: ([^;]+)", rows)
    return ROWS.index(found[1]) if found and found[1] in ROWS else len(ROWS)


SPREAD = pool(list(kept())).deviation  # of one seed, pooled over all cells
CELLS = len(kept())


def normal(spreads: np.ndarray) -> Draw:
    """Returns a function that draws from normal distributions with these (cells,) deviations."""
    return lambda random, n: random.normal(0, spreads[:, None], (len(spreads), n))


def times(factor: float) -> np.ndarray:
    """Returns (cells,) standard deviations, the reference's so many times the others'."""
    return SPREAD * np.array([factor, *np.ones(CELLS - 1)])


def residuals() -> np.ndarray:
    """Returns (cells, seeds) of the kept records minus their cells' means, scaled to single errors.

    Around its own mean, n values lie sqrt(1 - 1/n) times as far as around the true one.
    """
    errors = kept()
    return (errors - errors.mean(1, keepdims=True)) / np.sqrt(1 - 1 / errors.shape[1])


def resampled(random: np.random.Generator, n: int) -> np.ndarray:
    return random.choice(residuals().ravel(), (CELLS, n))


def resampled_by_cell(random: np.random.Generator, n: int) -> np.ndarray:
    own = residuals()
    return np.take_along_axis(own, random.integers(0, own.shape[1], (CELLS, n)), axis=1)


OBSERVED = kept().std(axis=1, ddof=1)
KINDS: dict[str, Draw] = {
    "equal spreads": normal(times(1)),
    "the observed spreads": normal(OBSERVED),
    "residuals of all rows": resampled,
    "residuals of each row": resampled_by_cell,
    "a reference that spreads 1.4 times as much": normal(times(1.4)),
    "a reference that spreads twice as much": normal(times(2)),
}


def cells(draws: np.ndarray, counts: Sequence[int], shift: float = 0.0) -> dict[str, np.ndarray]:
    """Returns name of a cell -> its first values; all rows but the reference are `shift` lower.

    `counts`, (cells,), says how many of the draws, (cells, n), are taken of each cell.
    """
    names = [*ROWS, *map(str, range(len(draws) - len(ROWS)))]
    below = dict.fromkeys(ROWS[1:], shift)
    return {
        name: draw[:count] - below.get(name, 0.0)
        for name, draw, count in zip(names, draws, counts, strict=True)
    }
