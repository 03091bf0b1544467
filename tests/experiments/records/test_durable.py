"""A run that is finished stays so: after a loss of power, in a folder that is shared or moved."""

import fcntl
import os
import re
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from command_line import call, start, workers
from conftest import LINUX, tiny, tiny_study, tiny_words
from somebody import as_somebody_else, let_all_in
from waiting import wait_for

from experiments.processes.child import printing_into
from experiments.records import files
from experiments.records.files import append_line, delete_partials, write_atomically
from experiments.records.lock import Moved, hold, holder
from experiments.records.record import Record, delete
from experiments.records.results import read_result
from experiments.records.states import state
from experiments.train.resume import find_checkpoint
from experiments.train.train import train

ENV = {"precision": "fp32", "data": "abc", "fingerprint": {"losses": [1.0], "on": "x"}}
SUMMARY = {"state": "done", "test_error": 1.0, "test_images": 1, "parameters": 1,
           "multiply_adds": 1, "hidden": {}}  # fmt: skip


def finish(results: Path) -> Record:
    """A finished run, written as `train` writes one."""
    record = Record(results, tiny())
    record.begin()
    record.note_start(ENV, 0)
    record.write_metrics([])
    record.append("metrics.jsonl", {"epoch": 1})
    record.append("timings.jsonl", {"epoch": 1, "images": 48, "seconds": 0.5})
    record.write_environment(ENV)
    record.finish(SUMMARY)
    return record


@contextmanager
def mounted(image: Path, folder: Path) -> Iterator[Path]:
    folder.mkdir()
    done = subprocess.run(["mount", "-o", "loop", image, folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"needs root and a loop device: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_finished_run_survives_a_loss_of_power(tmp_path):
    """What has reached the disk at the moment of its end is the whole run, on a real ext4."""
    if not shutil.which("mkfs.ext4"):
        pytest.skip("needs mkfs.ext4")
    image, copy = tmp_path / "disk", tmp_path / "copy"
    subprocess.run(["truncate", "-s", "32M", image], check=True)
    subprocess.run(["/usr/sbin/mkfs.ext4", "-q", image], check=True)
    with ExitStack() as stack:
        record = finish(stack.enter_context(mounted(image, tmp_path / "before")))
        there = record.path.relative_to(tmp_path / "before")
        shutil.copy(image, copy)  # as the disk is now: what only the memory holds is lost
        after = stack.enter_context(mounted(copy, tmp_path / "after")) / there
        assert (after / "metrics.jsonl").read_text() == '{"epoch": 1}\n'
        assert len((after / "timings.jsonl").read_text().splitlines()) == 2
        read_result(after)


@LINUX
def test_every_file_is_synced_before_the_seal_and_its_folder_too(tmp_path, monkeypatch):
    """The same without root: in which order the files reach the disk."""
    order = []
    sync, replace = files.os.fsync, files.os.replace
    name = lambda file: Path(os.readlink(f"/proc/self/fd/{file}")).name  # noqa: E731
    monkeypatch.setattr(files.os, "fsync", lambda file: order.append(name(file)) or sync(file))
    monkeypatch.setattr(
        files.os, "replace", lambda a, b: order.append(f"{Path(b).name} is there") or replace(a, b)
    )
    record = finish(tmp_path)
    seal = order.index("summary.json is there")
    last = order[order.index("env.json is there", order.index("timings.jsonl is there")) : seal]
    wanted = {"config.json", "metrics.jsonl", "timings.jsonl", "env.json", "seed0"}
    assert wanted | {record.path.parent.name, "runs"} <= set(last)
    assert order[seal + 1 :] == ["seed0"]


@pytest.mark.slow
def test_a_finished_run_that_is_not_whole_is_trained_again_and_kept(tmp_path, data_dir):
    records = [Record(tmp_path, cell.config) for cell in tiny_study("squeeze").cells]
    for record in records:
        train(record.config, record, data_dir)
    emptied, cut, lost, edited = (
        record.path / name
        for record, name in zip(
            records, ("metrics.jsonl", "predictions.npz", "env.json", "timings.jsonl"), strict=False
        )
    )
    whole = {path: path.read_bytes() for path in (emptied, cut)}
    emptied.write_bytes(b"")
    cut.write_bytes(whole[cut][:100])
    lost.unlink()
    edited.write_text(edited.read_text().replace('"images": 48', '"images": 47'))
    there = {"DATA_DIR": str(data_dir), "RESULTS": str(tmp_path)}
    done = call("run", "squeeze", *tiny_words(), **there)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 5 runs are there, 4 to train" in done.stdout
    for path in (emptied, cut, lost, edited):
        kept = tmp_path / "stale" / path.parent.parent.name / "seed0-1"
        assert re.search(f"trained again .*{path} .*; what is left is kept in {kept}", done.stdout)
        assert (kept / "summary.json").exists() and read_result(path.parent)
    assert {path: path.read_bytes() for path in whole} == whole


def test_a_folder_that_was_moved_is_not_written_to_any_more(tmp_path):
    """Another runner trains the run in a folder of the same name: nothing of ours comes there."""
    ours = Record(tmp_path, tiny())
    ours.begin()
    with hold(ours.path):
        ours.append("metrics.jsonl", {"epoch": 1})
        (tmp_path / "runs").rename(tmp_path / "away")
        ours.path.mkdir(parents=True)
        names = ("lock", "config.json", "metrics.jsonl", "error.txt", "checkpoint.pt")
        theirs = dict.fromkeys(names, b"theirs")
        for name, content in theirs.items():
            (ours.path / name).write_bytes(content)
        for write in (
            lambda: ours.append("metrics.jsonl", {"epoch": 2}),
            lambda: ours.write_metrics([]),
            lambda: ours.write_environment({}),
            lambda: ours.fail("X", "y"),
            lambda: ours.finish(SUMMARY),
            lambda: ours.begin(),
            lambda: find_checkpoint(ours, "cpu", {}, lambda how: {}, print),
        ):
            with pytest.raises(Moved, match="was moved or deleted"):
                write()
    assert {path.name: path.read_bytes() for path in ours.path.iterdir()} == theirs


def test_a_lock_of_another_runner_is_not_deleted(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with hold(folder):
        folder.rename(tmp_path / "away")
        folder.mkdir()
        (folder / "lock").write_text("theirs")
    assert (folder / "lock").read_text() == "theirs"


@pytest.mark.slow
def test_results_that_are_moved_away_end_their_runner_and_leave_the_new_ones_alone(
    tmp_path, data_dir
):
    results, away = tmp_path / "results", tmp_path / "away"
    there = {"DATA_DIR": str(data_dir), "RESULTS": str(results), "WORKERS": "1"}
    words = ["run", "squeeze", *tiny_words(epochs=20), "--checkpoint-every", "0s"]
    first = start(*words, **there)
    wait_for(lambda: workers(results, steps=1))
    results.rename(away)
    second = call(*words, **there)
    output, errors = first.communicate()
    assert second.returncode == 0, second.stdout + second.stderr
    assert "was moved or deleted" in output and "Traceback" not in output + errors
    found = list(results.glob("runs/*/seed*"))
    assert len(found) == 5
    for path in found:
        assert [row["epoch"] for row in read_result(path).metrics] == list(range(1, 21))


@pytest.fixture
def shared(tmp_path):
    """A folder that everybody may write to, with what a killed colleague has left in it."""
    let_all_in(tmp_path)
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    for name in ("lock", "log.txt"):
        (folder / name).write_text("theirs")
        (folder / name).chmod(0o444)
    return folder


def test_the_lock_of_a_killed_colleague_stops_nobody(shared):
    with as_somebody_else():
        assert holder(shared) is None
        with hold(shared) as lock:
            assert lock is not None and holder(shared).pid == os.getpid()
    assert not (shared / "lock").exists()


def test_the_lock_of_a_colleague_who_trains_is_respected(shared):
    with hold(shared), as_somebody_else():
        (shared / "lock").stat()
        with hold(shared) as lock:
            assert lock is None


def test_the_log_of_a_killed_colleague_is_replaced(shared):
    standard = [os.dup(number) for number in (1, 2)]
    try:
        with as_somebody_else(), printing_into(shared / "log.txt"):
            os.write(1, b"ours")
        assert (shared / "log.txt").read_text() == "ours"
    finally:
        for number, there in enumerate(standard, 1):
            os.dup2(there, number)
            os.close(there)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be two users")
def test_the_log_of_a_colleague_in_a_sticky_folder_is_one_sentence(shared):
    shared.chmod(0o1777)
    sticky = pytest.raises(PermissionError)
    with as_somebody_else(), sticky as error, printing_into(shared / "log.txt"):
        pass
    assert "sticky" in error.value.strerror and error.value.filename == str(shared / "log.txt")


@pytest.mark.parametrize("mask", [0o002, 0o022, 0o077])
def test_the_umask_decides_who_may_read_a_file(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_atomically(tmp_path / "atomic", lambda file: file.write(b"x"))
        append_line(tmp_path / "lines", {})
        with hold(tmp_path):
            modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("atomic", "lines", "lock"), 0o666 & ~mask)


@pytest.mark.parametrize("name", ["ratio.csv", "[a].json", "cifar10.npz"])
def test_a_file_that_is_written_again_sweeps_what_a_kill_left_of_it(tmp_path, name):
    others = {".gitignore", ".ratio.md.0123abcd", f".{name}.backup", f".{name}.0123abcde"}
    for other in others:
        (tmp_path / other).touch()
    writer = os.fork()
    if not writer:
        write_atomically(tmp_path / name, lambda _: os.kill(os.getpid(), signal.SIGKILL))
    os.waitpid(writer, 0)
    assert len(list(tmp_path.iterdir())) == len(others) + 1
    write_atomically(tmp_path / name, lambda file: file.write(b"whole"))
    assert {path.name for path in tmp_path.iterdir()} == others | {name}


def test_what_another_process_is_writing_is_not_swept(tmp_path):
    """Two write the same file at once: the last one wins, and both are content."""
    path = tmp_path / "ratio.csv"

    def write(file) -> None:
        write_atomically(path, lambda other: other.write(b"the other's"))
        delete_partials(tmp_path)
        file.write(b"ours")

    write_atomically(path, write)
    assert path.read_bytes() == b"ours" and list(tmp_path.iterdir()) == [path]


def test_one_that_is_swept_before_it_is_locked_is_begun_again(tmp_path, monkeypatch):
    lock, sweeps = fcntl.flock, [1]

    def late(file, how) -> None:
        if how == fcntl.LOCK_EX and sweeps:
            sweeps.pop()
            delete_partials(tmp_path)
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    write_atomically(tmp_path / "a", lambda file: file.write(b"whole"))
    assert not sweeps and [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_a_kill_left_half_written_is_swept(tmp_path):
    record = Record(tmp_path, tiny())
    record.begin()
    (record.path / ".checkpoint.pt.0123abcd").touch()
    record.begin()
    assert [path.name for path in record.path.iterdir()] == ["config.json"]
    assert state(record.path) == "interrupted"
    delete(record.path)
