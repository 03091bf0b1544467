"""Computes intervals and comparisons of means, from numbers alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

ROUNDING = 1e-9  # values that lie no further apart are the same: 0.3 - 0.1 is not 0.2
PRIOR = 8.0  # d0, fixed before the comparisons: the pool counts as so many degrees of freedom
LEVEL = 0.95
TUNED = 10.0  # n* of the boundary: it is narrowest, for its level, near so many seeds
Values = Sequence[float] | np.ndarray  # (n,)


@dataclass(frozen=True)
class Difference:
    """Holds a contrast of means, its interval, and the p-value of "it is 0"; NaN if not known."""

    estimate: float
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan

    @property
    def leaves_out_zero(self) -> bool:
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Spread:
    """Holds a variance of single values within cells, and its degrees of freedom."""

    variance: float
    freedom: float

    @property
    def is_known(self) -> bool:
        return self.variance > ROUNDING**2

    @property
    def deviation(self) -> float:
        return math.sqrt(self.variance) if self.is_known else math.nan


UNKNOWN = Spread(math.nan, 0.0)


def interval(values: Values, level: float = LEVEL) -> tuple[float, float]:
    """Returns (mean, half-width) of Student's interval for the mean of (n,) values.

    The half-width is NaN for a single value, and for values that are all the same: one seed has no
    interval, and a tie is no certainty.
    """
    some = np.asarray(values, dtype=float)
    n = len(some)
    if n < 2 or not vary(some):
        return (float(some.mean()) if n else math.nan), math.nan
    half = stats.t.ppf((1 + level) / 2, n - 1) * some.std(ddof=1) / math.sqrt(n)
    return float(some.mean()), float(half)


def vary(values: np.ndarray) -> bool:
    """Tells whether (n,) values differ by more than rounding."""
    return bool(np.ptp(values) > ROUNDING)


def prediction(values: Values, level: float = LEVEL) -> tuple[float, float]:
    """Returns (low, high): one more value, drawn as (n,) others, lies there with this probability.

    mean -+ t s sqrt(1 + 1/n), with Student's t of n - 1. NaN for less than two values, and for
    values that are all the same.
    """
    mean, half = interval(values, level)
    reach = half * math.sqrt(len(values) + 1)
    return mean - reach, mean + reach


# -- the one interval: moderated variances ----------------------------------------------------


def pool(groups: Sequence[Values]) -> Spread:
    """Pools the variances within (n_i,) values: sum of squares over sum of n_i - 1."""
    arrays = [np.asarray(group, dtype=float) for group in groups if len(group) > 1]
    freedom = sum(len(array) - 1 for array in arrays)
    if not freedom:
        return UNKNOWN
    return Spread(float(sum(((a - a.mean()) ** 2).sum() for a in arrays) / freedom), freedom)


def moderate(values: Values, pooled: Spread, prior: float = PRIOR) -> Spread:
    """Draws the variance of (n,) values towards the pool's: (d0 s_pool^2 + (n-1) s^2)/(d0 + n-1).

    `prior` is d0: 0 leaves the values' own variance, infinity the pool's. As in Smyth (2004), but
    with a d0 that was fixed beforehand. The degrees of freedom are d0 + n - 1.
    """
    some = np.asarray(values, dtype=float)
    own = max(len(some) - 1, 0)
    squares = float(((some - some.mean()) ** 2).sum()) if own and vary(some) else 0.0
    if math.isinf(prior):
        return Spread(pooled.variance, math.inf)
    if not prior + own:
        return UNKNOWN
    shared = prior * pooled.variance if prior else 0.0
    return Spread((shared + squares) / (prior + own), prior + own)


def contrast(
    groups: Sequence[Values],
    weights: Values,
    pooled: Spread | Sequence[Spread],
    level: float = LEVEL,
    prior: float = PRIOR,
    is_watched: bool = False,
) -> Difference:
    """Computes a weighted sum of means, with its interval by moderated variances.

    se^2 = sum w_i^2 s~_i^2 / n_i, with Satterthwaite's degrees of freedom, no more than the pools'.

    Args:
        groups: (k,) cells of (n_i,) values each.
        weights: (k,) of their means: 1 and -1 for a difference of two.
        pooled: from `pool`, over all cells of which these are some; or one for each of them.
        level: of the interval.
        prior: as in `moderate`.
        is_watched: the number of values was chosen by looking at them: the interval is `boundary`
            wide, which holds however often one looks.

    Returns:
        Without an interval where the spread is not known; NaN where a cell has no value.
    """
    arrays = [np.asarray(group, dtype=float) for group in groups]
    if not all(map(len, arrays)):
        return Difference(math.nan)
    estimate = float(sum(w * a.mean() for w, a in zip(weights, arrays, strict=True)))
    pools = [pooled] * len(arrays) if isinstance(pooled, Spread) else pooled
    if not all(one.is_known for one in pools):
        return Difference(estimate)
    spreads = [moderate(a, one, prior) for a, one in zip(arrays, pools, strict=True)]
    counts = np.array([len(array) for array in arrays], dtype=float)
    shares = np.square(weights) / counts
    if not all(s.freedom > 0 for s in spreads):
        return Difference(estimate)
    parts = shares * [s.variance for s in spreads]
    error = math.sqrt(parts.sum())
    if not error > ROUNDING:
        return Difference(estimate)
    own = sum(p**2 / s.freedom for p, s in zip(parts, spreads, strict=True))
    most = sum(one.freedom for one in set(pools))
    freedom = min(parts.sum() ** 2 / own if own else math.inf, most)
    tail = (1 - level) / 2
    if is_watched:
        n = float(np.square(weights).sum() / shares.sum())  # of a pair: 2 n_a n_b / (n_a + n_b)
        tail = float(stats.norm.sf(boundary(n, 1 - level)))
    half = float(stats.t.isf(tail, freedom)) * error
    p = 2 * float(stats.t.sf(abs(estimate) / error, freedom))
    return Difference(estimate, estimate - half, estimate + half, math.nan if is_watched else p)


def boundary(n: float, alpha: float = 1 - LEVEL) -> float:
    """Returns how many standard errors from 0 a mean of n values may lie, however often one looks.

    A normal mixture (Robbins 1970): with probability 1 - alpha no n from 1 on lies beyond
    sqrt((n + eta) / n * ln((n + eta) / (eta alpha^2))); eta makes it narrowest near TUNED.
    """
    eta = TUNED / (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha)))
    return math.sqrt((n + eta) / n * math.log((n + eta) / (eta * alpha**2)))


def diverges_more(lost: int, ended: int, lost_there: int, ended_there: int) -> bool:
    """Tells by Fisher's exact test at 5 % (two-sided) whether more runs diverge than elsewhere."""
    if lost * (lost_there + ended_there) <= lost_there * (lost + ended):
        return False
    _, p = stats.fisher_exact([[lost, ended], [lost_there, ended_there]])
    return bool(p < 1 - LEVEL)  # type: ignore[operator]  # scipy says `object`


def trend(levels: Mapping[Any, float]) -> dict[Any, float]:
    """Returns the weights of a least-squares slope: row -> weight, for means at these positions."""
    middle = sum(levels.values()) / len(levels)
    squares = sum((x - middle) ** 2 for x in levels.values())
    return {row: (x - middle) / squares for row, x in levels.items()}
