"""Computes which differences a number of seeds can show, and how many seeds one needs."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from scipy import optimize, stats

from analysis.statistics.stats import LEVEL, PRIOR, boundary

MOST_SEEDS = 10_000


@dataclass(frozen=True)
class Plan:
    """Describes a comparison of two cells that is to be made by the interval of `contrast`.

    spread      standard deviation of a single value, the same in all cells
    cells       of the pool, with as many values each; infinity where the pool is large
    is_watched  the interval is `boundary` wide, as the number of values is chosen by looking
    """

    spread: float
    cells: float = math.inf
    is_watched: bool = False

    def freedom(self, n: int) -> float:
        """Returns the degrees of freedom with n values on each side."""
        own = 2 * (PRIOR + n - 1)
        return own if n < 2 else min(own, self.cells * (n - 1))

    def limit(self, n: int, alpha: float) -> float:
        """Returns how many standard errors the interval of 1 - alpha reaches to each side."""
        tail = float(stats.norm.sf(boundary(n, alpha))) if self.is_watched else alpha / 2
        return float(stats.t.isf(tail, self.freedom(n)))


def smallest_difference(plan: Plan, n: int, power: float = 0.8, alpha: float = 1 - LEVEL) -> float:
    """Computes the true difference of two means that n against n find with this power."""
    error, limit = plan.spread * math.sqrt(2 / n), plan.limit(n, alpha)

    def lacking(shift: float) -> float:
        return float(stats.ncf.sf(limit**2, 1, plan.freedom(n), shift**2)) - power

    return error * float(optimize.root_scalar(lacking, bracket=(1e-6, 1e4)).root)


def seeds_for_difference(true: float, plan: Plan, power: float = 0.8) -> int:
    """Returns how many seeds on each side find a true difference with this power."""
    return fewest(lambda n: smallest_difference(plan, n, power) <= true)


def seeds_for_likeness(margin: float, plan: Plan, power: float = 0.8) -> int:
    """Returns how many seeds show with this power that two equal networks are within `margin`."""

    def chance(n: int) -> float:
        error = plan.spread * math.sqrt(2 / n)
        limit = plan.limit(n, 2 * (1 - LEVEL))
        return 1 - 2 * float(stats.nct.cdf(limit, plan.freedom(n), margin / error))

    return fewest(lambda n: chance(n) >= power)


def fewest(is_enough: Callable[[int], bool]) -> int:
    """Finds the smallest n from 2 on that is enough, where every larger one is, too."""
    high = 2
    while not is_enough(high) and high < MOST_SEEDS:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def sampling_difference(error: float, images: int, level: float = LEVEL) -> float:
    """Computes how far apart the choice of test images alone can put two equally good networks.

    In points; `error` in %, measured on `images` images: two independent binomial shares. Networks
    that are tested on the same images lie closer, so this is an upper bound.
    """
    share = error / 100
    deviation = 100 * math.sqrt(2 * share * (1 - share) / images)
    return float(stats.norm.ppf((1 + level) / 2)) * deviation
