"""Both ends of a run on a Ray cluster, without one: its place on a node, and the driver."""

import hashlib
import json
import os
import resource
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import LINUX, kept_data, tiny
from somebody import let_all_in

from experiments.data.datasets import path_of
from experiments.launch.cluster import RaySettings
from experiments.launch.events import Ended, Outcome, Progressed, Requeued
from experiments.launch.ray.driver import Ray, RemoteRun
from experiments.launch.ray.files import keep, to_send
from experiments.launch.ray.node import Actor, Report
from experiments.records import files
from experiments.records.files import digest_of_file, read_sealed
from experiments.records.lock import Moved, hold, holder
from experiments.records.record import Record
from experiments.records.states import DISK_FULL, UNFIT, failure
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
    with (run := remote(record)).held:
        yield driver, run


def remote(record: Record) -> RemoteRun:
    held, stop = ExitStack(), SimpleNamespace(remote=lambda: f"stop {record.name}")
    lock = held.enter_context(hold(record.path))
    return RemoteRun(record, SimpleNamespace(stop=stop), lock, held, has_begun=True)


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


def test_what_comes_back_does_not_come_into_a_folder_of_another_runner(active):
    _, run = active
    path = run.record.path
    path.rename(path.parent / "away")
    path.mkdir()
    (path / "log.txt").write_text("theirs")
    with pytest.raises(Moved):
        keep(run.record, {"log.txt": None})
    assert (path / "log.txt").read_text() == "theirs"


@LINUX
def test_what_comes_back_is_on_the_disk_before_the_seal(active, monkeypatch):
    order, record = [], active[1].record
    sync, replace = os.fsync, os.replace
    name = lambda file: Path(os.readlink(f"/proc/self/fd/{file}")).name  # noqa: E731
    monkeypatch.setattr(files.os, "fsync", lambda file: order.append(name(file)) or sync(file))
    monkeypatch.setattr(files.os, "replace", lambda a, b: order.append(b.name) or replace(a, b))
    keep(record, {"summary.json": b"{}", "metrics.jsonl": b""})
    seal = order.index("summary.json")
    assert order.index("metrics.jsonl") < order.index("seed0") < seal
    assert {record.path.parent.name, "runs"} <= set(order[:seal]) and order[seal + 1 :] == ["seed0"]


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


@contextmanager
def small_disk() -> Iterator[None]:
    """As if a disk were full: no file gets more than a few bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


KINDS = {"deleted": "Moved", "full": DISK_FULL, "damaged": "ConfigError"}


@pytest.fixture(params=KINDS)
def spoiled(request, active, monkeypatch) -> Iterator[tuple[str, Report, RemoteRun]]:
    """The driver's run cannot be kept: the kind of that failure, its report, and another run."""
    ray = pytest.importorskip("ray", reason="`make cluster-tools` installs Ray")
    driver, run = active
    monkeypatch.setattr(ray, "wait", lambda refs, timeout: (refs, []))
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    way, other = request.param, Record(run.record.results, tiny(seed=1))
    other.path.mkdir(parents=True)
    driver.active = {"its": run, "theirs": remote(other)}
    if way == "deleted":
        shutil.rmtree(run.record.path)
    come = {"env.json": b"{"} if way == "damaged" else {"checkpoint.pt": b"x" * 1000}
    with small_disk() if way == "full" else ExitStack():
        yield KINDS[way], Report(files=come), driver.active["theirs"]


def test_a_run_that_cannot_be_kept_ends_alone(active, spoiled, monkeypatch):
    import ray

    (driver, run), (kind, report, other), killed = active, spoiled, []
    monkeypatch.setattr(ray, "get", lambda answer: report)
    monkeypatch.setattr(ray, "kill", killed.append)
    [event] = driver._receive("its")
    assert isinstance(event, Ended) and event.record == run.record
    assert (event.outcome.state, event.outcome.kind) == ("failed", kind)
    assert killed == [run.actor] and list(driver.active.values()) == [other]


def test_a_run_that_cannot_be_kept_takes_no_checkpoint_of_the_others(active, spoiled, monkeypatch):
    import ray

    (driver, run), (_, report, other), said = active, spoiled, []
    last = {f"stop {run.record.name}": report}  # by what is asked for
    theirs = Report(files={"checkpoint.pt": b"last"})
    monkeypatch.setattr(ray, "get", lambda refs: [Report(), last.get(refs[1], theirs)])
    monkeypatch.setattr(driver, "say", said.append)
    driver.__exit__()
    assert (other.record.path / "checkpoint.pt").read_bytes() == b"last"
    assert [text.startswith(f"{run.record.name}: ") for text in said] == [False, True]


def test_a_run_that_its_node_cannot_compute_goes_to_another_one_while_there_is_one(
    active, monkeypatch
):
    ray = pytest.importorskip("ray", reason="`make cluster-tools` installs Ray")
    driver, run = active
    driver.most, answers = 3, iter(("first", "second", "last"))
    unfit = Outcome("failed", UNFIT, "it was begun in bf16")
    monkeypatch.setattr(ray, "get", lambda answer: Report([Ended(run.record, unfit)]))
    for _ in range(2):
        driver.active[answer := next(answers)] = run
        [event] = driver._receive(answer)
        assert isinstance(event, Requeued) and driver.queue.pending.popleft() == run.record
        assert not driver.free and not driver.active and driver.has_room()
        run = remote(run.record)
    driver.active[answer := next(answers)] = run
    [event] = driver._receive(answer)
    assert event == Ended(run.record, unfit)
    assert driver.free == [run.actor] and failure(run.record.path).startswith(UNFIT)


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
        assert holder(run.record.path) is None  # another driver may have it
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
