"""Intervals, and what a number of seeds can see. Pure functions of numbers."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import optimize, stats


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """(mean, half-width) of Student's interval for the mean of (n,) values.

    The half-width is NaN for a single value: one seed has no interval.
    """
    values = np.asarray(values, dtype=float)
    n = len(values)
    if n < 2:
        return (float(values.mean()) if n else math.nan), math.nan
    half = stats.t.ppf((1 + level) / 2, n - 1) * values.std(ddof=1) / math.sqrt(n)
    return float(values.mean()), float(half)


def smallest_difference(spread: float, n: int, power: float = 0.8, alpha: float = 0.05) -> float:
    """The true difference of two means that a t-test of n against n finds with this power.

    Args:
        spread: standard deviation of a single value.
        n: values on each side; for n = 1 the spread is taken as known (a z-test).
    """
    error = spread * math.sqrt(2 / n)  # of the difference
    if n == 1:
        return error * float(stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power))
    freedom = 2 * n - 2
    limit = stats.f.ppf(1 - alpha, 1, freedom)  # of t squared

    def lacking(shift: float) -> float:
        return float(stats.ncf.sf(limit, 1, freedom, shift**2)) - power

    return error * float(optimize.brentq(lacking, 1e-6, 20.0))


def sampling_difference(error: float, images: int, level: float = 0.95) -> float:
    """How far two equally good networks lie apart by the choice of the test images alone.

    In points; `error` in %, measured on `images` images: two independent binomial shares. Networks
    that are tested on the same images lie closer, so this is an upper bound.
    """
    share = error / 100
    deviation = 100 * math.sqrt(2 * share * (1 - share) / images)
    return float(stats.norm.ppf((1 + level) / 2)) * deviation


def pooled_spread(groups: Sequence[Sequence[float]]) -> float:
    """Standard deviation within groups of values; NaN where no group has two."""
    groups = [np.asarray(group, dtype=float) for group in groups if len(group) > 1]
    freedom = sum(len(group) - 1 for group in groups)
    if not freedom:
        return math.nan
    return math.sqrt(sum(((g - g.mean()) ** 2).sum() for g in groups) / freedom)
