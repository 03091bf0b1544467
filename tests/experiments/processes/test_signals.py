"""A command that is told to end, once or more often, or whose output nobody takes any more."""

import errno
import os
import signal
import subprocess
import sys

import pytest
from command_line import bare, start, workers
from conftest import LINUX, ROOT, tiny_words
from waiting import wait_for

from experiments.launch.queue import Launcher
from experiments.processes import signals as stop
from experiments.processes.output import Lossy

LONG = tiny_words(epochs=400)
INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "more", "status"),
    [
        (TERM, [TERM, HUP, TERM], 143),
        (HUP, [TERM], 129),
        (INT, [TERM, HUP], 130),
        (TERM, [INT], 143),
    ],
    ids=["timeout", "a terminal that is closed", "Ctrl-C under make", "Ctrl-C after timeout"],
)
def test_more_signals_do_not_end_an_orderly_stop(tmp_path, data_dir, first, more, status):
    there = {"DATA_DIR": str(data_dir), "RESULTS": str(tmp_path), "WORKERS": "2"}
    process = start("run", "squeeze", *LONG, **there)
    wait_for(lambda: len(workers(tmp_path, steps=1)) == 2)
    process.send_signal(first)
    while not process.stdout.readline().startswith("stopping"):
        pass
    for number in more:
        process.send_signal(number)
    output, errors = process.communicate()
    assert process.returncode == status, output + errors
    assert "all that is done is kept" in output and errors == ""
    assert len(list(tmp_path.glob("runs/*/*/checkpoint.pt"))) == 2


@pytest.mark.slow
def test_timeout_around_make_loses_no_checkpoint(tmp_path):
    """It signals make, and then the group of all: a second time to the one that trains."""
    words = ["timeout", "1h", "make", "--old-file", ".venv/.installed", f"PYTHON={sys.executable}",
             "ablation-squeeze", "DATASET=cifar10_mini", "NETWORK=resnet20", "RECIPE=demo",
             "WORKERS=2", f"DATA_DIR={tmp_path / 'data'}", f"RESULTS={tmp_path}"]  # fmt: skip
    process = subprocess.Popen(
        words, cwd=ROOT, env=bare(), text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    wait_for(lambda: process.poll() is not None or len(workers(tmp_path, steps=1)) == 2)
    process.send_signal(signal.SIGALRM)  # as where the hour is over
    output = process.communicate()[0]
    assert process.returncode == 124 and "all that is done is kept" in output, output
    assert "Traceback" not in output
    wait_for(lambda: not list(tmp_path.glob("runs/*/*/lock")))  # make may end before its command
    assert len(list(tmp_path.glob("runs/*/*/checkpoint.pt"))) == 2
    assert not list(tmp_path.glob("runs/*/*/error.txt"))


def answers(monkeypatch, *signals: tuple[int, float]) -> list[str]:
    """What each of the signals does at its second."""
    handler, done = stop.Stop(), []
    for number, second in signals:
        monkeypatch.setattr(stop.time, "monotonic", lambda second=second: second)
        try:
            handler(number, None)
            done.append("nothing")
        except (KeyboardInterrupt, SystemExit) as error:
            done.append(str(error) or "Ctrl-C")
    return done


@pytest.mark.parametrize(
    ("signals", "done"),
    [
        ([(TERM, 0), (TERM, 9), (HUP, 9)], ["143", "nothing", "nothing"]),
        ([(INT, 0), (INT, 2)], ["Ctrl-C", "Ctrl-C"]),
        ([(INT, 0), (INT, 0.1), (INT, 0.2)], ["Ctrl-C", "nothing", "nothing"]),  # timeout -s INT
        ([(INT, 0), (TERM, 1), (INT, 2)], ["Ctrl-C", "nothing", "Ctrl-C"]),
        ([(TERM, 0), (INT, 2), (INT, 4)], ["143", "nothing", "Ctrl-C"]),
    ],
)
def test_only_a_second_ctrl_c_hurries(monkeypatch, signals, done):
    assert answers(monkeypatch, *signals) == done


class Finalised:
    def __del__(self):
        os.kill(os.getpid(), TERM)


class Busy(Launcher):
    """A launcher whose one run never ends."""

    def __init__(self):
        super().__init__()
        self.active = ("a run",)

    def __exit__(self, *_): ...

    def begin(self):
        yield "a look"

    def look(self):
        return iter(())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_stop_that_python_drops_ends_the_loop():
    stop.handle_stops()
    events = Busy().train(())
    assert next(events) == "a look"
    Finalised()  # a signal comes while it is finalised: what that raises goes nowhere
    with pytest.raises(SystemExit, match="143"):
        next(events)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(INT, 130), (TERM, 143), (HUP, 129)])
def test_checkpoints_are_written_though_nobody_reads_the_output(tmp_path, data_dir, number, status):
    """As in `make ... | tee log`, where Ctrl-C ends tee, too."""
    there = {"DATA_DIR": str(data_dir), "RESULTS": str(tmp_path), "WORKERS": "2"}
    process = start("run", "squeeze", *LONG, **there)
    wait_for(lambda: len(workers(tmp_path, steps=1)) == 2)
    process.stdout.close()
    process.stderr.close()
    process.send_signal(number)
    assert process.wait() == status
    assert len(list(tmp_path.glob("runs/*/*/checkpoint.pt"))) == 2
    assert not list(tmp_path.glob("runs/*/*/error.txt"))


@pytest.mark.slow
@pytest.mark.parametrize("to", [">/dev/full", ">&- 2>&- <&-"])
def test_output_that_goes_nowhere_fails_no_run(tmp_path, data_dir, to):
    words = [sys.executable, "-m", "experiments", "run", "squeeze", *tiny_words()]
    there = {"DATA_DIR": str(data_dir), "RESULTS": str(tmp_path)}
    done = subprocess.run(
        ["bash", "-c", f'"$@" {to}', "bash", *words], cwd=ROOT, env=bare() | there, text=True,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list(tmp_path.glob("runs/*/*/summary.json"))) == 5
    assert not list(tmp_path.glob("runs/*/*/error.txt"))


def full():
    return open("/dev/full", "w")


def without_reader():
    ends = os.pipe()
    os.close(ends[0])
    return os.fdopen(ends[1], "w")


@LINUX
@pytest.mark.parametrize("broken", [full, without_reader])
def test_a_text_that_cannot_be_written_is_dropped(broken):
    stream = broken()
    with pytest.raises(OSError) as error:
        print("x", file=stream, flush=True)
    with pytest.raises(OSError):
        stream.close()
    assert error.value.errno in (errno.ENOSPC, errno.EPIPE)
    stream = broken()
    lossy = Lossy(stream)
    print("x" * 100_000, file=lossy, flush=True)
    print("more", file=lossy, flush=True)
    stream.close()  # what Python does at its end
    print("after its end", file=lossy, flush=True)


ORPHAN = """
import os, sys
from multiprocessing import forkserver
from experiments.processes.fork_server import warm_up
warm_up()
child, parent = forkserver.connect_to_new_process([])
os.close(parent)  # as where the runner is killed now, before it says what the process is for
os.read(child, 100)
"""


@pytest.mark.slow
def test_a_process_whose_runner_was_killed_at_once_ends_without_a_word():
    done = subprocess.run(
        [sys.executable, "-c", ORPHAN], cwd=ROOT, env=bare(), capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
