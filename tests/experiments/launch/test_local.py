"""The queue of runs: what begins when, and what is said of it."""

import os
import platform
import resource
import signal
import time
from contextlib import ExitStack

import pytest
import scripted
from conftest import tiny
from scripted import DONE, FORK, begun, runs, until

from experiments.launch import local as launch
from experiments.launch import queue
from experiments.launch.events import Ended, Noted, Outcome, Progressed, Requeued, Started
from experiments.launch.local import Local
from experiments.records.lock import hold, holder
from experiments.records.record import Record
from experiments.train.training import Interrupted, Watch

script = scripted.script  # a fixture


def stays(record: Record, watch: Watch) -> None:
    """Goes on until it is told to stop."""
    watch.report(1, 2, None)
    while not watch.stop():
        time.sleep(0.01)
    record.checkpoint.touch()
    raise Interrupted


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


def test_a_run_that_another_process_ends_a_moment_before_it_begins_is_that_ones(
    tmp_path, script, monkeypatch
):
    [record] = runs(tmp_path, 1)

    def look(path):
        if not record.finished:
            record.begin()
            record.finish({"state": "done"})

    monkeypatch.setattr(launch, "holder", look)
    monkeypatch.setattr(queue, "LOOK_EVERY", 0.0)
    with Local(["a"], tmp_path) as local:
        assert list(local.train([record])) == [
            Started(record),
            Requeued(record, Outcome("elsewhere"), "trained elsewhere"),
            Ended(record, DONE),
        ]


@pytest.mark.parametrize("characters", [5_000, 100_000], ids=["in the end", "at once"])
def test_what_a_run_prints_onto_a_full_disk_ends_nothing(tmp_path, script, characters):
    """No file gets more than 4 kB: the log has more, and the record has not."""

    def prints(record, watch):
        most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, most))
        print("." * characters)

    script[0] = prints
    [record] = runs(tmp_path, 1)
    with Local(["a"], tmp_path) as local:
        assert list(local.train([record])) == [Started(record), Ended(record, DONE)]
    assert record.state == "done" and (record.path / "log.txt").stat().st_size <= 4096


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


def test_of_runs_in_one_process_one_that_has_no_room_waits_and_the_others_go_on(tmp_path, script):
    first, second = records = runs(tmp_path, 2)
    seen, asked = tmp_path / "seen", []

    def has_no_room(record, watch):
        if not seen.exists():
            until(lambda: begun(*records))
            raise MemoryError("no room")

    script |= {0: lambda record, watch: until(seen.exists), 1: has_no_room}
    with Local("dd", tmp_path, together=records) as local:
        for event in local.train(records):
            if isinstance(event, Requeued):
                [left] = local.active.values()
                asked.append((event.record, left.record, [*local.free], event.sentence))
                seen.touch()
        assert left.worker.process.is_alive()  # of the threads, for what comes next
    sentence = "out of memory beside 1 more: again, with one less at a time"
    assert asked == [(second, first, [], sentence)]
    assert [record.state for record in records] == ["done"] * 2


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
