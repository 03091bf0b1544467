"""What a run ends with costs that run alone, and it is known why."""

import math
import os
import signal
import threading
import time
from contextlib import nullcontext

import pytest
import scripted
from scripted import DONE, begun, runs, until

from experiments.launch import failures, queue, worker
from experiments.launch import local as launch
from experiments.launch.events import Ended, Outcome, Progressed, Requeued, Started
from experiments.launch.local import Local, LocalRun
from experiments.records.record import Record
from experiments.records.states import failure
from experiments.train.training import Watch

script = scripted.script  # a fixture


def told(record: Record, watch: Watch) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as before it could listen
    os.kill(os.getpid(), signal.SIGTERM)


def talks(record: Record, watch: Watch) -> None:
    os.write(1, b"".join(b"line %d\xff\n" % k for k in range(70)))
    os._exit(7)


OUTSIDE = Outcome("failed", "killed", "its process was ended from outside (SIGKILL)")
NO_ROOM = Outcome("failed", "out of memory", "the kernel ended the process (SIGKILL)")
AGAIN = Outcome("interrupted")
HUNG = Outcome("failed", "hang", "no sign of life for too long, so its process was ended")
ENDS = {
    "raises": (lambda *_: 1 / 0, Outcome("failed", "ZeroDivisionError", "division by zero")),
    "killed": (lambda *_: os.kill(os.getpid(), signal.SIGKILL), OUTSIDE),
    "255": (lambda *_: os._exit(255), OUTSIDE),
    "exits": (talks, Outcome("failed", "exit status 7", "the process ended without a word")),
    "nothing": (lambda *_: os._exit(0),
                Outcome("failed", "exit status 0", "the process ended without a word")),
    "aborts": (lambda *_: os.abort(), Outcome("failed", "SIGABRT", "the process crashed")),
    "told": (told, AGAIN),
}  # fmt: skip


@pytest.mark.parametrize("how", ENDS)
def test_a_process_that_ends_costs_its_run_alone_and_it_is_known_why(tmp_path, script, how):
    script[0], outcome = ENDS[how]
    first, second = runs(tmp_path, 2)
    with Local(["a"], tmp_path) as local:
        events = list(local.train([first, second]))
        assert local.free == ["a"]
    assert [event.outcome for event in events if isinstance(event, Ended)] == [outcome, DONE]
    assert failure(first.path) == (f"{outcome.kind}: {outcome.reason}" if outcome.kind else "")
    if how == "exits":  # the last words
        lines = (first.path / "error.txt").read_text().splitlines()[2:]
        assert lines == [f"line {k}\ufffd" for k in range(70 - failures.LOG_LINES, 70)]


@pytest.mark.parametrize("kills", [[3, 3], [4, 3]], ids=["another", "for want of memory"])
def test_a_kill_for_want_of_memory_is_told_from_another(tmp_path, script, monkeypatch, kills):
    is_for_memory, counts = kills[0] > kills[1], list(kills)
    for module in (launch, failures):  # at its beginning and at its end
        monkeypatch.setattr(module, "kills_for_memory", counts.pop)
    script[0] = ENDS["killed"][0]
    with Local(["a"], tmp_path) as local:
        *_, last = local.train(runs(tmp_path, 1))
    assert last.outcome == (NO_ROOM if is_for_memory else OUTSIDE)


def test_a_run_that_somebody_has_taken_up_gets_no_error_of_ours(tmp_path, script, monkeypatch):
    monkeypatch.setattr(failures, "hold", lambda path: nullcontext(None))
    script[0] = ENDS["killed"][0]
    [record] = runs(tmp_path, 1)
    with Local(["a"], tmp_path) as local:
        *_, last = local.train([record])
    assert last.outcome == OUTSIDE and failure(record.path) == ""


def hangs(record: Record, watch: Watch) -> None:
    watch.report(1, 2, None)
    time.sleep(1000)


def fall_silent(local: Local, run: LocalRun) -> None:
    """Ends a run as if it had said nothing for longer than its patience."""
    run.heard -= 1000
    local.looked = time.monotonic()
    local.end_hung()


def test_a_run_without_a_sign_of_life_is_ended_and_says_where_it_was(tmp_path, script):
    script[0] = hangs
    first, second = runs(tmp_path, 2)
    said = []
    with Local(["a"], tmp_path) as local:
        for event in local.train([first, second]):
            said.append(event)
            if isinstance(event, Progressed):
                [run] = local.active.values()
                run.heard -= 1000  # longer than its patience ...
                local.looked -= 1000
                local.end_hung()
                assert not run.is_hung and run.worker.process.is_alive()  # ... but we slept, too
                fall_silent(local, run)
                assert run.is_hung
    assert [event.outcome for event in said if isinstance(event, Ended)] == [HUNG, DONE]
    assert "in hangs" in (first.path / "error.txt").read_text()


@pytest.mark.parametrize("slots", ["aa", "ab", "a"])
def test_a_run_without_room_is_tried_again_where_it_had_neighbours(
    tmp_path, script, monkeypatch, slots
):
    monkeypatch.setattr(queue, "LOOK_EVERY", math.inf)  # it waits for no other process
    first, second = runs(tmp_path, 2)
    go = tmp_path / "go"

    def crowded(record, watch):
        if not go.exists():
            until(lambda: slots == "a" or begun(second))
            raise MemoryError("no room")

    script |= {0: crowded, 1: lambda *_: until(lambda: slots == "a" or go.exists())}
    no_room = Outcome("failed", "out of memory", "no room")
    said = []
    with Local(slots, tmp_path) as local:
        for event in local.train([first, second]):
            if isinstance(event, Requeued):
                assert event.sentence == (
                    "out of memory beside 1 more: again, with one less at a time"
                )
                assert local.free == [] and failure(first.path) == ""
            if getattr(event, "outcome", None) == no_room:
                go.touch()
            said += [(type(event), event.record)]
        assert len(local.free) == (1 if slots == "aa" else len(slots))
    assert (first.state, second.state) == ("done" if slots == "aa" else "failed", "done")
    assert ((Requeued, first) in said) == (slots == "aa")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("killed", [[AGAIN, ENDS["exits"][1]], [AGAIN, DONE], [AGAIN, DONE]]),
        ("hangs", [[HUNG], [AGAIN, DONE], [AGAIN, DONE]]),
        ("told", [[AGAIN]] * 3),
    ],
)
def test_runs_whose_shared_process_has_ended_go_on_alone(tmp_path, script, monkeypatch, how, said):
    """But for one that is known to be the reason, and where they were told to stop."""
    monkeypatch.setattr(worker, "start_work", threading.Event)  # it does not listen to SIGTERM yet
    records, go = runs(tmp_path, 3), tmp_path / "go"

    def ends(record, watch):
        if go.exists():
            os._exit(7)
        until(lambda: begun(*records))
        hangs(record, watch)

    script |= {0: ends, 1: lambda *_: until(go.exists), 2: lambda *_: until(go.exists)}
    found = {record: [] for record in records}
    with Local("aaa", tmp_path, together=records) as local:
        for event in local.train(records):
            if isinstance(event, Progressed):
                runs_now = {run.record: run for run in local.active.values()}
                assert len({run.worker.process for run in runs_now.values()}) == 1
                run = runs_now[event.record]
                if how == "hangs":
                    fall_silent(local, run)
                else:
                    os.kill(
                        run.worker.process.pid,
                        signal.SIGKILL if how == "killed" else signal.SIGTERM,
                    )
                run.worker.process.join()
                go.touch()
            elif not isinstance(event, Started):
                found[event.record].append(event.outcome)
                is_again = isinstance(event, Requeued)
                assert is_again == (event.outcome == AGAIN and how != "told")
                assert is_again == ("shared with others" in getattr(event, "sentence", ""))
        assert sorted(local.free) == ["a"] * 3
    assert list(found.values()) == said
