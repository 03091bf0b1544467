"""Temporary folders: one is there for a block, and what a kill left of others is swept."""

import os
import signal
import tempfile

import pytest

from experiments.processes import scratch as scratches
from experiments.processes.scratch import PREFIX, scratch


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_is_there_for_a_block(place):
    with scratch() as folder, scratch() as other:
        (folder / "a").mkdir()
        (folder / "a" / "b").write_text("x")
        assert folder != other and {folder, other} == set(place.iterdir())
    assert not list(place.iterdir())


def test_that_of_a_process_that_was_killed_is_swept_and_nothing_else(place):
    others = {place / "pymp-x", place / f"{PREFIX}link", place / "elsewhere"}
    (place / "pymp-x").mkdir()
    (place / "elsewhere").mkdir()
    (place / f"{PREFIX}link").symlink_to(place / "elsewhere")
    (place / "elsewhere" / "kept").touch()
    killed = os.fork()
    if not killed:
        with scratch() as folder:
            (folder / "checkpoint.pt").touch()
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(killed, 0)
    assert len(set(place.iterdir()) - others) == 1
    with scratch() as folder:
        assert set(place.iterdir()) == others | {folder}
    assert set(place.iterdir()) == others and (place / "elsewhere" / "kept").exists()


def test_one_that_is_swept_before_it_is_locked_is_made_again(place, monkeypatch):
    make, made = tempfile.mkdtemp, []

    def swept(**words):
        made.append(make(**words))
        if len(made) == 1:
            os.rmdir(made[0])
        return made[-1]

    monkeypatch.setattr(scratches.tempfile, "mkdtemp", swept)
    with scratch() as folder:
        assert str(folder) == made[1] and folder.is_dir()
