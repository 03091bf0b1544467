"""The driver of Slurm's jobs without a Slurm: its answers are given, all files are real."""

import sys
from collections.abc import Callable, Iterator

import pytest
import slurm_answers
from conftest import LINUX, tiny
from slurm_answers import NAME

from experiments.launch.events import Ended, Event, Noted, Outcome, Progressed, Requeued, Started
from experiments.launch.queue import Queue
from experiments.launch.slurm import squeue
from experiments.launch.slurm.job import Pack
from experiments.launch.slurm.squeue import Job
from experiments.records.lock import hold
from experiments.records.parsing import ConfigError
from experiments.records.record import Record
from experiments.records.states import CANCELLED, KILLED, failure

cluster = slurm_answers.cluster  # a fixture


def until(events: Iterator[Event], is_it: Callable[[Event], bool]) -> Event:
    return next(event for event in events if is_it(event))


def finish(record: Record) -> None:
    record.begin()
    record.write_environment({})
    record.write_metrics([])
    record.finish({"state": "done"})


def test_it_follows_the_jobs_that_another_driver_has_sent(cluster):
    done, failing, trained, cancelled, gone = cluster.records
    finish(done)
    with cluster.driver as driver:
        events = driver.train(cluster.records)
        first = next(events)
        assert first == Ended(done, Outcome("done"))
        with hold_of(trained) as lock:
            lock.tell(step=3, steps=6, epoch=1, error=50.0)
            assert until(events, lambda e: isinstance(e, Started)).record == trained
            assert cluster.heard == ["4 runs are in job 7 already"]
            event = until(events, lambda e: isinstance(e, Progressed))
            assert (event.step, event.steps) == (3, 6)
            assert event.row == {"epoch": 1, "val_error": 50.0}
            assert until(events, lambda e: isinstance(e, Progressed)).row is None  # told once
        finish(trained)
        failing.begin()
        failing.fail("ValueError", "it was so")
        log = cluster.folder / NAME / "7_4_0_log.out"
        log.write_text("\n".join(f"line {i}" for i in range(40)))
        cluster.jobs[3:] = [("CANCELLED", "None"), ("NODE_FAIL", "None")]
        ended = {event.record: event.outcome for event in events if isinstance(event, Ended)}
    assert {record: outcome.state for record, outcome in ended.items()} == {
        trained: "done", failing: "failed", cancelled: "interrupted", gone: "failed",
    }  # fmt: skip
    assert (ended[failing].kind, ended[failing].reason) == ("ValueError", "it was so")
    assert failure(cancelled.path) == f"{CANCELLED}: job 7_3 was cancelled"
    assert failure(gone.path) == f"{KILLED}: job 7_4 ended: NODE_FAIL"
    assert "line 39" in (text := (gone.path / "error.txt").read_text()) and "line 9\n" not in text
    assert (cluster.folder / f"{NAME}.json").exists()  # not all of it is done


def hold_of(record: Record):
    record.path.mkdir(parents=True)
    return hold(record.path)


def test_a_job_that_is_queued_again_is_told_and_what_is_done_is_forgotten(cluster):
    for record in cluster.records[1:]:
        finish(record)
    with cluster.driver as driver:
        events = driver.train(cluster.records)
        with hold_of(cluster.records[0]) as lock:
            lock.tell(step=1, steps=6, epoch=0, error=None)
            until(events, lambda e: isinstance(e, Progressed))
        cluster.jobs[0] = "PENDING", "JobHeldUser"
        again = until(events, lambda e: isinstance(e, Requeued))
        assert again.sentence == "job 7_0 is in the queue again"
        assert sum("job 7_0 is held (JobHeldUser)" in text for text in cluster.heard) == 1
        cluster.jobs = None
        assert driver.jobs() == driver.active
        assert cluster.heard[-1] == "Slurm does not answer `squeue`: waiting for it"
        cluster.jobs = [("RUNNING", "None")] * 5
        finish(cluster.records[0])
        assert [type(event) for event in events] == [Started, Ended]
    assert "Slurm answers again" in cluster.heard
    assert not list(cluster.folder.glob("se-*"))


def test_an_end_cancels_the_jobs_and_ctrl_c_does_not(cluster):
    with pytest.raises(KeyboardInterrupt), cluster.driver as driver:
        jobs = [Job(f"7_{number}", "RUNNING") for number in range(5)]
        driver.active = dict(zip(cluster.records, jobs, strict=True))
        raise KeyboardInterrupt
    assert cluster.heard[-1].startswith("5 runs stay with Slurm: `scancel '7_[0-4]'` ends them")
    assert cluster.jobs[0][0] == "RUNNING"
    with cluster.driver:
        pass
    assert cluster.heard[-1] == "stopping: scancel '7_[0-4]' (5 runs), which write checkpoints"
    assert cluster.jobs[0][0] == "CANCELLED"


def test_an_end_leaves_the_jobs_of_other_commands_alone(cluster):
    with cluster.driver as driver:
        driver.active = {cluster.records[1]: Job("7_1", "RUNNING")}
    assert cluster.heard[-1] == "stopping: scancel 7_1 (1 runs), which write checkpoints"
    assert [state for state, _ in cluster.jobs].count("CANCELLED") == 1


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        (["7_3", "7_1", "7_2", "7_0", "7_5"], ["7_[0-3,5]"]),
        (["7", "12_4", "7"], ["12_4", "7"]),
        ([f"7_{n}" for n in (9, 10, 11)], ["7_[9-11]"]),
        ([], []),
    ],
)
def test_jobs_are_written_as_scancel_takes_them(numbers, words):
    assert squeue.together(numbers) == words


def test_what_slurm_refuses_waits_for_room_or_is_an_error(cluster, monkeypatch):
    def refuse(packs):
        raise ConfigError("Slurm refused the jobs: too many")

    monkeypatch.setattr(cluster.driver, "submit", refuse)
    cluster.driver.expected = dict.fromkeys(cluster.records, 1.0)
    cluster.jobs[1:] = [("CANCELLED", "None")] * 4  # those of today are sent again
    with hold_of(cluster.records[4]), cluster.driver as driver:
        driver.queue = Queue(cluster.records)
        [note] = driver.begin()
        assert isinstance(note, Noted) and note.record == cluster.records[4]
        assert "trains it: waiting for that" in note.sentence
        assert cluster.heard[-1].endswith("too many; the other 3 runs wait for room")
        assert set(driver.queue.elsewhere) == set(cluster.records[1:])
        driver.active.clear()
        driver.queue.retry()
        with pytest.raises(ConfigError, match="too many"):
            list(driver.begin())


def test_a_slurm_that_falls_silent_is_waited_for(cluster):
    with cluster.driver as driver:
        driver.jobs()
        cluster.jobs, driver.queue = None, Queue(cluster.records)
        assert list(driver.begin()) == [] and driver.queue.elsewhere == cluster.records
        cluster.jobs = [("RUNNING", "None")] * 5
        driver.queue.retry()
        assert list(driver.begin()) == [] and list(driver.active) == cluster.records
    assert cluster.heard[:2] == [
        "Slurm does not answer `squeue`: waiting for it", "Slurm answers again",
    ]  # fmt: skip


def test_a_slurm_that_never_answers_is_none(cluster):
    cluster.jobs, cluster.driver.queue = None, Queue(cluster.records)
    with pytest.raises(ConfigError, match="is this one of its hosts"), cluster.driver as driver:
        list(driver.begin())
    assert cluster.heard == []


def test_a_job_trains_its_runs_and_says_so_in_its_log(tmp_path, data_dir, capsys):
    records = [Record(tmp_path, tiny(seed=seed)) for seed in range(2)]
    Pack(records, ["cpu"], data_dir, 60, 60)()
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        line
        for record in records
        for line in (f"started {record.name}:", f"ended {record.name}: done ")
    ]
    assert [record.state for record in records] == ["done", "done"]


@LINUX
def test_a_job_whose_log_takes_nothing_more_trains_its_runs(tmp_path, data_dir, monkeypatch):
    record = Record(tmp_path, tiny())
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        monkeypatch.setattr(sys, "stderr", sys.stderr)  # is as before then
        Pack([record], ["cpu"], data_dir, 60, 60)()
    assert record.state == "done"
