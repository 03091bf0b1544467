"""The queue of runs: real processes, forked from this one, that do as they are told."""

import math
import multiprocessing
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path

import pytest
from conftest import tiny

from experiments.launch import failures, queue, worker
from experiments.launch import local as launch
from experiments.launch.events import Ended, Noted, Outcome, Progressed, Requeued, Started
from experiments.launch.local import Local, LocalRun
from experiments.records.lock import hold, holder
from experiments.records.record import Record
from experiments.records.states import failure
from experiments.train.train import Interrupted, Watch


def train_in_process(*args) -> None:
    """As it is, and Python's standard error is descriptor 2 again, which pytest has changed."""
    sys.stderr = sys.__stderr__
    worker.train_in_process(*args)


FORK = multiprocessing.get_context("fork")


@pytest.fixture
def script(monkeypatch) -> dict[int, Callable[[Record, Watch], None]]:
    """What a run does instead of training, by its seed; one that is not named is done at once."""
    does = {}

    def train(config, record: Record, data_dir: Path, device: str, watch: Watch) -> None:
        record.begin()
        (record.path / "device").write_text(device)
        does.get(config.seed, lambda *_: None)(record, watch)
        record.write_environment({})
        record.finish({"state": "done"})

    monkeypatch.setattr("experiments.train.train.train", train)
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: FORK)
    monkeypatch.setattr(launch, "warm_up", lambda: None)
    monkeypatch.setattr(launch, "train_in_process", train_in_process)
    wait = launch.wait  # it looks up more often than once a second
    monkeypatch.setattr(launch, "wait", lambda pipes, timeout: wait(pipes, timeout / 50))
    return does


def stays(record: Record, watch: Watch) -> None:
    """Goes on until it is told to stop."""
    watch.report(1, 2, None)
    while not watch.stop():
        time.sleep(0.01)
    record.checkpoint.touch()
    raise Interrupted


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.01)


def runs(results: Path, number: int, **changes) -> list[Record]:
    return [Record(results, tiny(seed=seed, **changes)) for seed in range(number)]


def begun(*records: Record) -> bool:
    return all((record.path / "device").exists() for record in records)


DONE = Outcome("done")


@pytest.mark.parametrize("is_shared", [False, True])
@pytest.mark.parametrize("slots", ["a", "ab", "aab"])
def test_each_run_is_trained_once_in_order_and_as_many_at_a_time_as_there_are_slots(
    tmp_path, script, slots, is_shared
):
    records, n = runs(tmp_path, 2 * len(slots)), len(slots)
    for seed in range(2 * n):  # it ends only if n are under way at once
        group = records[seed // n * n :][:n]
        script[seed] = lambda record, watch, group=group: until(lambda: begun(*group))
    started, now, most = [], set(), 0
    with Local(slots, tmp_path, together=records if is_shared else ()) as local:
        assert local.workers == n
        for event in local.train(records):
            if isinstance(event, Started):
                started.append(event.record)
                now.add(event.record)
                most = max(most, len(now))
                at = [run.device for run in local.active.values()]
                assert sorted([*at, *local.free]) == sorted(slots)
            else:
                assert event == Ended(event.record, DONE)
                now.remove(event.record)
        assert sorted(local.free) == sorted(slots) and not local.active
    assert started == records and most == n
    assert all((r.path / "device").read_text() in slots and r.state == "done" for r in records)


def test_what_a_run_says_is_passed_on_and_so_is_how_it_is_to_be_trained(tmp_path, script):
    def speaks(record, watch):
        watch.note(f"every {watch.checkpoint_every} s")
        watch.report(3, 4, {"epoch": 1})

    script[0] = speaks
    [record] = runs(tmp_path, 1)
    with Local(["a"], tmp_path, checkpoint_every=7.5) as local:
        assert list(local.train([record])) == [
            Started(record),
            Noted(record, "every 7.5 s"),
            Progressed(record, 3, 4, {"epoch": 1}),
            Ended(record, DONE),
        ]


def test_what_another_runner_has_finished_or_seen_fail_is_not_trained(tmp_path, script):
    records = runs(tmp_path, 3)
    for record in records[:2]:
        record.begin()
    records[0].finish({"state": "done"})
    records[1].fail("ValueError", "it was so: indeed")
    with Local(["a"], tmp_path) as local:
        assert list(local.train(records)) == [
            Ended(records[0], DONE),
            Ended(records[1], Outcome("failed", "ValueError", "it was so: indeed")),
            Started(records[2]),
            Ended(records[2], DONE),
        ]
    assert not any(map(begun, records[:2]))


@pytest.mark.parametrize("is_seen", [True, False], ids=["seen", "a moment before it begins"])
def test_a_run_that_another_process_trains_is_waited_for_and_told_of_once(
    tmp_path, script, monkeypatch, is_seen
):
    first, second = runs(tmp_path, 2)
    first.path.mkdir(parents=True)
    looks = []

    def look(path):
        looks.extend([path] if path == first.path else [])
        if len(looks) == 4:
            theirs.close()
        return holder(path) if is_seen or len(looks) > 1 else None

    monkeypatch.setattr(launch, "holder", look)
    monkeypatch.setattr(queue, "LOOK_EVERY", 0.0)
    with Local(["a"], tmp_path) as local, ExitStack() as theirs:
        theirs.enter_context(hold(first.path))
        said = [event for event in local.train([first, second]) if event.record == first]
    who = f"process {os.getpid()} on {platform.node()}"
    elsewhere = Requeued(first, Outcome("elsewhere"), "trained elsewhere")
    assert said == [
        *([] if is_seen else [Started(first), elsewhere]),
        Noted(first, f"{who} trains it: waiting for that"),
        Started(first),
        Ended(first, DONE),
    ]
    assert len(looks) == 4 and second.state == "done"


@pytest.mark.parametrize("is_shared", [False, True])
def test_at_the_deadline_no_more_begin_and_those_under_way_write_checkpoints(
    tmp_path, script, is_shared
):
    records, said, heard = runs(tmp_path, 3), [], set()
    script |= {0: stays, 1: stays}
    together = records if is_shared else ()
    with Local("aa", tmp_path, together=together, say=said.append) as local:
        assert list(local.train(records, deadline=time.monotonic() - 1)) == []
        assert not any(map(begun, records))
        for event in local.train(records, deadline=time.monotonic() + 1000):
            heard |= {event.record} if isinstance(event, Progressed) else set()
            if len(heard) == 2:
                break
        assert said == []
    assert [record.state for record in records] == ["interrupted", "interrupted", "planned"]
    assert all(record.checkpoint.exists() for record in records[:2])
    assert said == ["stopping: 2 runs write their checkpoints; Ctrl-C again ends them at once"]


@pytest.mark.parametrize("is_shared", [False, True])
def test_the_end_leaves_no_process(tmp_path, script, monkeypatch, is_shared):
    monkeypatch.setattr(launch, "GRACE", 0.0)
    script[0] = lambda record, watch: (watch.report(1, 2, None), time.sleep(1000))
    records, said = runs(tmp_path, 2), []
    with Local("a", tmp_path, together=records if is_shared else (), say=said.append) as local:
        list(local.train(records[1:]))
        kept = [worker.process for worker in local.shared.idle["a"]]
        assert len(kept) == is_shared and all(process.is_alive() for process in kept)
        events = local.train(records[:1])
        while not isinstance(next(events), Progressed):
            pass
        [run] = local.active.values()
        assert run.worker.process.is_alive() and (run.worker.process in kept) == is_shared
    assert run.worker.process.exitcode in (-signal.SIGKILL, -signal.SIGTERM)
    with Local("a", tmp_path, say=said.append) as local:
        pass
    assert len(said) == 1  # nothing of an end at which none was under way


def told(record: Record, watch: Watch) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as before it could listen
    os.kill(os.getpid(), signal.SIGTERM)


def talks(record: Record, watch: Watch) -> None:
    os.write(1, b"".join(b"line %d\xff\n" % k for k in range(70)))
    os._exit(7)


OUTSIDE = Outcome("failed", "killed", "its process was ended from outside (SIGKILL)")
NO_ROOM = Outcome("failed", "out of memory", "the kernel ended the process (SIGKILL)")
ENDS = {
    "raises": (lambda *_: 1 / 0, Outcome("failed", "ZeroDivisionError", "division by zero")),
    "killed": (lambda *_: os.kill(os.getpid(), signal.SIGKILL), OUTSIDE),
    "255": (lambda *_: os._exit(255), OUTSIDE),
    "exits": (talks,
              Outcome("failed", "exit status 7", "the process ended without a word")),
    "nothing": (lambda *_: os._exit(0),
                Outcome("failed", "exit status 0", "the process ended without a word")),
    "aborts": (lambda *_: os.abort(), Outcome("failed", "SIGABRT", "the process crashed")),
    "told": (told, Outcome("interrupted")),
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


AGAIN = Outcome("interrupted")
HUNG = Outcome("failed", "hang", "no sign of life for too long, so its process was ended")


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


def test_a_thread_is_given_another_seed_of_what_it_has_trained(tmp_path, script):
    """Before what has waited for longer: A and B train, B ends, and its next seed begins."""
    a, b, c = (tiny(se={"ratio": ratio}) for ratio in (2, 4, 8))
    configs = [a, b, c, b.model_copy(update={"seed": 1}), c.model_copy(update={"seed": 1})]
    first, second, third, again, last = records = [Record(tmp_path, one) for one in configs]
    script[0] = lambda record, watch: until(lambda: record != first or begun(last))
    with Local("dd", tmp_path, together=records) as local:
        started = [one.record for one in local.train(records) if isinstance(one, Started)]
        processes = {worker.process for worker in local.shared.idle["d"]}
        assert len(local.shared.idle["d"]) == 2 and len(processes) == 1
        for config in (a, c, a):  # of two idle threads the one that has trained it
            [known] = [one for one in local.shared.idle["d"] if one.last.cell == config.cell]
            record = Record(tmp_path, config.model_copy(update={"seed": len(local.together)}))
            local.together.add(record)
            for event in local.train([record]):
                busy = [run.worker for run in local.active.values()]
                assert isinstance(event, Ended) or busy == [known]
    assert started == [first, second, again, third, last]


def test_ctrl_c_while_a_run_is_being_started_ends_that_run_too(tmp_path, script, monkeypatch):
    """Else it would go on for a moment, in a folder that `repeat` has just deleted."""
    start, begun = FORK.Process.start, []

    def interrupted(process) -> None:
        start(process)
        begun.append(process)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(FORK.Process, "start", interrupted)
    script[0] = stays
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), Local(["cpu"], tmp_path) as local:
            list(local.train(runs(tmp_path, 1)))
    finally:
        signal.signal(signal.SIGINT, before)
    [process] = begun
    ended = not process.is_alive()
    process.kill()
    assert ended and holder(runs(tmp_path, 1)[0].path) is None
