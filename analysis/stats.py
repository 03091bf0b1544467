"""Intervals, comparisons, and what a number of seeds can see. Pure functions of numbers."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

MOST_SEEDS = 10_000
ROUNDING = 1e-9  # values that lie no further apart are the same: 0.3 - 0.1 is not 0.2


@dataclass(frozen=True)
class Difference:
    """Of two means, with its interval and the p-value of "there is none"; NaN where not known."""

    estimate: float
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
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
    """Whether (n,) values differ by more than rounding."""
    return bool(np.ptp(values) > ROUNDING)


def prediction(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """(low, high) that one more value, drawn as (n,) others were, lies in with this probability.

    mean -+ t s sqrt(1 + 1/n), with Student's t of n - 1. NaN for less than two values, and for
    values that are all the same.
    """
    values = np.asarray(values, dtype=float)
    mean, half = interval(values, level)
    reach = half * math.sqrt(len(values) + 1)
    return mean - reach, mean + reach


def difference(
    values: Sequence[float], reference: Sequence[float], level: float = 0.95
) -> Difference:
    """Mean of (n,) values minus the mean of (m,) others, unpaired, by Welch's t-test.

    The interval is not known where one of them has less than two values, or neither varies.
    """
    a, b = np.asarray(values, dtype=float), np.asarray(reference, dtype=float)
    if not len(a) or not len(b):
        return Difference(math.nan)
    estimate = float(a.mean() - b.mean())
    if min(len(a), len(b)) < 2 or not (vary(a) or vary(b)):
        return Difference(estimate)
    with warnings.catch_warnings():  # that one of them does not vary is no loss of precision
        warnings.simplefilter("ignore", RuntimeWarning)
        test = stats.ttest_ind(a, b, equal_var=False)
    low, high = test.confidence_interval(level)
    return Difference(estimate, float(low), float(high), float(test.pvalue))


def compare(
    groups: Mapping[str, Sequence[float]], reference: Sequence[float], level: float = 0.95
) -> dict[str, Difference]:
    """Each group's mean minus the reference's, by Dunnett's test (1955).

    The intervals hold together with probability `level`, however many groups there are. A group of
    less than two values, or a reference of less than two, has no interval.
    """
    plain = {name: Difference(difference(g, reference).estimate) for name, g in groups.items()}
    many = {name: np.asarray(g, dtype=float) for name, g in groups.items() if len(g) > 1}
    reference = np.asarray(reference, dtype=float)
    if not many or len(reference) < 2 or not any(map(vary, [*many.values(), reference])):
        return plain
    # The p-value is an integral over random points: the same ones on every rebuild.
    test = stats.dunnett(*many.values(), control=reference, rng=np.random.default_rng(0))
    bounds = test.confidence_interval(level)
    found = zip(many, bounds.low, bounds.high, test.pvalue, strict=True)
    return plain | {
        name: Difference(plain[name].estimate, float(low), float(high), float(p))
        for name, low, high, p in found
    }


def alike(values: Sequence[float], reference: Sequence[float], margin: float) -> bool:
    """Whether two one-sided t-tests at 5 % find two means less than `margin` apart."""
    found = difference(values, reference, level=0.90)
    return -margin < found.low and found.high < margin


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


def seeds_for_difference(true: float, spread: float, power: float = 0.8) -> int:
    """How many seeds on each side a t-test needs to find a true difference with this power."""
    return fewest(lambda n: smallest_difference(spread, n, power) <= true)


def seeds_for_likeness(margin: float, spread: float, power: float = 0.8) -> int:
    """How many it takes to show that two equal networks lie within `margin` (`alike`)."""

    def chance(n: int) -> float:
        freedom, error = 2 * n - 2, spread * math.sqrt(2 / n)
        limit = float(stats.t.ppf(0.95, freedom))
        return 1 - 2 * float(stats.nct.cdf(limit, freedom, margin / error))

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
