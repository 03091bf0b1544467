"""Simulates what verdicts of a fixed number of seeds get wrong, and what they find."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from analysis.statistics.comparisons import word
from analysis.statistics.contrasts import Comparison
from analysis.statistics.pool import Pool
from analysis.statistics.stats import PRIOR
from benchmarks.simulated import CONTROL, KINDS, MARGIN, SHIFTS, Draw, cells

SEEDS = (3, 5, 10)
PRIORS = (0.0, 4.0, PRIOR, 16.0, math.inf)
HEAD = (
    "spreads", "seeds",
    "different: SE − plain", "better: SE − plain", "different: three blind − plain",
    "different: SE − three blind",
    f"alike at {MARGIN:g} points", *(f"found {shift:g} points" for shift in SHIFTS), "alike at 0",
)  # fmt: skip


def words(
    random: np.random.Generator,
    draw: Draw,
    n: int,
    studies: int,
    shifts: Sequence[float] = (0.0,),
    comparisons: Sequence[Comparison] = CONTROL,
) -> dict[tuple[float, str], Counter]:
    """Counts the words that comparisons get in so many studies, with n seeds of each cell.

    Returns (shift, name of a comparison) -> word -> how often. The other rows lie `shifts` points
    below the reference: the same draws for each.
    """
    found = {(shift, one.name): Counter() for shift in shifts for one in comparisons}
    for _ in range(studies):
        drawn = draw(random, n)
        for shift in shifts:
            pool = Pool(cells(drawn, [n] * len(drawn), shift))
            for one in comparisons:
                found[shift, one.name][word(pool, one.weights(), MARGIN)] += 1
    return found


def share(counts: Counter, *kinds: str) -> float:
    """Returns the share of the words that have one of these in them: "better", "alike", ...

    "better, within the margin" is "better" and, as likeness was shown, "within the margin".
    """
    return sum(n for found, n in counts.items() if any(k in found for k in kinds)) / counts.total()


def error_rows(studies: int) -> list[list[str]]:
    """Returns a row for each kind of spreads and number of seeds, with the columns of HEAD."""
    se, blind, seeing = (one.name for one in CONTROL)
    rows = []
    for number, (kind, draw) in enumerate(KINDS.items()):
        for n in SEEDS:
            found = words(np.random.default_rng([number, n]), draw, n, studies, (0.0, *SHIFTS))
            shares = [
                share(found[0.0, se], "better", "worse"),
                share(found[0.0, se], "better"),
                share(found[0.0, blind], "better", "worse"),
                share(found[0.0, seeing], "better", "worse"),
                share(found[MARGIN, se], "alike", "within the margin"),
                *(share(found[shift, se], "better") for shift in SHIFTS),
                share(found[0.0, se], "alike", "within the margin"),
            ]
            rows.append([kind, f"{n}", *(f"{100 * x:.1f} %" for x in shares)])
    return rows


def prior_rows(studies: int, n: int = 3) -> list[list[str]]:
    """Counts for each d0 how often a comparison is called different at 0, and found at 1.3."""
    weights, rows = CONTROL[0].weights(), []
    for number, (kind, draw) in enumerate(KINDS.items()):
        random, counts = np.random.default_rng([number, n]), np.zeros((len(PRIORS), 2))
        for _ in range(studies):
            drawn = draw(random, n)
            for k, shift in enumerate((0.0, SHIFTS[0])):
                pool = Pool(cells(drawn, [n] * len(drawn), shift))
                for i, prior in enumerate(PRIORS):
                    counts[i, k] += pool.contrast(weights, prior=prior).leaves_out_zero
        rows.append([kind, *(f"{a:.1f} %, {b:.1f} %" for a, b in 100 * counts / studies)])
    return rows
