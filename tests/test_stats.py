"""Statistics, against scipy and simulations."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from analysis import stats

numbers = st.floats(0, 100, allow_subnormal=False)


@given(st.lists(numbers, min_size=2, max_size=20), st.sampled_from([0.5, 0.9, 0.95]))
def test_the_interval_is_scipys(values, level):
    mean, half = stats.interval(values, level)
    result = scipy_stats.ttest_1samp(values, 0) if np.std(values) > 1e-9 else None
    if result is not None:
        low, high = result.confidence_interval(level)
        assert (mean - half, mean + half) == pytest.approx((low, high), rel=1e-6, abs=1e-9)
    else:
        assert half == pytest.approx(0, abs=1e-6)


def test_one_seed_has_no_interval():
    mean, half = stats.interval([7.5])
    assert mean == 7.5 and math.isnan(half)
    assert all(map(math.isnan, stats.interval([])))


def test_three_seeds_by_hand():
    # mean 5, standard deviation 1, t(0.975, 2) = 4.3027
    assert stats.interval([4, 5, 6]) == pytest.approx((5, 4.3027 / math.sqrt(3)), rel=1e-4)


@pytest.mark.parametrize("n", [2, 3, 10])
def test_the_smallest_difference_is_found_with_the_power_it_states(n):
    random = np.random.default_rng(n)
    shift = stats.smallest_difference(0.2, n)
    a, b = random.normal(0, 0.2, (2, 20_000, n))
    p = scipy_stats.ttest_ind(a, b + shift, axis=1).pvalue
    assert np.mean(p < 0.05) == pytest.approx(0.8, abs=0.015)


def test_what_seeds_can_see_agrees_with_the_textbook():
    assert stats.smallest_difference(0.2, 3) == pytest.approx(0.6, abs=0.1)
    assert stats.smallest_difference(0.2, 10) == pytest.approx(0.27, abs=0.02)
    assert stats.smallest_difference(1.0, 1) == pytest.approx(2.8016 * math.sqrt(2), rel=1e-3)


def test_test_images_alone_move_a_difference():
    random = np.random.default_rng(0)
    wrong = random.binomial(10_000, 0.3, (2, 20_000)) / 100
    spread = np.quantile(abs(wrong[0] - wrong[1]), 0.95)
    assert stats.sampling_difference(30, 10_000) == pytest.approx(spread, rel=0.03)


def test_the_pooled_spread_is_within_groups():
    assert stats.pooled_spread([[1, 2, 3], [11, 12, 13], [5]]) == pytest.approx(1)
    assert math.isnan(stats.pooled_spread([[1], [2]]))
