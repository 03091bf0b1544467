"""A record names the commit of our code, and no other one."""

import os
import shutil
import subprocess

import pytest
from conftest import ROOT

from experiments.train import environment
from experiments.train.environment import checkout

WHO = {"GIT_AUTHOR_NAME": "x", "GIT_AUTHOR_EMAIL": "x", "GIT_COMMITTER_NAME": "x",
       "GIT_COMMITTER_EMAIL": "x", "GIT_CONFIG_GLOBAL": os.devnull,
       "GIT_CONFIG_SYSTEM": os.devnull}  # fmt: skip


def repository(folder):
    """A repository with one commit; returns that."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "file").write_text(folder.name)
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")} | WHO
    for words in (["init", "-q"], ["add", "file"], ["commit", "-qm", "x"]):
        subprocess.run(["git", *words], cwd=folder, check=True, env=env)
    command = ["git", "rev-parse", "HEAD"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, env=env)
    return done.stdout.strip()


@pytest.fixture(autouse=True)
def git():
    if not shutil.which("git"):
        pytest.skip("needs git")


def test_the_commit_and_a_change_are_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    commit = repository(tmp_path)
    assert checkout() == {"commit": commit, "clean": True}
    (tmp_path / "file").write_text("y")
    assert checkout() == {"commit": commit, "clean": False}


def test_code_inside_another_repository_has_no_commit(tmp_path, monkeypatch):
    repository(tmp_path)
    monkeypatch.setattr(environment, "ROOT", tmp_path / "unpacked")
    (tmp_path / "unpacked").mkdir()
    assert checkout() == {"commit": None, "clean": False}


@pytest.mark.parametrize("name", ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"])
def test_a_repository_in_the_environment_is_not_ours(tmp_path, monkeypatch, name):
    there = {"GIT_DIR": ".git", "GIT_WORK_TREE": ".", "GIT_INDEX_FILE": ".git/index"}[name]
    ours = repository(tmp_path / "ours")
    (tmp_path / "theirs").mkdir()
    repository(tmp_path / "theirs")
    (tmp_path / "theirs" / "file").write_text("changed")
    monkeypatch.setattr(environment, "ROOT", tmp_path / "ours")
    monkeypatch.setenv(name, str(tmp_path / "theirs" / there))
    assert checkout() == {"commit": ours, "clean": True}


def test_it_is_the_code_that_is_asked_for():
    assert environment.ROOT == ROOT
