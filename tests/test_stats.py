"""Statistics, against scipy and simulations."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from analysis import stats

numbers = st.floats(0, 100, allow_subnormal=False).map(lambda x: round(x, 2))  # as errors are


@given(st.lists(numbers, min_size=2, max_size=20), st.sampled_from([0.5, 0.9, 0.95]))
def test_the_interval_is_scipys(values, level):
    mean, half = stats.interval(values, level)
    if np.ptp(values) == 0:  # a tie is no certainty
        assert mean == pytest.approx(values[0]) and math.isnan(half)
    else:
        low, high = scipy_stats.ttest_1samp(values, 0).confidence_interval(level)
        assert (mean - half, mean + half) == pytest.approx((low, high), rel=1e-6, abs=1e-9)


def test_one_seed_has_no_interval():
    mean, half = stats.interval([7.5])
    assert mean == 7.5 and math.isnan(half)
    assert all(map(math.isnan, stats.interval([])))


def test_a_tie_but_for_rounding_is_a_tie():
    tie = [0.2, 0.3 - 0.1]
    assert tie[0] != tie[1]
    assert math.isnan(stats.interval(tie)[1])
    assert math.isnan(stats.difference(tie, [x + 1 for x in tie]).low)
    assert math.isnan(stats.compare({"a": tie}, tie)["a"].low)


@pytest.mark.filterwarnings("error")
def test_seeds_that_tie_against_seeds_that_do_not():
    # Welch's degrees of freedom are those of the one that varies: Student's interval, shifted.
    found = stats.difference([2.0, 2.0, 2.0], [4.0, 5.0, 6.0])
    mean, half = stats.interval([4.0, 5.0, 6.0])
    expected = (2 - mean, 2 - mean - half, 2 - mean + half)
    assert (found.estimate, found.low, found.high) == pytest.approx(expected)


def test_three_seeds_by_hand():
    # mean 5, standard deviation 1, t(0.975, 2) = 4.3027
    assert stats.interval([4, 5, 6]) == pytest.approx((5, 4.3027 / math.sqrt(3)), rel=1e-4)


@given(st.lists(numbers, min_size=2, max_size=20), st.sampled_from([0.5, 0.9, 0.95]))
def test_the_prediction_interval_is_scipys(values, level):
    low, high = stats.prediction(values, level)
    n, scale = len(values), np.std(values, ddof=1) * math.sqrt(1 + 1 / len(values))
    if np.ptp(values) == 0:
        assert math.isnan(low) and math.isnan(high)
    else:
        wanted = scipy_stats.t.interval(level, n - 1, loc=np.mean(values), scale=scale)
        assert (low, high) == pytest.approx(wanted, rel=1e-6, abs=1e-9)


def test_one_seed_predicts_nothing():
    assert all(map(math.isnan, [*stats.prediction([7.5]), *stats.prediction([])]))


@pytest.mark.parametrize("n", [2, 3, 10])
def test_one_more_seed_falls_into_the_prediction_interval_as_often_as_it_says(n):
    draws = np.random.default_rng(n).normal(8, 0.2, (4000, n + 1))
    intervals = [stats.prediction(row[:n]) for row in draws]
    inside = [low < row[n] < high for (low, high), row in zip(intervals, draws, strict=True)]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.012)


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


samples = st.lists(numbers, min_size=2, max_size=12)


@given(samples, samples)
def test_a_difference_is_welchs(a, b):
    found = stats.difference(a, b)
    assert found.estimate == pytest.approx(np.mean(a) - np.mean(b), abs=1e-9)
    if np.ptp(a) == np.ptp(b) == 0:
        assert math.isnan(found.low) and math.isnan(found.p)
        return
    v, w = np.var(a, ddof=1) / len(a), np.var(b, ddof=1) / len(b)
    freedom = (v + w) ** 2 / (v**2 / (len(a) - 1) + w**2 / (len(b) - 1))  # Welch-Satterthwaite
    half = scipy_stats.t.ppf(0.975, freedom) * math.sqrt(v + w)
    assert (found.low + found.high) / 2 == pytest.approx(found.estimate, abs=1e-6)
    assert found.high - found.low == pytest.approx(2 * half, rel=1e-6, abs=1e-9)
    p = 2 * scipy_stats.t.sf(abs(found.estimate) / math.sqrt(v + w), freedom)
    assert found.p == pytest.approx(p, abs=1e-6)


def test_a_difference_without_seeds_has_no_interval():
    assert stats.difference([1.0], [2.0, 3.0]).estimate == pytest.approx(-1.5)
    assert math.isnan(stats.difference([1.0], [2.0, 3.0]).low)
    assert math.isnan(stats.difference([], [1.0]).estimate)


def test_comparisons_with_the_reference_are_dunnetts():
    """Dunnett's own example (1955, as in scipy's documentation): blood counts of two drugs."""
    control = [7.40, 8.50, 7.20, 8.24, 9.84, 8.32]
    drugs = {"a": [9.76, 8.80, 7.68, 9.36], "b": [12.80, 9.68, 12.16, 9.20, 10.55]}
    found = stats.compare(drugs, control)
    assert found["a"].p == pytest.approx(0.620, abs=0.002)
    assert found["b"].p == pytest.approx(0.0059, abs=0.0005)
    assert found["b"].estimate == pytest.approx(np.mean(drugs["b"]) - np.mean(control))
    # The intervals' half-width, from simulated studies in which nothing differs.
    random, sizes = np.random.default_rng(0), (4, 5, 6)
    groups = [random.normal(size=(100_000, n)) for n in sizes]
    within = sum(g.var(1, ddof=1) * (g.shape[1] - 1) for g in groups) / (sum(sizes) - 3)
    error = [np.sqrt(within * (1 / n + 1 / 6)) for n in sizes[:2]]
    t = [abs(g.mean(1) - groups[2].mean(1)) / e for g, e in zip(groups, error, strict=False)]
    spread = stats.pooled_spread([*drugs.values(), control])
    for name, n in zip(drugs, sizes, strict=False):
        half = np.quantile(np.maximum(*t), 0.95) * spread * math.sqrt(1 / n + 1 / 6)
        assert found[name].high - found[name].estimate == pytest.approx(half, rel=0.02)
        assert found[name].estimate - found[name].low == pytest.approx(half, rel=0.02)
    assert stats.compare(drugs, control) == found  # to the last bit


def test_one_comparison_is_a_t_test():
    a, b = [1.0, 2.0, 4.0], [3.0, 5.0, 6.0]
    found = stats.compare({"a": a}, b)["a"]
    theirs = scipy_stats.ttest_ind(a, b)
    assert found.p == pytest.approx(theirs.pvalue, abs=1e-3)
    assert (found.low, found.high) == pytest.approx(theirs.confidence_interval(), rel=0.02)


def test_a_group_of_one_is_compared_without_an_interval():
    found = stats.compare({"one": [3.0], "two": [2.0, 3.0]}, [1.0, 2.0])
    assert found["one"].estimate == 1.5 and math.isnan(found["one"].p)
    assert found["two"].p > 0
    assert math.isnan(stats.compare({"two": [2.0, 3.0]}, [1.0])["two"].low)


def test_likeness_is_two_one_sided_tests():
    random = np.random.default_rng(1)
    for _ in range(50):
        a, b = random.normal(0, 0.3, 5), random.normal(0.1, 0.3, 6)
        above = scipy_stats.ttest_ind(a, b - 0.5, equal_var=False, alternative="greater").pvalue
        below = scipy_stats.ttest_ind(a, b + 0.5, equal_var=False, alternative="less").pvalue
        assert stats.alike(a, b, 0.5) == (max(above, below) < 0.05)
    assert not stats.alike([1.0], [1.0, 1.1], 5.0)  # one seed shows no likeness


@pytest.mark.parametrize(("true", "spread"), [(0.5, 0.2), (0.2, 0.2), (0.1, 0.2), (3.0, 0.2)])
def test_so_many_seeds_are_enough_and_one_less_is_not(true, spread):
    n = stats.seeds_for_difference(true, spread)
    assert stats.smallest_difference(spread, n) <= true
    assert n == 2 or stats.smallest_difference(spread, n - 1) > true


@pytest.mark.parametrize("n", [4, 9])
def test_likeness_is_found_with_the_power_it_states(n):
    """At the margin that n seeds just suffice for, in simulated studies of equal networks."""
    random = np.random.default_rng(n)
    margin = next(m for m in np.arange(0.05, 2, 0.005) if stats.seeds_for_likeness(m, 0.2) <= n)
    a, b = random.normal(0, 0.2, (2, 4000, n))
    error = np.sqrt((a.var(1, ddof=1) + b.var(1, ddof=1)) / n)
    half = scipy_stats.t.ppf(0.95, 2 * n - 2) * error
    found = np.mean(abs(a.mean(1) - b.mean(1)) + half < margin)
    assert found == pytest.approx(0.8, abs=0.03)
