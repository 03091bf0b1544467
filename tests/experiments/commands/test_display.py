"""What the user sees of a grid: the sums that are kept as events come."""

import io
from pathlib import Path

import pytest
from conftest import tiny
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from experiments.commands.display import MOST_SHOWN, Display
from experiments.launch.events import Ended, Outcome, Progressed, Requeued, Started
from experiments.records.record import Record

RUNS = [Record(Path("nowhere"), tiny(seed=seed)) for seed in range(4)]
FAILED = Outcome("failed", "ValueError", "on purpose")
STEPS = st.lists(st.tuples(st.sampled_from(RUNS), st.integers(1, 10) | st.sampled_from("ae")))


@given(happens=STEPS)
def test_what_is_done_is_the_sum_over_runs(happens):
    expected = {run: 0.1 * (place + 1) for place, run in enumerate(RUNS)}
    training, console = dict.fromkeys(RUNS, 0.8), Console(file=io.StringIO())
    display, done = Display(console, {run: run.name for run in RUNS}, expected, training, 2), {}
    for run, what in happens:
        if run not in display.started:
            display.follow(Started(run))
        if what == "e":
            display.follow(Ended(run, FAILED))
            done[run] = expected[run]
        elif what == "a":
            display.follow(Requeued(run, FAILED, "out of memory"))
            done[run] = 0.0
        else:
            display.follow(Progressed(run, step=what, steps=10))
            done[run] = 0.8 * what / 10 * expected[run]
        assert display.done == pytest.approx(sum(done.values()), abs=1e-9)
        assert "left" in display.time_left() and "-" not in display.time_left()
    display.done = display.total * (1 + 1e-15)
    assert display.time_left() == "about 0 s left"


def test_what_a_checkpoint_held_is_given_once_however_often_a_run_is_queued():
    run, console = RUNS[0], Console(file=io.StringIO())
    display = Display(console, {run: "a"}, {run: 100.0}, {run: 1.0}, 1)
    for _ in range(2):
        display.follow(Started(run))
        display.follow(Progressed(run, step=5, steps=10))
        display.follow(Requeued(run, FAILED, "it is in the queue again"))
    display.follow(Started(run))
    display.follow(Progressed(run, step=6, steps=10))
    assert display.given == pytest.approx(50) and display.done == pytest.approx(60)
    assert console.file.getvalue().count("goes on") == 3


def test_runs_that_fail_at_once_make_the_others_no_faster():
    console, expected = Console(file=io.StringIO()), dict.fromkeys(RUNS, 100.0)
    display = Display(console, {run: run.name for run in RUNS}, expected, expected, 1)
    for run in RUNS[:2]:
        display.follow(Started(run))
        display.follow(Ended(run, FAILED))
    assert display.time_left() == "about 3 min left"  # two of them, 200 s


def test_a_thousand_runs_at_a_time_leave_room_on_the_screen(monkeypatch):
    monkeypatch.setattr("experiments.commands.display.PLAIN_EVERY", 0.0)
    runs = [Record(Path("nowhere"), tiny(seed=seed)) for seed in range(1000)]
    expected, training = dict.fromkeys(runs, 1.0), dict.fromkeys(runs, 0.8)
    console = Console(file=io.StringIO())
    display = Display(console, {run: run.name for run in runs}, expected, training, 1000)
    for run in runs:
        display.follow(Started(run))
        display.follow(Progressed(run, 1, 10, {"epoch": 1, "val_error": 50.0}))
    assert len(display.bars.tasks) == 1 + MOST_SHOWN
    assert console.file.getvalue().splitlines()[-1].endswith("at 8%, and 970 more)")
    for run in runs[:5]:
        display.follow(Ended(run, FAILED))
    assert len(display.bars.tasks) == 1 + MOST_SHOWN - 5
