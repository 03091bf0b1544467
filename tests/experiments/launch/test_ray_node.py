"""Both ends of a run on a Ray cluster, without one: its place on a node, and the driver."""

import hashlib
import json
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from conftest import kept_data, tiny
from somebody import let_all_in

from experiments.data.datasets import path_of
from experiments.launch.cluster import RaySettings
from experiments.launch.events import Ended, Outcome, Progressed, Requeued
from experiments.launch.ray.driver import Ray, RemoteRun
from experiments.launch.ray.files import keep, to_send
from experiments.launch.ray.node import Actor, Report
from experiments.records.files import digest_of_file, read_sealed
from experiments.records.lock import hold, holder
from experiments.records.record import Record
from experiments.records.states import failure
from experiments.records.study_file import Arithmetic
from experiments.train.environment import checkout
from experiments.train.train import train


def test_an_actor_takes_the_very_data_that_the_driver_has(tmp_path, data_dir, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    file, asked = data_dir / "cifar10.npz", []
    digest = digest_of_file(file)

    def content() -> bytes:
        asked.append(1)
        return file.read_bytes()

    assert Actor("cpu", data_dir, 60, 60).find("cifar10", digest, content) == data_dir
    assert not asked
    for times, damage in ((1, False), (1, False), (2, True), (2, False)):
        own = kept_data(digest) / "cifar10.npz"
        if damage:
            own.write_bytes(b"another")
        assert Actor("cpu", tmp_path, 60, 60).find("cifar10", digest, content) == own.parent
        assert len(asked) == times and own.read_bytes() == file.read_bytes()


def test_an_actor_sends_all_of_a_run_and_keeps_nothing(tmp_path, data_dir, monkeypatch):
    (place := tmp_path / "node").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    config, actor, come = tiny(), Actor("cpu", data_dir, 60, 60), {}
    digest = digest_of_file(data_dir / "cifar10.npz")
    begun = Arithmetic(precision="fp32", step="plain")  # the study, which the node does not know
    report = actor.start(config, {}, None, digest, [], begun)
    while not any(isinstance(event, Ended) for event in report.events):
        report = actor.advance()
        come |= report.files
    assert actor.stop() == Report() and not list(place.glob("se-ablation-*"))
    theirs = Record(tmp_path / "alone", config, begun)
    train(config, theirs, data_dir)
    kept = {name for name, content in come.items() if content is not None}
    assert kept == {path.name for path in theirs.path.iterdir()} - {"lock"}
    for name in ("metrics.jsonl", "summary.json", "predictions.npz", "config.json"):
        assert come[name] == (theirs.path / name).read_bytes(), name
    env = json.loads(come["env.json"])
    assert (env["precision"], env["step"]) == ("fp32", "plain")


@pytest.fixture
def active(tmp_path) -> tuple[Ray, RemoteRun]:
    """A driver, and a run of it that has come to a node."""
    record = Record(tmp_path / "results", tiny())
    record.path.mkdir(parents=True)
    driver = Ray(RaySettings(restarts=2), "cpu", 1, tmp_path, 60, 60, print)
    held = ExitStack()
    with held:
        lock = held.enter_context(hold(record.path))
        yield driver, RemoteRun(record, None, lock, held, has_begun=True)


def test_what_comes_back_is_kept_and_what_is_gone_is_deleted(tmp_path, active):
    _, run = active
    theirs, path = Record(tmp_path / "node", tiny()), run.record.path
    theirs.begin()
    again = [{"step": 3, "commit": None, "clean": None}, {"step": 5, "commit": None}]
    theirs.write_environment({"commit": None, "clean": None, "resumed": again})
    come = to_send(theirs.path)
    keep(run.record, come | {"log.txt": b"first"})
    assert (path / "log.txt").read_bytes() == b"first"
    keep(run.record, {"log.txt": None, "never.txt": None})
    assert not (path / "log.txt").exists()
    env = read_sealed(path / "env.json")  # the node does not know the commit
    assert {key: env[key] for key in ("commit", "clean")} == checkout()
    assert env["resumed"] == [{"step": 3}, {"step": 5}]  # where "clean" was as before
    (path / "error.txt").touch(), (path / ".part").touch()
    assert to_send(path).keys() == {"config.json", "env.json"}


def test_the_driver_tells_how_far_a_run_on_a_node_is(tmp_path, active):
    driver, run = active
    row = {"epoch": 2, "val_error": 60.0}
    for step, metrics in ((6, row), (8, None)):
        theirs = Progressed(Record(tmp_path / "node", tiny()), step, 9, metrics)
        event = driver.progress(run, theirs, Report([theirs], {}, "n1", 7))
        assert event == Progressed(run.record, step, 9, metrics)
        assert run.epoch == row  # of the last epoch that has ended
    who = holder(run.record.path)
    assert (who.host, who.pid, who.epoch, who.error) == ("n1", 7, 2, 60.0)


def test_a_stop_while_a_report_is_taken_leaves_the_run_active(tmp_path, active, monkeypatch):
    """Its checkpoint has to come home: only of active runs it does."""
    ray = pytest.importorskip("ray", reason="`make cluster-tools` installs Ray")
    driver, run = active
    report = Report([Progressed(Record(tmp_path / "node", tiny()), 1, 9, None)])
    monkeypatch.setattr(ray, "get", lambda answer: report)
    driver.active["answer"] = run
    events = driver._receive("answer")
    assert isinstance(next(events), Progressed)
    with pytest.raises(KeyboardInterrupt):
        events.throw(KeyboardInterrupt())
    assert list(driver.active.values()) == [run]


@pytest.mark.parametrize(
    ("has_begun", "has_checkpoint", "says"),
    [
        (True, True, "its node was lost, or its process there: again, with its last checkpoint"),
        (True, False, "its node was lost, or its process there: again, with no checkpoint"),
        (False, True, "there was no node for it after all: again"),
    ],
)
def test_a_run_whose_node_is_lost_goes_on_until_it_is_too_often(
    active, has_begun, has_checkpoint, says
):
    driver, run = active
    run.has_begun = has_begun
    if has_checkpoint:
        run.record.checkpoint.touch()
    for _ in range(2):
        event = driver.lose(run, RuntimeError("gone"))
        assert event == Requeued(run.record, Outcome("interrupted"), says)
        assert driver.queue.pending[0] == run.record
        assert holder(run.record.path) is None  # another runner may have it
    event = driver.lose(run, RuntimeError("gone"))
    assert isinstance(event, Ended) and event.outcome.reason.endswith("was lost 3 times")
    assert failure(run.record.path) == f"killed: {event.outcome.reason}"


def test_a_failure_that_the_node_could_not_write_is_written_here(active):
    driver, run = active
    event = driver.end(run, Outcome("failed", "OSError", "no disk"))
    assert isinstance(event, Ended) and failure(run.record.path) == "OSError: no disk"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be two users")
def test_data_that_another_user_keeps_on_a_node_are_not_used(tmp_path, monkeypatch):
    let_all_in(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    digest = hashlib.sha256(b"images").hexdigest()

    def find() -> Path:
        return Actor("cpu", tmp_path / "none", 60, 60).find("cifar10", digest, lambda: b"images")

    theirs = find()
    theirs.parent.chmod(0o700)
    child = os.fork()
    if not child:
        try:
            os.setgid(65534), os.setuid(65534)
            own = find()
            is_whole = path_of("cifar10", own).read_bytes() == b"images"
            os._exit(0 if own != theirs and is_whole else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
