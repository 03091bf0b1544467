"""Intervals, comparisons, and what a number of seeds can see. Pure functions of numbers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize, stats

MOST_SEEDS = 10_000
ROUNDING = 1e-9  # values that lie no further apart are the same: 0.3 - 0.1 is not 0.2
PRIOR = 8.0  # d0, fixed before the comparisons: the pool counts as so many degrees of freedom
LEVEL = 0.95
TUNED = 10.0  # n* of the boundary: it is narrowest, for its level, near so many seeds


@dataclass(frozen=True)
class Difference:
    """A contrast of means, with its interval and the p-value of "it is 0"; NaN where not known."""

    estimate: float
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan

    @property
    def leaves_out_zero(self) -> bool:
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Spread:
    """A variance of single values within cells, and its degrees of freedom."""

    variance: float
    freedom: float

    @property
    def is_known(self) -> bool:
        return self.variance > ROUNDING**2

    @property
    def deviation(self) -> float:
        return math.sqrt(self.variance) if self.is_known else math.nan


UNKNOWN = Spread(math.nan, 0.0)


def interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """(mean, half-width) of Student's interval for the mean of (n,) values.

    The half-width is NaN for a single value, and for values that are all the same: one seed has no
    interval, and a tie is no certainty.
    """
    values = np.asarray(values, dtype=float)
    n = len(values)
    if n < 2 or not vary(values):
        return (float(values.mean()) if n else math.nan), math.nan
    half = stats.t.ppf((1 + level) / 2, n - 1) * values.std(ddof=1) / math.sqrt(n)
    return float(values.mean()), float(half)


def vary(values: np.ndarray) -> bool:
    """Tells whether (n,) values differ by more than rounding."""
    return bool(np.ptp(values) > ROUNDING)


def prediction(values: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """(low, high) that one more value, drawn as (n,) others were, lies in with this probability.

    mean -+ t s sqrt(1 + 1/n), with Student's t of n - 1. NaN for less than two values, and for
    values that are all the same.
    """
    values = np.asarray(values, dtype=float)
    mean, half = interval(values, level)
    reach = half * math.sqrt(len(values) + 1)
    return mean - reach, mean + reach


# -- the one interval: moderated variances ----------------------------------------------------


def pool(groups: Sequence[Sequence[float]]) -> Spread:
    """Pools the variances within (n_i,) values: sum of squares over sum of n_i - 1."""
    groups = [np.asarray(group, dtype=float) for group in groups if len(group) > 1]
    freedom = sum(len(group) - 1 for group in groups)
    if not freedom:
        return UNKNOWN
    return Spread(float(sum(((g - g.mean()) ** 2).sum() for g in groups) / freedom), freedom)


def moderate(values: Sequence[float], pooled: Spread, prior: float = PRIOR) -> Spread:
    """Draws the variance of (n,) values towards the pool's: (d0 s_pool^2 + (n-1) s^2)/(d0 + n-1).

    `prior` is d0: 0 leaves the values' own variance, infinity the pool's. As in Smyth (2004), but
    with a d0 that was fixed beforehand. The degrees of freedom are d0 + n - 1.
    """
    values = np.asarray(values, dtype=float)
    own = max(len(values) - 1, 0)
    squares = float(((values - values.mean()) ** 2).sum()) if own and vary(values) else 0.0
    if math.isinf(prior):
        return Spread(pooled.variance, math.inf)
    if not prior + own:
        return UNKNOWN
    shared = prior * pooled.variance if prior else 0.0
    return Spread((shared + squares) / (prior + own), prior + own)


def contrast(
    groups: Sequence[Sequence[float]],
    weights: Sequence[float],
    pooled: Spread | Sequence[Spread],
    level: float = LEVEL,
    prior: float = PRIOR,
    is_watched: bool = False,
) -> Difference:
    """A weighted sum of means, with its interval by moderated variances.

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
    groups = [np.asarray(group, dtype=float) for group in groups]
    if not all(map(len, groups)):
        return Difference(math.nan)
    estimate = float(sum(w * g.mean() for w, g in zip(weights, groups, strict=True)))
    pools = [pooled] * len(groups) if isinstance(pooled, Spread) else pooled
    if not all(one.is_known for one in pools):
        return Difference(estimate)
    spreads = [moderate(g, one, prior) for g, one in zip(groups, pools, strict=True)]
    counts = np.array([len(group) for group in groups], dtype=float)
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


def difference(
    values: Sequence[float], reference: Sequence[float], pooled: Spread, **more
) -> Difference:
    """Mean of (n,) values minus the mean of (m,) others; `more` as for `contrast`."""
    return contrast([values, reference], [1, -1], pooled, **more)


def boundary(n: float, alpha: float = 1 - LEVEL) -> float:
    """How many standard errors from 0 a mean of n values may lie, however often one looks.

    A normal mixture (Robbins 1970): with probability 1 - alpha no n from 1 on lies beyond
    sqrt((n + eta) / n * ln((n + eta) / (eta alpha^2))); eta makes it narrowest near TUNED.
    """
    eta = TUNED / (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha)))
    return math.sqrt((n + eta) / n * math.log((n + eta) / (eta * alpha**2)))


def diverges_more(lost: int, ended: int, lost_there: int, ended_there: int) -> bool:
    """Tells by Fisher's exact test at 5 % (two-sided) whether more runs diverge than elsewhere."""
    table = [[lost, ended], [lost_there, ended_there]]
    more = lost * (lost_there + ended_there) > lost_there * (lost + ended)
    return more and float(stats.fisher_exact(table).pvalue) < 1 - LEVEL


# -- what seeds can see -----------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """A comparison of two cells that is to be made by the interval of `contrast`.

    spread      standard deviation of a single value, the same in all cells
    cells       of the pool, with as many values each; infinity where the pool is large
    is_watched  the interval is `boundary` wide, as the number of values is chosen by looking
    """

    spread: float
    cells: float = math.inf
    is_watched: bool = False

    def freedom(self, n: int) -> float:
        """Degrees of freedom with n values on each side."""
        own = 2 * (PRIOR + n - 1)
        return own if n < 2 else min(own, self.cells * (n - 1))

    def limit(self, n: int, alpha: float) -> float:
        """How many standard errors the interval of 1 - alpha reaches to each side."""
        tail = float(stats.norm.sf(boundary(n, alpha))) if self.is_watched else alpha / 2
        return float(stats.t.isf(tail, self.freedom(n)))


def smallest_difference(plan: Plan, n: int, power: float = 0.8, alpha: float = 1 - LEVEL) -> float:
    """The true difference of two means that n against n find with this power."""
    error, limit = plan.spread * math.sqrt(2 / n), plan.limit(n, alpha)

    def lacking(shift: float) -> float:
        return float(stats.ncf.sf(limit**2, 1, plan.freedom(n), shift**2)) - power

    return error * float(optimize.brentq(lacking, 1e-6, 1e4))


def seeds_for_difference(true: float, plan: Plan, power: float = 0.8) -> int:
    """How many seeds on each side it takes to find a true difference with this power."""
    return fewest(lambda n: smallest_difference(plan, n, power) <= true)


def seeds_for_likeness(margin: float, plan: Plan, power: float = 0.8) -> int:
    """How many it takes to show that two equal networks lie within `margin`."""

    def chance(n: int) -> float:
        error = plan.spread * math.sqrt(2 / n)
        limit = plan.limit(n, 2 * (1 - LEVEL))
        return 1 - 2 * float(stats.nct.cdf(limit, plan.freedom(n), margin / error))

    return fewest(lambda n: chance(n) >= power)


def fewest(is_enough) -> int:
    """The smallest n from 2 on that is enough, where every larger one is, too."""
    high = 2
    while not is_enough(high) and high < MOST_SEEDS:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def sampling_difference(error: float, images: int, level: float = LEVEL) -> float:
    """How far two equally good networks lie apart by the choice of the test images alone.

    In points; `error` in %, measured on `images` images: two independent binomial shares. Networks
    that are tested on the same images lie closer, so this is an upper bound.
    """
    share = error / 100
    deviation = 100 * math.sqrt(2 * share * (1 - share) / images)
    return float(stats.norm.ppf((1 + level) / 2)) * deviation


def pooled_spread(groups: Sequence[Sequence[float]]) -> float:
    """Standard deviation within groups of values; NaN where no group has two."""
    found = pool(groups)
    return math.sqrt(found.variance) if found.freedom else math.nan


def trend(levels: Mapping[Any, float]) -> dict[Any, float]:
    """Weights of a least-squares slope: row -> weight, for means at these positions."""
    middle = sum(levels.values()) / len(levels)
    squares = sum((x - middle) ** 2 for x in levels.values())
    return {row: (x - middle) / squares for row, x in levels.items()}
