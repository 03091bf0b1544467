"""What `run` and `status` do with a whole grid: when they stop, go on, wait, and follow."""

import math
import os
import signal
import time
from multiprocessing import forkserver
from pathlib import Path

import numpy as np
import pytest
from command_line import call, call_apart, start, workers
from conftest import LINUX, ROOT, tiny_study, tiny_words, write_grid
from scipy import stats
from waiting import wait_for

from experiments.plan.estimate import training_share
from experiments.processes.fork_server import _start, call_in_process, spawn, warm_up
from experiments.processes.signals import STOPS, uninterrupted
from experiments.records.config import RunConfig
from experiments.records.lock import hold
from experiments.records.parsing import parse
from experiments.records.record import Record
from experiments.records.results import read_result

WORDS, LONG = tiny_words(), tiny_words(epochs=400)


@pytest.mark.slow
def test_two_runners_at_once_train_each_run_once(tmp_path, data_dir):
    there = {"DATA_DIR": str(data_dir), "RESULTS": str(tmp_path), "WORKERS": "1"}
    runners = [start("run", "squeeze", *WORDS, **there) for _ in range(2)]
    for runner in runners:
        output, errors = runner.communicate()
        assert runner.returncode == 0, output + errors
    found = list(tmp_path.glob("runs/*/seed*"))
    assert len(found) == 5
    for path in found:
        assert (path / "timings.jsonl").read_text().count("started") == 1
        read_result(path)


@pytest.mark.slow
def test_a_run_of_another_runner_is_waited_for_and_taken_over(tmp_path, data_dir):
    there = {"DATA_DIR": str(data_dir), "RESULTS": str(tmp_path), "WORKERS": "2"}
    theirs = Record(tmp_path, tiny_study("squeeze").cells[0].config)
    theirs.path.mkdir(parents=True)
    with hold(theirs.path):
        runner = start("run", "squeeze", *WORDS, **there)
        seen = ""
        while "(4 of 5)" not in seen:  # the others
            seen += runner.stdout.readline()
        assert f"note     no SE, seed 0: process {os.getpid()} on" in seen
        assert "waiting for that" in seen and theirs.state == "running"
    output, errors = runner.communicate()
    assert runner.returncode == 0, output + errors
    assert "started  no SE, seed 0" in output and theirs.state == "done"


def test_a_spent_budget_says_what_is_left(tmp_path, data_dir):
    there = {"DATA_DIR": str(data_dir), "RESULTS": str(tmp_path), "BUDGET": "1s"}
    done = call("run", "squeeze", *LONG, **there)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == (
        "stopped: the budget is spent. 5 of 5 runs are left: the same command goes on with them"
    )


@pytest.mark.slow
def test_seeds_are_added_until_every_interval_is_narrow_enough(tmp_path, data_dir):
    there = {"DATA_DIR": str(data_dir), "RESULTS": str(tmp_path), "UNTIL": "6"}
    done = call("run", write_grid(tmp_path), *WORDS, **there)
    assert done.returncode == 0, done.stdout + done.stderr
    errors = [
        [read_result(run).summary["test_error"] for run in sorted(cell.glob("seed*"), key=number)]
        for cell in (tmp_path / "runs").iterdir()
    ]
    n = len(errors[0])
    assert n >= 3 and len(errors[1]) == n  # whole rounds

    def widest(n):
        """Of the intervals of n seeds a row, by the spread of both rows."""
        rows = [row[:n] for row in errors]
        pooled, freedom = np.mean([np.var(row, ddof=1) for row in rows]), 2 * (n - 1)
        own = [(8 * pooled + (n - 1) * np.var(row, ddof=1)) / (8 + n - 1) for row in rows]
        return stats.t.ppf(0.975, min(freedom, 8 + n - 1)) * math.sqrt(max(own) / n)

    assert widest(n) <= 6
    for fewer in range(3, n):  # it went on no longer than it had to
        assert widest(fewer) > 6
        assert f"with {fewer} seeds" in done.stdout
    assert f"Seeds 0 to {n - 1}." in done.stdout


def number(path: Path) -> int:
    return int(path.name.removeprefix("seed"))


@pytest.mark.slow
def test_status_follows_a_grid_until_ctrl_c(tmp_path, data_dir):
    there = {"DATA_DIR": str(data_dir), "RESULTS": str(tmp_path), "WORKERS": "1"}
    runner = start("run", "squeeze", *LONG, **there)
    wait_for(lambda: workers(tmp_path, steps=1))
    watch = start("status", "--watch", RESULTS=str(tmp_path))
    seen = ""
    while seen.count("1 running") < 2:
        seen += watch.stdout.readline()
    os.killpg(watch.pid, signal.SIGINT)
    seen, errors = watch.communicate()
    assert watch.returncode == 0 and errors == ""
    runner.terminate()
    assert runner.wait() == 143


def tell_of_parent(pipe) -> None:
    import sys

    tasks = os.listdir(f"/proc/{os.getppid()}/task")
    ours = "experiments.train.train" in sys.modules
    pipe.send((ours, "torch._dynamo" in sys.modules, len(tasks)))


def crash(pipe) -> None:
    os.abort()


def product(a: int, b: int) -> int:
    return a * b


@LINUX
def test_the_fork_server_has_imported_what_a_run_needs_and_started_no_thread(monkeypatch):
    forkserver._forkserver._stop()
    _start.cache_clear()
    monkeypatch.chdir(ROOT / "notebooks")  # from where its own `sys.path` finds none of our modules
    warm_up()
    process, pipe = spawn(tell_of_parent)
    assert pipe.recv() == (True, False, 1)
    process.join()


def test_a_question_that_crashes_has_no_answer():
    assert call_in_process(product, 6, 7) == 42
    assert call_in_process(crash) is None
    assert call_in_process(time.sleep, 100, patience=0.5) is None


@pytest.mark.parametrize("number", STOPS)
def test_a_stop_waits_until_a_process_has_been_started(number):
    done = []

    def stop(number, _):
        raise KeyboardInterrupt(number)

    before = signal.signal(number, stop)
    try:
        with pytest.raises(KeyboardInterrupt, match=str(int(number))), uninterrupted():
            signal.raise_signal(number)
            done.append("started")
        assert done and signal.getsignal(number) is stop
    finally:
        signal.signal(number, before)


@pytest.mark.slow
def test_a_temporary_folder_too_deep_for_sockets_gets_a_sentence(tmp_path, data_dir):
    deep = tmp_path / ("deep" * 20)
    deep.mkdir()
    there = {"DATA_DIR": str(data_dir), "RESULTS": str(tmp_path / "r")}
    done = call_apart("run", "squeeze", *WORDS, TMPDIR=str(deep), **there)
    assert done.returncode == 2
    assert f"TMPDIR {deep}: {len(str(deep))} characters are too many" in done.stderr
    assert not list(tmp_path.glob("r/runs/*"))


def test_all_gpus_of_a_machine_are_used(monkeypatch):
    from experiments.train import devices

    monkeypatch.setitem(devices.DEVICES, "cuda", lambda: True)
    monkeypatch.setattr(devices, "count_gpus", lambda: 3)
    all_of_them = ["cuda:0", "cuda:1", "cuda:2"]
    assert devices.pick_devices("auto") == devices.pick_devices("cuda") == all_of_them
    assert devices.pick_devices("cuda:1") == ["cuda:1"]
    assert devices.pick_slots(None, all_of_them) == all_of_them
    assert devices.pick_slots(4, all_of_them) == [*all_of_them, "cuda:0"]


@pytest.mark.parametrize(("se", "low", "high"), [(None, 0.85, 1), ({}, 0.6, 0.85)])
def test_a_run_is_not_over_when_its_last_step_is_done(se, low, high):
    """The test set is left, and with SE the looks at it with replaced gates."""
    config = parse(RunConfig, {"dataset": "cifar10", "network": "resnet29b", "se": se, "recipe": {
        "name": "own", "epochs": 4, "train_images": 5000, "curve_images": 1000,
        "intervention_images": 1000}})  # fmt: skip
    assert low < training_share(config) < high
    # by hand: 4 x (5,000 + 0.3 x 1,000) against 0.3 x (10,000 + 17 x 1,000)
    tested = 0.3 * (10_000 + (17_000 if se is not None else 0))
    assert training_share(config) == pytest.approx(21_200 / (21_200 + tested))
