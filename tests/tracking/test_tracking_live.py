"""Whether W&B is told of runs as they go, and what that costs where it cannot be reached."""

import os
import subprocess
import sys
from queue import Queue

import pytest
import wandb_runs
from conftest import ROOT
from wandb_server import KEY, UselessServer

from experiments.launch.background import Message
from experiments.records.parsing import ConfigError
from tracking import live, mirror
from tracking.account import prepare
from tracking.live import Follower, pick_mode

home, no_key, some_records = wandb_runs.home, wandb_runs.no_key, wandb_runs.some_records


@pytest.mark.parametrize(
    ("track", "variable", "mode"),
    [
        ("auto", None, "auto"), ("auto", "", "auto"), ("auto", "offline", "offline"),
        ("auto", "online", "online"), ("auto", "disabled", "off"), ("auto", "dryrun", "offline"),
        ("off", "online", "off"), ("online", "offline", "online"),
        ("offline", "disabled", "offline"),
    ],
)  # fmt: skip
def test_a_flag_wins_over_wandbs_variable(track, variable, mode, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    if variable is not None:
        monkeypatch.setenv("WANDB_MODE", variable)
    assert pick_mode(track) == mode


def test_a_project_that_wandb_does_not_take_is_refused_before_the_training(monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "my/project")
    assert pick_mode("off") == "off"
    with pytest.raises(ConfigError, match="WANDB_PROJECT"):
        pick_mode("auto")


def test_what_wandbs_own_settings_disable_is_read_to_its_end_and_nothing_is_missing(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(live, "has_key", lambda: True)
    monkeypatch.setattr(live, "usual_mode", lambda: "off")
    inbox, said = Queue(), []
    for message in (Message("started", tmp_path), Message("ended", tmp_path), None):
        inbox.put(message)
    assert Follower(tmp_path, [], "auto", said.append).listen(inbox)
    assert inbox.empty() and said == []


@pytest.mark.parametrize(("track", "variable"), [("on", ""), ("disabled", ""), ("auto", "shared")])
def test_another_word_is_refused(track, variable, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", variable)
    with pytest.raises(ConfigError, match=r"allowed are (auto|online), "):
        pick_mode(track)


def test_a_key_is_found_and_never_asked_for(no_key, monkeypatch):
    ask = "import sys; from tracking.account import has_key; sys.exit(not has_key())"
    for key, status in (("", 1), (KEY, 0)):
        found = os.environ | {"WANDB_API_KEY": key}
        assert subprocess.run([sys.executable, "-c", ask], cwd=ROOT, env=found).returncode == status


@pytest.mark.parametrize("kind", ["refuses", "hangs", "drops", "denies"])
def test_a_server_of_no_use_costs_one_warning_and_no_record(
    kind, some_records, no_key, monkeypatch
):
    """The background process, driven here with less patience than a user has."""
    monkeypatch.setattr(mirror, "CONNECT", 1)
    prepare(some_records)
    paths = sorted(path.parent for path in some_records.glob("runs/*/*/summary.json"))
    inbox, said = Queue(), []
    for path in paths:
        inbox.put(Message("started", path)), inbox.put(Message("ended", path))
    inbox.put(None)
    with UselessServer(kind) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        assert not Follower(some_records, [], "auto", said.append).listen(inbox)
    assert len(said) == 1 and "not to be reached" in said[0] and "wandb-sync" in said[0]
    assert not list((some_records / "wandb/told").iterdir())
