"""Statistics, against scipy and simulations."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize
from scipy import stats as scipy_stats

from analysis.statistics import seeds, stats
from analysis.statistics.pool import Pool
from benchmarks import fixed, simulated

numbers = st.floats(0, 100, allow_subnormal=False).map(lambda x: round(x, 2))  # as errors are
MINUS = [1, -1]  # of a pair


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
    assert math.isnan(stats.contrast([tie, tie], MINUS, stats.pool([tie, tie])).low)


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


@pytest.mark.parametrize("is_watched", [False, True])
@pytest.mark.parametrize(("n", "cells"), [(2, 40), (3, 40), (10, 40), (3, 2), (4, 7)])
def test_the_smallest_difference_is_found_with_the_power_it_states(n, cells, is_watched):
    random, studies = np.random.default_rng(n), 600
    plan = seeds.Plan(0.2, cells, is_watched)
    shift, found = seeds.smallest_difference(plan, n), 0
    for _ in range(studies):
        values = random.normal(0, 0.2, (cells, n))
        pooled = stats.pool(values)
        one = stats.contrast([values[0] + shift, values[1]], MINUS, pooled, is_watched=is_watched)
        found += one.low > 0
    assert found / studies == pytest.approx(0.8, abs=3 * math.sqrt(0.8 * 0.2 / studies) + 0.01)


def test_what_seeds_can_see_agrees_with_the_textbook():
    # For a known spread 2.8016 standard errors; with few degrees of freedom a little more.
    for n in (3, 10):
        known = 2.8016 * 0.2 * math.sqrt(2 / n)
        assert known < seeds.smallest_difference(seeds.Plan(0.2), n) < 1.1 * known
    # Two cells of three alone: Student's t with 4 degrees, as in any table of power.
    two = seeds.smallest_difference(seeds.Plan(1.0, cells=2), 3) * math.sqrt(3 / 2)
    t = scipy_stats.t.ppf(0.975, 4)
    assert scipy_stats.nct.sf(t, 4, two) + scipy_stats.nct.cdf(-t, 4, two) == pytest.approx(0.8)


def test_test_images_alone_move_a_difference():
    random = np.random.default_rng(0)
    wrong = random.binomial(10_000, 0.3, (2, 20_000)) / 100
    spread = np.quantile(abs(wrong[0] - wrong[1]), 0.95)
    assert seeds.sampling_difference(30, 10_000) == pytest.approx(spread, rel=0.03)
    by_hand = 1.959964 * 0.648074  # 100 sqrt(2 0.3 0.7 / 10,000)
    assert seeds.sampling_difference(30, 10_000) == pytest.approx(by_hand, rel=1e-5)


def test_the_pooled_spread_is_within_groups():
    assert stats.pool([[1, 2, 3], [11, 12, 13], [5]]).deviation == pytest.approx(1)
    assert math.isnan(stats.pool([[1], [2]]).deviation)


samples = st.lists(numbers, min_size=2, max_size=12)


@given(samples, samples, samples)
def test_without_a_prior_a_difference_is_welchs(a, b, other):
    found = stats.contrast([a, b], MINUS, stats.pool([a, b, other]), prior=0)
    assert found.estimate == pytest.approx(np.mean(a) - np.mean(b), abs=1e-9)
    if np.ptp(a) == np.ptp(b) == 0:
        assert math.isnan(found.low) and math.isnan(found.p)
    elif min(np.ptp(a), np.ptp(b)) > 0:
        theirs = scipy_stats.ttest_ind(a, b, equal_var=False)
        wanted = (*theirs.confidence_interval(), theirs.pvalue)
        assert (found.low, found.high, found.p) == pytest.approx(wanted, rel=1e-6, abs=1e-6)


@given(samples, samples)
def test_with_an_endless_prior_a_difference_is_students_with_the_pooled_variance(a, b):
    found = stats.contrast([a, b], MINUS, stats.pool([a, b]), prior=math.inf)
    if np.ptp(a) == np.ptp(b) == 0:
        assert math.isnan(found.low)
    else:
        theirs = scipy_stats.ttest_ind(a, b)
        wanted = (*theirs.confidence_interval(), theirs.pvalue)
        assert (found.low, found.high, found.p) == pytest.approx(wanted, rel=1e-6, abs=1e-6)


def test_a_moderated_interval_by_hand():
    # variances 1 and 4, pool 2.5 with 4 degrees: (8 * 2.5 + 2 * 1) / 10 = 2.2 and 2.8
    a, b = [4.0, 5.0, 6.0], [1.0, 3.0, 5.0]
    found = stats.contrast([a, b], MINUS, stats.pool([a, b]))
    half = scipy_stats.t.ppf(0.975, 4) * math.sqrt(2.2 / 3 + 2.8 / 3)  # capped at the pool's 4
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half))


POOLED = stats.Spread(0.25, 40)


@pytest.mark.parametrize("prior", [0.0, 4.0, stats.PRIOR])
@pytest.mark.parametrize("n", range(1, 12))
def test_a_moderated_variance_is_the_mean_of_both_by_their_degrees_of_freedom(n, prior):
    values = [2.0 + 0.1 * k**2 for k in range(n)]
    variances, freedoms = [POOLED.variance, np.var(values, ddof=1) if n > 1 else 0], [prior, n - 1]
    found = stats.moderate(values, POOLED, prior)
    assert found.freedom == sum(freedoms)
    if found.freedom:
        assert found.variance == pytest.approx(np.average(variances, weights=freedoms))


def test_each_group_has_a_weight():
    with pytest.raises(ValueError, match="zip"):
        stats.contrast([[1.0], [2.0]], [1], POOLED)


@pytest.mark.parametrize(
    ("a", "b"),
    [([3.0], [2.0, 3.0]), ([3.0], [2.0]), ([2.0, 2.0, 2.0], [4.0, 5.0, 6.0]),
     ([2.0, 2.0], [2.0, 2.0]), ([0.2, 0.3 - 0.1], [0.2, 0.2])],
    ids=["one value", "one each", "a constant arm", "ties", "ties but for rounding"],
)  # fmt: skip
def test_few_values_and_ties_have_the_pools_spread_and_never_no_width(a, b):
    found = stats.contrast([a, b], MINUS, POOLED)
    assert found.low < found.estimate < found.high
    assert found.high - found.low > 0.5 * math.sqrt(1 / len(a) + 1 / len(b))


def test_no_values_or_no_spread_is_a_hole():
    assert math.isnan(stats.contrast([[], [1.0]], MINUS, POOLED).estimate)
    nothing = stats.pool([[1.0], [2.0]])
    assert stats.contrast([[1.0], [2.0]], MINUS, nothing).estimate == -1
    assert math.isnan(stats.contrast([[1.0], [2.0]], MINUS, nothing).low)
    tied = stats.pool([[1.0, 1.0], [2.0, 2.0]])
    assert math.isnan(stats.contrast([[1.0, 1.0], [2.0, 2.0]], MINUS, tied).low)
    assert math.isnan(stats.contrast([[1.0], [2.0, 3.0]], MINUS, POOLED, prior=0).low)


def test_cells_of_different_lengths_have_spreads_of_their_own():
    short, long = [[1.0, 5, 9], [2.0, 4, 12]], [[3.0, 3.1, 3.3], [2.0, 2.2, 2.1]]
    cells = dict(zip("abcd", short + long, strict=True))
    found = Pool(cells, steps={"a": 1, "b": 1, "c": 2, "d": 2})
    for pair, alike in (("ab", short), ("cd", long)):
        alone = Pool(dict(zip(pair, alike, strict=True)))
        assert found.difference(*pair) == alone.difference(*pair)
        assert found.mean(pair[0]) == pytest.approx(alone.mean(pair[0]))
    across = found.difference("a", "c")
    spreads = [stats.moderate(cells[c], stats.pool(s)) for c, s in (("a", short), ("c", long))]
    error = math.sqrt(sum(spread.variance / 3 for spread in spreads))
    freedom = (error**2) ** 2 / sum((s.variance / 3) ** 2 / s.freedom for s in spreads)
    half = scipy_stats.t.ppf(0.975, min(freedom, 8)) * error
    assert across.high - across.low == pytest.approx(2 * half)


def test_a_trend_is_the_slope_of_least_squares():
    x, y = {"a": 1.0, "b": 2.0, "c": 4.0}, {"a": 3.0, "b": 7.0, "c": 2.0}
    slope = scipy_stats.linregress(list(x.values()), list(y.values())).slope
    weights = stats.trend(x)
    assert sum(weights[row] * y[row] for row in x) == pytest.approx(slope)
    assert sum(weights.values()) == pytest.approx(0)


def test_more_that_diverge_are_found_by_fishers_test():
    assert stats.diverges_more(4, 0, 0, 4) and not stats.diverges_more(3, 0, 0, 3)
    assert not stats.diverges_more(0, 4, 4, 0) and not stats.diverges_more(1, 9, 0, 10)
    table = [[5, 5], [0, 10]]
    assert stats.diverges_more(5, 5, 0, 10) == (scipy_stats.fisher_exact(table).pvalue < 0.05)


def predicted(spreads: np.ndarray, n: int) -> float:
    """How often the interval of the second cell minus the first leaves out 0 where none differs.

    Student's t, with the moderated variances as they are on average.
    """
    variances = spreads**2
    moderated = (8 * variances.mean() + (n - 1) * variances[:2]) / (8 + n - 1)
    freedom = (8 + n - 1) * moderated.sum() ** 2 / np.square(moderated).sum()
    limit = scipy_stats.t.ppf(0.975, freedom)
    return 2 * scipy_stats.t.sf(limit * math.sqrt(moderated.sum() / variances[:2].sum()), freedom)


STUDIES = 500
SPREADS = {
    "equal spreads": simulated.times(1),
    "the observed spreads": simulated.OBSERVED,
    "residuals of all rows": simulated.times(1),
    "residuals of each row": simulated.residuals().std(axis=1),
    "a reference that spreads 1.4 times as much": simulated.times(1.4),
}


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("kind", SPREADS)
def test_verdicts_that_are_wrong_where_nothing_differs(kind, n):
    """At most 5 % where all spread alike; more, and as predicted, where the reference does not."""
    found = fixed.words(
        np.random.default_rng([n, len(kind)]), simulated.KINDS[kind], n, STUDIES,
        comparisons=simulated.CONTROL[:1],
    )  # fmt: skip
    [counts] = found.values()
    most = predicted(SPREADS[kind], n)
    beyond = 3 * math.sqrt(most * (1 - most) / STUDIES)
    assert fixed.share(counts, "better", "worse") == pytest.approx(most, abs=beyond + 0.01)
    # A claim in one direction, and no more than that:
    assert fixed.share(counts, "better") <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / STUDIES)


def test_looking_after_every_round_finds_nothing_where_there_is_nothing():
    random, wrong, studies = np.random.default_rng(0), 0, 150
    for _ in range(studies):
        cells = random.normal(0, 1, (12, 30))
        for n in range(3, 31):
            pooled = stats.pool([*cells[:2, :n], *cells[2:, :3]])
            found = stats.contrast(cells[:2, :n], MINUS, pooled, is_watched=True)
            if found.leaves_out_zero:
                wrong += 1
                break
    assert wrong / studies <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / studies)


def test_the_boundary_is_wider_than_one_look_needs_and_narrowest_near_ten():
    widths = [stats.boundary(n) / math.sqrt(n) for n in (3, 10, 30)]
    assert all(stats.boundary(n) > 1.96 for n in range(1, 200))
    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize("alpha", [0.05, 0.1])
def test_the_boundary_is_as_narrow_at_ten_as_its_form_can_be(alpha):
    def width(eta: float, n: float) -> float:
        return math.sqrt((n + eta) / n * math.log((n + eta) / (eta * alpha**2)))

    best = optimize.minimize_scalar(lambda eta: width(eta, 10), bounds=(0.1, 10)).fun
    assert best <= stats.boundary(10, alpha) < 1.0005 * best
    # by hand: 10 / (5.99146 + 1.94469) and 10 / (4.60517 + 1.72370)
    eta = {0.05: 1.26006, 0.1: 1.58006}[alpha]
    assert stats.boundary(1, alpha) == pytest.approx(width(eta, 1), rel=1e-5)


@pytest.mark.parametrize("plan", [seeds.Plan(0.2), seeds.Plan(0.2, 5, is_watched=True)])
@pytest.mark.parametrize("true", [0.5, 0.2, 0.1, 3.0])
def test_so_many_seeds_are_enough_and_one_less_is_not(true, plan):
    n = seeds.seeds_for_difference(true, plan)
    assert seeds.smallest_difference(plan, n) <= true
    assert n == 2 or seeds.smallest_difference(plan, n - 1) > true


@pytest.mark.parametrize("n", [4, 9])
def test_likeness_is_found_with_the_power_it_states(n):
    """At the margin that n seeds just suffice for, in simulated studies of equal networks."""
    random = np.random.default_rng(n)
    margin = next(
        m for m in np.arange(0.05, 2, 0.005) if seeds.seeds_for_likeness(m, seeds.Plan(0.2)) <= n
    )
    a, b = random.normal(0, 0.2, (2, 4000, n))
    own = sum((8 * 0.04 + (n - 1) * x.var(1, ddof=1)) / (8 + n - 1) for x in (a, b))
    half = scipy_stats.t.ppf(0.95, 2 * (8 + n - 1)) * np.sqrt(own / n)
    found = np.mean(abs(a.mean(1) - b.mean(1)) + half < margin)
    assert found == pytest.approx(0.8, abs=0.03)
