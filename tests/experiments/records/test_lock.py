"""Who trains a run: one process at a time, and none that has died."""

import gc
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import ROOT
from waiting import wait_for

from experiments.records import lock
from experiments.records.lock import Moved, confirm, hold, holder
from experiments.records.signs import SIZE

HOLDER = """
import sys, time
from pathlib import Path
from experiments.records.lock import hold
with hold(Path(sys.argv[1])) as held:
    held.tell(step=3, steps=9)
    print("held", flush=True)
    time.sleep(1000)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_one_at_a_time_and_it_says_who(tmp_path, other):
    who = holder(tmp_path)
    assert (who.pid, who.step, who.steps) == (other.pid, 3, 9)
    with hold(tmp_path) as ours:
        assert ours is None
    assert holder(tmp_path).pid == other.pid  # a vain try takes nothing away


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_one_that_died_holds_nothing(tmp_path, other, number):
    other.send_signal(number)
    other.wait()
    assert (tmp_path / "lock").exists() and holder(tmp_path) is None
    with hold(tmp_path) as ours:
        assert ours is not None and holder(tmp_path).pid == os.getpid()
    assert not (tmp_path / "lock").exists()


@pytest.mark.parametrize("junk", ["5", "[1]", "", "{", "null", "\0" * 600])
def test_a_lock_file_with_anything_in_it_is_taken(tmp_path, junk):
    (tmp_path / "lock").write_text(junk)
    with hold(tmp_path) as ours:
        assert ours is not None and holder(tmp_path).pid == os.getpid()


PARENT = """
import os, sys, time
from pathlib import Path
from experiments.records.lock import hold
with hold(Path(sys.argv[1])):
    if not os.fork():
        print(os.getpid(), flush=True)  # what a fork does to locks has happened then
    time.sleep(1000)
"""


def test_a_child_that_outlives_its_parent_does_not_keep_the_lock(tmp_path):
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
        try:
            assert holder(tmp_path) is None
            with hold(tmp_path) as ours:
                assert ours is not None
        finally:
            os.kill(child, signal.SIGKILL)


def test_nobody_holds_what_is_not_there(tmp_path):
    assert holder(tmp_path) is None and holder(tmp_path / "nowhere") is None


def grab(folder: Path, rounds: int) -> None:
    """Adds one to a number in a file, under the lock: a race loses some."""
    for _ in range(rounds):
        while True:
            with hold(folder) as ours:
                if ours is not None:
                    number = int((folder / "number").read_text())
                    time.sleep(0.001)
                    (folder / "number").write_text(str(number + 1))
                    break


def test_no_two_processes_have_it_at_once_though_its_file_comes_and_goes(tmp_path):
    (tmp_path / "number").write_text("0")
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=grab, args=(tmp_path, 40)) for _ in range(4)]
    for process in processes:
        process.start()
    while any(process.is_alive() for process in processes):
        holder(tmp_path)  # someone who only looks is in nobody's way
    assert (tmp_path / "number").read_text() == "160"


def foreign(beat: int) -> bytes:
    who = {"machine": "another one", "host": "far", "pid": 1, "beat": beat}
    return json.dumps(who).encode().ljust(SIZE)


def test_one_that_another_machine_still_writes_to_is_not_taken(tmp_path, monkeypatch):
    """A disk that does not pass locks on: ours is granted although the other one holds it."""
    monkeypatch.setattr(lock, "BEAT", 1.0)
    path, stop = tmp_path / "lock", threading.Event()

    def beat() -> None:
        with path.open("wb", buffering=0) as file:
            for number in range(1000):
                os.pwrite(file.fileno(), foreign(number), 0)
                if stop.wait(0.2):
                    return

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        wait_for(lambda: path.exists() and path.stat().st_size)
        assert holder(tmp_path).host == "far"
        with hold(tmp_path) as ours:
            assert ours is None
    finally:
        stop.set()
        thread.join()
    monkeypatch.setattr(lock, "BEAT", 0.05)
    with hold(tmp_path) as ours:  # the other machine has gone
        assert ours is not None


def test_another_machine_that_fell_silent_holds_nothing(tmp_path):
    path = tmp_path / "lock"
    path.write_bytes(foreign(7))
    assert holder(tmp_path).host == "far"
    long_ago = time.time() - 3 * lock.BEAT
    os.utime(path, (long_ago, long_ago))
    assert holder(tmp_path) is None


def test_another_machine_that_wakes_up_is_told_that_its_run_is_ours(tmp_path, monkeypatch):
    """A disk that does not pass locks on: it has its file open, and was silent for too long."""
    monkeypatch.setattr(lock, "BEAT", 0.01)
    (path := tmp_path / "lock").write_bytes(foreign(7))
    with path.open("r+b") as theirs, hold(tmp_path) as ours:
        assert ours is not None
        confirm(tmp_path)
        with monkeypatch.context() as there:
            there.setitem(lock.HELD, tmp_path, theirs.fileno())  # as in its process
            with pytest.raises(Moved, match="or another process has taken it over"):
                confirm(tmp_path)
    assert not path.exists()


def test_signs_of_life_are_left_at_once_and_then_at_every_beat(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(lock.time, "monotonic", lambda: clock[0])
    with hold(tmp_path) as ours:
        seen = []
        for step, passed in enumerate((0.0, 0.9, 0.2, 0.9, 0.1, 5.0)):
            clock[0] += passed * lock.BEAT
            ours.tell(step=step)
            seen.append(holder(tmp_path).step)
    assert seen == [0, 0, 2, 2, 4, 5]


def test_a_lock_that_was_given_back_leaves_no_file_open(tmp_path):
    gc.collect()  # what earlier tests have left open is closed now
    before = os.listdir("/dev/fd")
    for _ in range(3):
        with hold(tmp_path) as ours:
            assert ours is not None and len(os.listdir("/dev/fd")) == len(before) + 1
    assert len(os.listdir("/dev/fd")) == len(before)
