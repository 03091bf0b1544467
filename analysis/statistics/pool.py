"""Compares means of cells: a pool has all cells of one data set, network and recipe.

A cell is in it once, however many studies share it, so that a pair of cells has one difference and
one interval wherever it stands.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from analysis.statistics.seeds import Plan
from analysis.statistics.stats import LEVEL, PRIOR, UNKNOWN, Difference, Spread, contrast, pool

WIDE = 4.0  # times the pool's variance: such a cell is marked
Weights = Mapping[str, float]  # cell -> weight of its mean


@dataclass(frozen=True)
class Pool:
    """Holds what was measured in each cell of a group.

    values   cell -> a number a run: of the test error, or of another measure
    watched  the cells whose number of seeds was chosen by looking at their results
    steps    cell -> how long it was trained: only cells that were trained alike share a variance
    """

    values: Mapping[str, Sequence[float]]
    watched: frozenset[str] = frozenset()
    steps: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def spread(self) -> Spread:
        """Returns the variance within cells, pooled over all of them."""
        return pool(list(self.values.values()))

    @cached_property
    def spreads(self) -> Mapping[int | None, Spread]:
        """Returns steps -> pooled variance within the cells that were trained that long."""
        alike: dict[int | None, list[Sequence[float]]] = {}
        for cell, values in self.values.items():
            alike.setdefault(self.steps.get(cell), []).append(values)
        return {steps: pool(some) for steps, some in alike.items()}

    def spread_of(self, cell: str) -> Spread:
        """Returns the variance of the cells that were trained as long as this one."""
        return self.spreads.get(self.steps.get(cell), UNKNOWN)

    @property
    def plan(self) -> Plan:
        """Returns a plan that says what more seeds in each of the cells could show."""
        return Plan(self.spread.deviation, sum(map(bool, map(len, self.values.values()))))

    def contrast(self, weights: Weights, level: float = LEVEL, prior: float = PRIOR) -> Difference:
        """Computes a weighted sum of the cells' means, with the interval used everywhere."""
        groups = [self.values.get(cell, ()) for cell in weights]
        is_watched = not self.watched.isdisjoint(weights)
        spreads = [self.spread_of(cell) for cell in weights]
        return contrast(groups, list(weights.values()), spreads, level, prior, is_watched)

    def difference(self, cell: str, reference: str, **more) -> Difference:
        """Computes a cell's mean minus another's."""
        return self.contrast({cell: 1.0, reference: -1.0}, **more)

    def mean(self, cell: str) -> tuple[float, float]:
        """Returns (mean, half-width of its 95 % interval) of a cell; NaN where not known."""
        found = self.contrast({cell: 1.0})
        return found.estimate, (found.high - found.low) / 2

    def is_alike(self, weights: Weights, margin: float) -> bool:
        """Tells whether two one-sided tests at 5 % find the contrast within -+ `margin`."""
        found = self.contrast(weights, level=2 * LEVEL - 1)
        return -margin < found.low and found.high < margin

    def is_wide(self, cell: str) -> bool:
        """Tells whether a cell's own variance is over WIDE times the pool's."""
        values = self.values.get(cell, ())
        return len(values) > 1 and bool(
            np.var(values, ddof=1) > WIDE * self.spread_of(cell).variance
        )
