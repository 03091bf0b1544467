"""What can go wrong with a run or a grid: each time the others finish, and the reason is told."""

import os
import re
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace

import faults
import pytest
from command_line import call, start, workers
from conftest import TINY, tiny, tiny_study, tiny_words
from waiting import wait_for

from experiments.commands.session import follow
from experiments.launch.events import Ended, Outcome
from experiments.records import room
from experiments.records.lock import hold, holder
from experiments.records.parsing import ConfigError
from experiments.records.record import Record, delete, find_run, load_record
from experiments.records.results import read_result
from experiments.records.states import UNFIT, failure, state
from experiments.train.train import train

WORDS, LONG = tiny_words(), tiny_words(epochs=400)


def runs(results: Path) -> dict[str, Path]:
    """Run folders by gate; `plain` is the one without SE."""
    found = {}
    for path in results.glob("runs/*/seed*"):
        se = load_record(path).config.se
        found["plain" if se is None else se.gate] = path
    return found


REASONS = {  # it hangs first: the others train meanwhile
    "hangs": "hang: no sign of life for too long",
    "raises": "ZeroDivisionError: division by zero",
    "allocates": "out of memory: ",
    "aborts": "SIGABRT: the process crashed",
    "segfaults": "SIGSEGV: the process crashed",
    "forks": "SIGABRT: the process crashed",
    "killed": "killed: its process was ended from outside (SIGKILL)",
    "exits": "exit status 7: the process ended without a word",
}


@pytest.mark.slow
def test_each_fault_ends_its_run_alone_and_says_why(tmp_path, data_dir):
    grid, results = faults.write(tmp_path, *REASONS, "nan"), tmp_path / "results"
    there = {"DATA_DIR": str(data_dir), "RESULTS": str(results)}
    done = call("run", grid, *WORDS, "--patience", "30s", **there)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    found = runs(results)
    assert len(found) == 3 + len(REASONS)
    for gate, reason in REASONS.items():
        assert state(found[gate]) == ("interrupted" if gate == "killed" else "failed")
        assert failure(found[gate]).startswith(reason)
        assert re.search(f"^FAILED   {gate}, seed 0 .*{re.escape(reason)}", done.stdout, re.M)
    for gate in ("plain", "sigmoid"):
        assert read_result(found[gate]).summary["state"] == "done"
    assert read_result(found["nan"]).summary["state"] == "diverged"
    assert "diverged nan, seed 0" in done.stdout
    for gate in ("raises", "aborts", "segfaults", "hangs"):  # where in the code it was
        source = f"code/{load_record(found[gate]).config.code.digest}.py"
        assert source in (found[gate] / "error.txt").read_text(), gate
    assert not list(results.glob("runs/*/*/lock"))
    assert f"FAILED raises, seed 0: {REASONS['raises']} ({found['raises'] / 'error.txt'})" in (
        done.stdout
    )
    assert "`retry`" in done.stdout and "the same command goes on" in done.stdout
    assert "1 diverged" in done.stdout  # the table

    shown = call("status", RESULTS=str(results)).stdout
    assert "7 failed, 1 interrupted" in shown
    assert REASONS["raises"] in shown

    # mended: what was killed goes on by itself, what failed waits for `retry`
    before = {path: path.stat().st_mtime_ns for path in results.glob("runs/*/*/summary.json")}
    (tmp_path / "mended").touch()
    again = call("run", grid, *WORDS, **there)
    assert again.returncode == 1 and "3 of 11 runs are there, 1 to train" in again.stdout
    assert "7 failed before and are left alone: `retry` forgets that" in again.stdout
    last = call("retry", grid, *WORDS, **there)
    assert last.returncode == 0 and "forgotten hangs, seed 0: hang" in last.stdout
    assert "4 of 11 runs are there, 7 to train" in last.stdout
    assert {path: path.stat().st_mtime_ns for path in before} == before
    errors = {read_result(path).summary["test_error"] for gate, path in found.items()
              if gate not in ("plain", "nan")}  # fmt: skip
    assert len(errors) == 1  # all of them are sigmoids now


@pytest.mark.slow
def test_a_run_that_has_no_room_is_tried_again_with_fewer_neighbours(tmp_path, data_dir):
    grid, results = faults.write(tmp_path, "slow", "crowded"), tmp_path / "results"
    there = {"DATA_DIR": str(data_dir), "RESULTS": str(results), "WORKERS": "2"}
    done = call("run", grid, *WORDS, **there)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "out of memory beside 1 more: again, with one less at a time" in done.stdout
    found = runs(results)
    assert {state(path) for path in found.values()} == {"done"}
    same = [(found[gate] / "metrics.jsonl").read_bytes() for gate in ("crowded", "slow")]
    assert same[0] == same[1]  # the threads were the same, and so are the bits


@pytest.mark.slow
def test_three_failures_of_one_kind_at_the_start_stop_the_grid(tmp_path, data_dir):
    there = {"DATA_DIR": str(data_dir), "RESULTS": str(tmp_path), "WORKERS": "1"}
    # an env.json that is a folder fails every run alike
    for cell in tiny_study("squeeze").cells:
        (Record(tmp_path, cell.config).path / "env.json").mkdir(parents=True)
    done = call("run", "squeeze", *WORDS, **there)
    assert done.returncode == 1
    assert len(re.findall("^FAILED   ", done.stdout, re.M)) == 3
    assert "stopped: the first 3 runs failed in the same way, IsADirectoryError" in done.stdout
    assert "2 of 5 runs are left" in done.stdout


KINDS = {"-": "", "U": UNFIT}


@pytest.mark.parametrize(
    ("kinds", "keep_going", "heard"),
    [
        ("AAAA", False, 3),
        ("AAAA", True, 4),
        ("AABA", False, 4),
        ("-AAA", False, 4),  # one was done: something works
        ("AA", False, 2),
        ("UUUA", False, 4),  # machines that cannot: another one can
    ],
)
def test_only_failures_alike_and_at_the_start_stop_a_grid(tmp_path, kinds, keep_going, heard):
    record, ends = Record(tmp_path, tiny()), [KINDS.get(kind, kind) for kind in kinds]
    shown = []
    display = SimpleNamespace(follow=shown.append)
    events = iter([Ended(record, Outcome("failed", kind)) for kind in ends])
    reason = follow(events, [display], keep_going)
    assert len(shown) == heard
    assert ("in the same way, A" in reason) == (kinds == "AAAA" and not keep_going)


@pytest.mark.slow
def test_a_full_disk_loses_nothing_that_is_finished(tmp_path, data_dir, monkeypatch):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        there = {"DATA_DIR": str(data_dir), "RESULTS": str(disk), "WORKERS": "1", "SEEDS": "2"}
        done = call("run", "squeeze", *WORDS, **there)
        assert done.returncode == 2 and not list(disk.glob("**/*.*"))
        assert "no room: 10 runs need at least 12 MB, and 0.2 MB are free" in done.stderr
        monkeypatch.setattr(room, "SMALLEST_RUN", 0)  # as if another had filled it meanwhile
        done = call("run", "squeeze", *WORDS, **there)
        assert done.returncode == 1
        assert "Traceback" not in done.stdout + done.stderr
        named = re.search(rf"{disk}/\S+: No space left on device", done.stdout)
        assert named, done.stdout
        finished = {path: path.read_bytes() for path in disk.glob("runs/*/*/summary.json")}
        subprocess.run(["mount", "-o", "remount,size=60m", str(disk)], check=True)
        done = call("run", "squeeze", *WORDS, **there)
        assert done.returncode == 0, done.stdout + done.stderr
        assert all(path.read_bytes() == content for path, content in finished.items())
        for path in disk.glob("runs/*/seed*"):
            read_result(path)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "everyone", "status"),
    [
        (signal.SIGINT, True, 130),
        (signal.SIGTERM, True, 143),
        (signal.SIGHUP, True, 129),
    ],
    ids=["Ctrl-C", "SIGTERM", "a terminal that is closed"],
)
def test_a_signal_leaves_checkpoints(tmp_path, data_dir, number, everyone, status):
    there = {"DATA_DIR": str(data_dir), "RESULTS": str(tmp_path), "WORKERS": "2"}
    process = start("run", "squeeze", *LONG, **there)
    pids = wait_for(lambda: len(found := workers(tmp_path, steps=1)) == 2 and found)
    shown = call("status", RESULTS=str(tmp_path)).stdout
    assert "2 running" in shown and f"process {pids[0]} on" in shown
    assert re.search(r"step [\d,]+ of 1,200, \d+ %, epoch \d+", shown) and "% done" in shown
    (os.killpg if everyone else os.kill)(process.pid, number)
    output, errors = process.communicate()
    assert process.returncode == status, output + errors
    assert "Traceback" not in output + errors
    assert "stopping: 2 runs write their checkpoints" in output
    assert "all that is done is kept" in output
    assert len(list(tmp_path.glob("runs/*/*/checkpoint.pt"))) == 2
    assert not list(tmp_path.glob("runs/*/*/error.txt"))
    assert not list(tmp_path.glob("runs/*/*/lock"))
    shown = call("status", RESULTS=str(tmp_path)).stdout
    assert "2 interrupted" in shown and "with a checkpoint" in shown


@pytest.mark.slow
def test_ctrl_c_while_a_run_is_being_started_is_not_lost(tmp_path, data_dir):
    there = {"DATA_DIR": str(data_dir), "RESULTS": str(tmp_path), "WORKERS": "2"}
    process = start("run", "squeeze", *LONG, **there)
    while not process.stdout.readline().startswith("started"):
        pass
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate()
    assert process.returncode == 130 and errors == "", output + errors


@pytest.mark.slow
def test_a_runner_that_is_killed_takes_its_workers_along_and_leaves_no_lock(tmp_path, data_dir):
    there = {"DATA_DIR": str(data_dir), "RESULTS": str(tmp_path), "WORKERS": "2"}
    process = start("run", "squeeze", *LONG, **there)
    pids = wait_for(lambda: len(found := workers(tmp_path, steps=1)) == 2 and found)
    process.kill()
    process.communicate()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    assert all(holder(path.parent) is None for path in tmp_path.glob("runs/*/*/lock"))


@pytest.mark.slow
def test_damaged_records_are_left_alone_and_named(tmp_path, data_dir):
    records = [Record(tmp_path, cell.config) for cell in tiny_study("squeeze").cells]
    for record in records:
        train(record.config, record, data_dir)
    plain, four, *_ = (record.path for record in records)
    summary = (plain / "summary.json").read_bytes()
    (plain / "summary.json").write_bytes(summary[:50])
    config = (four / "config.json").read_text()
    (four / "config.json").write_text(config.replace('"ratio": 16', '"ratio": 5'))
    done = call("run", "squeeze", *WORDS, DATA_DIR=str(data_dir), RESULTS=str(tmp_path))
    assert done.returncode == 1 and "1 to train" in done.stdout
    assert f"{plain / 'summary.json'} cannot be trusted" in done.stdout
    assert f"{four / 'config.json'} is not what the run wrote" in done.stdout
    assert "trained again" in done.stdout and state(four) == "done"
    assert (plain / "summary.json").read_bytes() == summary[:50]
    assert "Not in the means: 1 damaged" in done.stdout
    shown = call("status", RESULTS=str(tmp_path))
    assert "1 damaged" in shown.stdout and str(plain / "summary.json") in shown.stdout

    # it goes only by its full name
    name = f"{plain.parent.name}/{plain.name}"
    refused = call("delete", plain.parent.name, RESULTS=str(tmp_path))
    assert refused.returncode == 2 and f"did you mean {name!r}?" in refused.stderr
    assert call("delete", name, RESULTS=str(tmp_path)).returncode == 0 and not plain.exists()


# A clock that goes on by an hour once a file is there.
AN_HOUR_LATER = """
import time
from pathlib import Path
there = time.monotonic
time.monotonic = lambda: there() + 3600 * Path({slept!r}).exists()
"""


@pytest.mark.slow
def test_a_grid_that_was_put_to_sleep_is_not_taken_for_a_hang(tmp_path, data_dir):
    slept, results = tmp_path / "slept", tmp_path / "results"
    (tmp_path / "sitecustomize.py").write_text(AN_HOUR_LATER.format(slept=str(slept)))
    there = {"DATA_DIR": str(data_dir), "RESULTS": str(results), "WORKERS": "2"}
    process = start("run", "squeeze", *LONG, **there, PYTHONPATH=str(tmp_path))
    wait_for(lambda: len(workers(results, steps=1)) == 2)
    os.killpg(process.pid, signal.SIGSTOP)  # Ctrl-Z
    slept.touch()
    seen = max(holder(path.parent).step for path in results.glob("runs/*/*/lock"))
    os.killpg(process.pid, signal.SIGCONT)  # fg
    wait_for(lambda: len(workers(results, steps=seen + 20)) == 2)  # both go on
    process.terminate()
    output, _ = process.communicate()
    assert "hang" not in output and not list(results.glob("runs/*/*/error.txt"))


def test_a_run_that_is_being_trained_is_not_deleted(tmp_path):
    record = Record(tmp_path, tiny())
    record.begin()
    with hold(record.path), pytest.raises(ConfigError, match="is being trained"):
        delete(find_run(tmp_path, record.name))
    assert record.path.exists()


def test_tiny_is_what_the_faults_count_on():
    assert TINY["batch_size"] == 16 and TINY["curve_images"] == 16
