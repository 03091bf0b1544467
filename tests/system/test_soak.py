"""A grid that is disturbed again and again ends as one that nobody disturbed.

Its processes are killed, told to stop more than once, left without a terminal; its results are
moved away and back, and their disk is full for a moment.

`make soak` does it for MINUTES; the suite, once.
"""

import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from command_line import start, workers
from conftest import tiny_study, tiny_words, train_study
from waiting import wait_for

from experiments.records.results import read_result

MINUTES = float(os.environ.get("MINUTES", 0))
KILLS = 100 if MINUTES else 15  # at least, beside the other troubles
OF_A_GRID = 20  # troubles at most: else it would never end
FILES = ["config.json", "metrics.jsonl", "summary.json", "predictions.npz"]

WORDS = ["run", "squeeze", *tiny_words(epochs=3), "--seeds", "3", "--checkpoint-every", "0s"]

# A clock that jumps by up to a day, to and fro, whenever somebody looks.
JUMPS = """
import random, time
there = time.time
time.time = lambda: there() + random.uniform(-86400, 86400)
"""


def results_of(results: Path) -> dict[str, bytes]:
    return {
        f"{path.parent.name}/{path.name}/{name}": (path / name).read_bytes()
        for path in results.glob("runs/*/seed*")
        for name in FILES
    }


def finished(results: Path) -> dict[Path, tuple[int, int]]:
    """When, and as which file, each summary was written: one that is written again differs."""
    return {
        path: (path.stat().st_mtime_ns, path.stat().st_ino)
        for path in results.glob("runs/*/*/summary.json")
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, data_dir):
    results = tmp_path_factory.mktemp("undisturbed")
    train_study(tiny_study("squeeze", seeds=3, epochs=3), results, data_dir)
    assert len(finished(results)) == 15
    return results_of(results)


def begin(results: Path, there: dict[str, str]) -> subprocess.Popen:
    """A runner that has come so far that it trains, or has nothing to do."""
    runner = start(*WORDS, **there)
    wait_for(lambda: runner.poll() is not None or list(results.glob("runs/*/*/lock")))
    return runner


def children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def kill(runner: subprocess.Popen, results: Path, chance: random.Random) -> None:
    victims = {
        "runner": [runner.pid],
        "its helpers": children(runner.pid),  # the fork server
        "a worker": workers(results),
    }
    [kind] = chance.choices(list(victims), weights=[2, 1, 12])
    os.kill(chance.choice(victims[kind] or [runner.pid]), signal.SIGKILL)


def stop_twice(runner: subprocess.Popen, results: Path, chance: random.Random) -> None:
    """As `timeout`, make and systemd: the runner first, and then its group, and again."""
    os.kill(runner.pid, signal.SIGTERM)
    for number in chance.choices([signal.SIGTERM, signal.SIGHUP], k=3):
        time.sleep(chance.uniform(0, 0.3))
        os.killpg(runner.pid, number)


def close_terminal(runner: subprocess.Popen, results: Path, chance: random.Random) -> None:
    """Nobody takes what it prints any more, and then it is told to end."""
    runner.stdout.close()
    runner.stderr.close()
    time.sleep(chance.uniform(0, 0.3))
    os.killpg(runner.pid, chance.choice([signal.SIGHUP, signal.SIGINT]))


def move(runner: subprocess.Popen, results: Path, chance: random.Random) -> None:
    """The results are moved away and back; what was begun in their place meanwhile is deleted."""
    away = results.with_name("away")
    results.rename(away)
    time.sleep(chance.uniform(0, 2))
    while away.exists():
        shutil.rmtree(results, ignore_errors=True)
        with suppress(OSError):  # something is written there at this moment
            away.rename(results)


def fill_disk(runner: subprocess.Popen, results: Path, chance: random.Random) -> None:
    """Nothing more can be written for a moment."""
    ballast = results.with_name("ballast")
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))
    time.sleep(chance.uniform(0, 2))
    ballast.unlink()


TROUBLES = {kill: 12, stop_twice: 1, close_terminal: 1, move: 1, fill_disk: 1}  # how often of 16


def possible(disk: Path) -> dict[Callable, int]:
    """TROUBLES, without a full disk where that would be everybody's."""
    if disk.is_mount():
        return TROUBLES
    print("no full disk: no disk of our own: needs root")
    return {trouble: often for trouble, often in TROUBLES.items() if trouble is not fill_disk}


def disturb(results: Path, there: dict[str, str], chance: random.Random, kinds) -> Counter[str]:
    """Trains the grid to its end, and disturbs it OF_A_GRID times; returns how often by what."""
    troubles, seen, runner = Counter(), {}, None
    try:
        while True:
            runner = runner or begin(results, there)
            time.sleep(chance.uniform(0, 0.7))
            now = finished(results)
            assert all(now[path] == when for path, when in seen.items()), "trained twice"
            seen = now
            if troubles.total() < OF_A_GRID and runner.poll() is None:
                [trouble] = chance.choices(list(kinds), weights=kinds.values())
                with suppress(ProcessLookupError):  # it has just ended
                    trouble(runner, results, chance)
                    troubles[trouble.__name__] += 1
            if runner.stdout.closed:
                runner.wait()
                runner = None
            elif runner.poll() is not None:
                output, errors = runner.communicate()
                assert "Traceback" not in output + errors, output + errors
                if runner.returncode == 0:
                    return troubles
                runner = None
    finally:
        if runner is not None:
            runner.kill()
            runner.wait()


@pytest.fixture
def disk(tmp_path):
    """A small disk where we may have one, else a folder."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", str(folder)]
    is_mounted = not subprocess.run(mount, capture_output=True).returncode
    yield folder
    if is_mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.timeout(900 + 60 * MINUTES)
def test_a_grid_that_is_killed_again_and_again_ends_as_if_nobody_had(
    tmp_path, disk, data_dir, undisturbed
):
    clock = tmp_path / "clock"
    clock.mkdir()
    (clock / "sitecustomize.py").write_text(JUMPS)
    deadline, number, troubles = time.monotonic() + 60 * MINUTES, 0, Counter()
    kinds = possible(disk)
    while troubles["kill"] < KILLS or time.monotonic() < deadline:
        results, number = disk / f"results{number}", number + 1
        there = {"DATA_DIR": str(data_dir), "RESULTS": str(results), "PYTHONPATH": str(clock)}
        seed = random.randrange(10**6)
        print(f"round {number}, chance {seed}")
        troubles += disturb(results, there, random.Random(seed), kinds)
        for path in results.glob("runs/*/seed*"):
            assert read_result(path).summary["state"] == "done"
            assert not {"lock", "error.txt", "log.txt"} & {file.name for file in path.iterdir()}
        assert results_of(results) == undisturbed
        shutil.rmtree(results)
    print(f"{number} rounds: {dict(troubles)}")
