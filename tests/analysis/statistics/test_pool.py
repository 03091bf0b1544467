"""All cells of a group, against scipy: one spread, and what follows from it."""

import math

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.pool import Pool
from analysis.statistics.stats import pool
from analysis.tables.study import PRIORS

CELLS = {"a": [4.0, 5.0, 6.0], "b": [1.0, 3.0, 5.0], "c": [2.0], "d": [7.0, 7.5], "none": []}
POOL = Pool(CELLS)
VARIANCE = (2 * 1 + 2 * 4 + 1 * 0.125) / 5  # of a, b and d; their degrees of freedom are 5


def moderated(cell: str) -> float:
    """The variance of a cell's mean, with d0 = 8."""
    values, n = CELLS[cell], len(CELLS[cell])
    own = np.var(values, ddof=1) if n > 1 else 0
    return (8 * VARIANCE + (n - 1) * own) / (8 + n - 1) / n


def test_the_spread_is_that_within_cells():
    assert POOL.spread.variance == pytest.approx(VARIANCE) and POOL.spread.freedom == 5
    assert POOL.spread.deviation == pytest.approx(math.sqrt(VARIANCE))


@pytest.mark.parametrize("cell", ["a", "b", "c", "d"])
def test_a_mean_has_the_half_width_of_its_moderated_variance(cell):
    half = stats.t.ppf(0.975, 5) * math.sqrt(moderated(cell))  # capped at the pool's 5
    assert POOL.mean(cell) == pytest.approx((np.mean(CELLS[cell]), half))


def test_a_difference_is_the_first_minus_the_second():
    found = POOL.difference("a", "b")
    error = math.sqrt(moderated("a") + moderated("b"))
    half = stats.t.ppf(0.975, 5) * error
    assert (found.estimate, found.low, found.high) == pytest.approx((2, 2 - half, 2 + half))
    assert found.p == pytest.approx(2 * stats.t.sf(2 / error, 5))


def test_a_cell_without_values_and_one_that_is_not_there_have_no_mean():
    for cell in ("none", "elsewhere"):
        assert all(map(math.isnan, POOL.mean(cell)))
        assert math.isnan(POOL.difference("a", cell).estimate)
        assert not POOL.is_wide(cell)


def test_a_cell_that_is_watched_has_the_wider_interval_and_no_p():
    watched = Pool(CELLS, frozenset("a"))
    assert watched.difference("a", "b").high > POOL.difference("a", "b").high
    assert math.isnan(watched.difference("b", "a").p)
    assert watched.difference("b", "d") == POOL.difference("b", "d")


def test_alike_are_two_whose_difference_two_one_sided_tests_put_within_the_margin():
    error, freedom = math.sqrt(moderated("a") + moderated("b")), 5
    for margin in np.arange(0, 8, 0.05):
        sides = [
            stats.t.sf((margin - 2) / error, freedom),
            stats.t.sf((margin + 2) / error, freedom),
        ]
        for weights in ({"a": 1.0, "b": -1.0}, {"b": 1.0, "a": -1.0}):
            assert POOL.is_alike(weights, margin) == (max(sides) < 0.05)
    assert not POOL.is_alike({"a": 1.0, "none": -1.0}, 1e9)


@pytest.mark.parametrize(("times", "is_wide"), [(3.9, False), (4.1, True)])
def test_a_cell_is_wide_from_four_times_the_pools_variance_on(times, is_wide):
    """One of `n` cells of two values, whose own variance is in the pool, too."""
    n = 40
    own = times * (n - 1) / (n - times)  # of a pool in which the others have 1
    values = {f"cell {k}": [0, math.sqrt(2)] for k in range(n - 1)}
    pool = Pool(values | {"wide": [0, math.sqrt(2 * own)], "one": [5.0]})
    assert own / pool.spread.variance == pytest.approx(times)
    assert pool.is_wide("wide") == is_wide
    assert not pool.is_wide("cell 0") and not pool.is_wide("one")


def test_the_other_priors_are_welchs_and_half_and_twice_ours():
    assert list(PRIORS.values()) == [0, 8 / 2, 8 * 2]


def test_a_spread_is_known_unless_the_numbers_tie_but_for_rounding():
    assert pool([[1.0, 1.0 + 1e-5], [2.0]]).is_known
    assert not pool([[1.0, 1.0 + 1e-12], [2.0]]).is_known
    assert not pool([[1.0], [2.0]]).is_known
