"""Simulated schedules against what is known of them in closed form, and `plan` that shows them."""

import math
import sys

import numpy as np
import pytest
from command_line import wrong
from conftest import tiny, tiny_settings, tiny_study, tiny_words
from hypothesis import example, given
from hypothesis import strategies as st

from analysis.statistics.stats import pool
from experiments import __main__ as cli
from experiments.plan.estimate import between_checkpoints, expected_seconds, forecast, workload
from experiments.plan.simulate import RESTART, SIMULATIONS, simulate, spread_of
from experiments.records.files import write_sealed
from experiments.records.parsing import ConfigError
from experiments.records.record import Record
from experiments.records.study_file import Arithmetic
from experiments.train.environment import device_name, instructions

TIMES = st.lists(st.floats(1.0, 1e5), min_size=1, max_size=60)
WORKERS = st.integers(1, 80)
PLAIN = Arithmetic(precision="fp32", step="plain")
CHANCE = {"spread": st.floats(0, 0.5), "failures": st.floats(0, 5), "seed": st.integers(0, 99)}


@given(n=st.integers(1, 60), workers=WORKERS, took=st.floats(1.0, 1e5))
@example(n=3, workers=2, took=10.0)  # just half of them are idle
@example(n=5, workers=3, took=10.0)  # not quite
def test_equal_runs_take_so_many_rounds(n, workers, took):
    found = simulate([took] * n, workers)
    assert found.makespan == pytest.approx(math.ceil(n / workers) * took)
    is_half_idle = 0 < n % workers <= workers / 2
    assert found.tail == pytest.approx(took if is_half_idle else 0, abs=1e-6 * found.makespan)


@given(times=TIMES)
def test_one_worker_takes_the_sum_and_a_worker_a_run_takes_the_longest(times):
    one, all_at_once = simulate(times, 1), simulate(times, len(times) + 3)
    assert one.makespan == pytest.approx(sum(times)) and one.utilisation == pytest.approx(1)
    assert one.last == len(times) - 1 and one.tail == 0
    assert all_at_once.makespan == max(times) == times[all_at_once.last]


@given(times=TIMES, workers=WORKERS)
def test_the_makespan_is_within_grahams_bound(times, workers):
    found, longest = simulate(times, workers).makespan, max(times)
    best = max(sum(times) / workers, longest)  # no schedule is shorter
    assert best * (1 - 1e-9) <= found <= (2 - 1 / workers) * best * (1 + 1e-9)
    assert found <= (sum(times) / workers + (1 - 1 / workers) * longest) * (1 + 1e-9)


@given(times=TIMES, workers=WORKERS)
def test_one_more_worker_never_hurts(times, workers):
    assert simulate(times, workers + 1).makespan <= simulate(times, workers).makespan * (1 + 1e-9)


def test_each_run_goes_to_the_first_worker_that_is_free():
    found = simulate([2, 3, 4, 10, 1], 3)  # to 2, 3, 4; then from 2 to 12, and from 3 to 4
    assert (found.makespan, found.last, found.tail, found.work) == (12, 3, 8, 20)


@given(times=TIMES, workers=WORKERS, price=st.floats(0, 1e3), chance=st.fixed_dictionaries(CHANCE))
def test_time_is_accounted_for_and_paid_for(times, workers, price, chance):
    found = simulate(times, workers, **chance)
    paid = workers * found.makespan
    assert found.work + found.lost <= paid * (1 + 1e-9)
    assert found.lost >= RESTART * found.restarts
    assert found.utilisation == pytest.approx(found.work / paid) and 0 < found.utilisation < 1.001
    assert found.speedup == pytest.approx(found.utilisation * workers)
    assert 0 <= found.tail <= found.makespan
    assert found.cost(price) == pytest.approx(price * paid / 3600)
    assert found.cost(3 * price) == pytest.approx(3 * found.cost(price))
    assert found == simulate(times, workers, **chance)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("failures", [0.1, 2.0])
def test_failures_are_as_many_as_a_poisson_process_has(failures, seed):
    times = np.random.default_rng(seed).uniform(60, 7200, 2000)
    found = simulate(times, 50, failures=failures, between=1e-3, seed=seed)  # nothing is lost
    expected = failures * times.sum() / 3600
    assert abs(found.restarts - expected) < 5 * math.sqrt(expected)
    assert found.lost == pytest.approx(RESTART * found.restarts, rel=1e-4)


@pytest.mark.parametrize(("failures", "between"), [(3.0, 600.0), (30.0, 60.0), (6.0, 600.0)])
def test_what_is_lost_since_the_last_checkpoint_is_that_of_a_renewal_process(failures, between):
    """Of a stretch of c seconds that is begun anew after each failure: (exp(rc) - 1) / r."""
    rate, stretches, n = failures / 3600, 20, 2000
    found = simulate([stretches * between] * n, n, failures=failures, between=between)
    tries = stretches * n * math.expm1(rate * between)
    assert found.restarts == pytest.approx(tries, rel=0.03)
    again = tries / rate - stretches * n * between
    assert found.lost - RESTART * found.restarts == pytest.approx(again, rel=0.05)


def test_a_worker_that_fails_before_each_checkpoint_is_refused():
    with pytest.raises(ConfigError, match="hardly gets to its next checkpoint, 600 s away: at mos"):
        simulate([3600], 1, failures=6.1, between=600)


def test_drawn_times_have_the_mean_and_the_spread_that_were_asked_for():
    works = [simulate([100.0], 1, spread=0.3, seed=seed).work for seed in range(4000)]
    assert np.mean(works) == pytest.approx(100, rel=5 * 0.3 / math.sqrt(4000))
    assert np.std(np.log(works)) == pytest.approx(0.3, rel=0.06)


@given(times=st.lists(st.lists(st.floats(1, 1e4), max_size=5), max_size=5))
def test_the_spread_is_pooled_over_rows(times):
    expected = math.sqrt(pool([[math.log(x) for x in row] for row in times]).variance)
    found = spread_of(times)
    assert math.isnan(expected) if found is None else found == pytest.approx(expected, abs=1e-9)


@given(took=st.floats(1.0, 1e6), epochs=st.integers(1, 300))
def test_checkpoints_are_at_epoch_ends_a_minute_apart_at_least(took, epochs):
    config = tiny(recipe={"epochs": epochs})
    between = between_checkpoints(config, took)
    assert between * (1 + 1e-9) >= 60
    assert between <= 60 + took / epochs
    iterations = tiny(recipe={"epochs": None, "iterations": 3 * epochs})  # 3 a batch of 16 of 48
    assert between_checkpoints(iterations, took) == pytest.approx(between)


def finish(record: Record, took: float, **other: str) -> None:
    """As much of a finished run as an estimate reads."""
    record.path.mkdir(parents=True)
    write_sealed(record.path / "summary.json", {"state": "done"})
    here = dict(zip(("processor", "device"), device_name("cpu"), strict=True))
    how = {"instructions": instructions(), "precision": "fp32", "step": "plain"}
    write_sealed(record.path / "env.json", here | how | {"seconds": took} | other)


def test_a_forecast_takes_mean_and_spread_from_finished_runs(tmp_path):
    records = [Record(tmp_path, tiny(seed=seed)) for seed in range(8)]
    for record, took in zip(records, [100.0, 121.0, 110.0], strict=False):
        finish(record, took)
    expected = expected_seconds(
        records[3:], "cpu", lambda *_: pytest.fail("there are finished runs")
    )
    assert set(expected.values()) == {100.0}
    found, spread = forecast(expected, "cpu", True, 2, 0.0)
    assert spread == pytest.approx(np.std(np.log([100, 121, 110]), ddof=1))
    assert len(found) == SIMULATIONS and len({one.makespan for one in found}) == SIMULATIONS
    assert np.median([one.work for one in found]) == pytest.approx(500, rel=0.05)


@pytest.mark.parametrize(
    "other",
    [{"instructions": "avx"}, {"precision": "bf16"}, {"step": "fused"}, {"processor": "another"}],
)
def test_the_time_of_another_arithmetic_is_not_believed(tmp_path, other):
    first, second = (Record(tmp_path, tiny(seed=seed), PLAIN) for seed in range(2))
    finish(first, 100.0, **other)
    assert expected_seconds([second], "cpu", lambda *_: 1.0)[second] == pytest.approx(
        workload(second.config)
    )
    took = expected_seconds([second], "cpu", lambda *_: 1.0, is_here=False)[second]
    assert (took == 100.0) == (not {"precision", "step"} & other.keys())  # of another machine


def plan(monkeypatch, capsys, *words: str) -> str:
    monkeypatch.setattr(sys, "argv", ["experiments", "plan", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    shown = capsys.readouterr()
    assert ended.value.code in (0, None), shown.err
    return " ".join(shown.out.split())


def test_plan_shows_the_schedule_on_workers_that_are_not_here(tmp_path, monkeypatch, capsys):
    for cell in tiny_study("squeeze").cells:  # seed 0 of each, and 9 to train
        finish(Record(tmp_path, cell.config), 3600.0)
    words = ["squeeze", *tiny_words(), "--results", str(tmp_path), "--seeds", "10"]
    shown = plan(monkeypatch, capsys, *words, "--workers", "3000", "--price", "0.5")
    assert "45 to train about 60 min on cpu, 45 at a time" in shown
    assert "work (worker hours) │ 45.0 │" in shown and "utilisation │ 1.5% │" in shown
    assert "cost │ 1,500.00 │" in shown and "restarts" not in shown
    assert "run times are taken not to vary" in shown
    assert "no number of workers is more than 45.0 times as fast as one" in shown

    finish(Record(tmp_path, tiny_study("squeeze").cells[0].config.model_copy(update={"seed": 1})),
           4000.0)  # fmt: skip
    shown = plan(monkeypatch, capsys, *words, "--workers", "4", "--failures", "0.9")
    assert "run times vary by 7.5% in a row" in shown and "4 at a time" in shown
    assert "restarts" in shown and "cost" not in shown and "100)" in shown


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        ("plan", ["--workers", "0"], "greater than or equal to 1"),
        ("plan", ["--workers", "9" * 400], "less than or equal to 100000"),
        ("plan", ["--workers", "few"], "should be a valid integer"),
        ("plan", ["--failures", "-1"], "greater than or equal to 0"),
        (
            "plan",
            ["--failures", "nan"],
            "'--failures': Input should be less than or equal to 1000000",
        ),
        ("plan", ["--failures", "100"], "failures 100: a worker that fails every 36 s hardly gets"),
        ("plan", ["--price", "inf"], "'--price': Input should be less than or equal to 1000000"),
        ("plan", ["--price", "1 EUR"], "'--price': Input should be a valid number"),
        ("run", ["--workers", "1025"], "workers 1025: at most 1,024 on one machine"),
        ("run", ["--price", "1"], "--price"),
    ],
)
def test_what_is_wrong_is_one_sentence(capsys, tmp_path, monkeypatch, command, words, message):
    monkeypatch.setenv("RESULTS", str(tmp_path / "results"))
    words = [command, "placement", "--dataset", "cifar10", *tiny_settings(), *words]
    assert message in wrong(capsys, *words)
    assert not (tmp_path / "results").exists()


def test_a_plan_that_holds_all_images_out_is_one_sentence():
    with pytest.raises(ConfigError, match="none of the 50,000 training images of cifar10 is left"):
        workload(tiny(recipe={"holdout": 50_000}))
