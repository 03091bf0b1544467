"""`wandb-sync` sends what W&B has not got, with its real library."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import wandb_runs
from command_line import call, start
from conftest import LINUX, RECORDS
from waiting import wait_for
from wandb_runs import folders, sync
from wandb_server import Server

from experiments.records.record import load_record
from experiments.records.results import read_result
from tracking.account import prepare
from tracking.mirror import Mirror, WandbError
from tracking.sent import run_id, study_id

home, no_key, some_records = wandb_runs.home, wandb_runs.no_key, wandb_runs.some_records


@pytest.mark.slow
def test_sync_replays_records_once_and_again_without_duplicates(some_records, home):
    finished = [p.parent for p in some_records.glob("runs/*/*/summary.json")]
    listed = sync(some_records, home, "--dry-run")
    assert "2 finished runs and 1 study for W&B: 3 missing" in listed
    assert listed.count("  missing  ") == len(finished) + 1 and not folders(some_records)
    with Server() as server:
        told = sync(some_records, home, **server.environment, WANDB_MODE="offline")
        assert "on W&B: 2 finished runs and 1 study, of 2 finished runs and 1 study" in told
        first = json.dumps(server.runs, sort_keys=True)
        assert set(server.starts.values()) == {1}
        assert "3 sent" in sync(some_records, home, **server.environment)
        assert set(server.starts.values()) == {1}  # nothing was sent
        [asked] = (some_records / "studies").iterdir()
        study = json.loads(asked.read_text())
        more = study | {"grid": "another", "name": "another"}
        (some_records / "studies" / "another.json").write_text(json.dumps(more))
        assert "2 missing, 1 sent" in sync(some_records, home, "--dry-run")  # their tags are old
        (some_records / "wandb/told" / f"{study_id(study['name'])}.json").unlink()
        for folder in folders(some_records, "*analysis*"):
            shutil.rmtree(folder)  # of this one nothing is left, as in a fresh clone
        assert "3 missing" in sync(some_records, home, "--dry-run")
        sync(some_records, home, **server.environment)
        assert all(
            run["tags"] == ["another", "ratio"]
            for run in server.runs.values()
            if run["jobType"] == "train"
        )
        assert set(server.starts.values()) == {2}
        assert len(server.runs) == len(finished) + 1  # the same runs, with the same epochs
        before = {name: run["history"] for name, run in json.loads(first).items()}
        for name, run in server.runs.items():
            assert [row["_step"] for row in run["history"]] == [
                row["_step"] for row in before[name]
            ]
    for path in finished:
        result = read_result(path)
        run = server.runs[f"{result.config.id}-seed{result.config.seed}"]
        epochs = [row for row in run["history"] if "val/error" in row]
        assert [row["val/error"] for row in epochs] == [m["val_error"] for m in result.metrics]
        assert run["groupName"] == result.config.cell and run["exitcode"] == 0
        assert run["summary"]["test/error"] == result.summary["test_error"]
        assert run["config"]["cell"] == result.config.cell


@pytest.mark.slow
def test_a_record_that_cannot_be_trusted_is_named_and_the_others_are_sent(some_records, home):
    cut, broken = sorted(path.parent for path in some_records.glob("runs/*/*/summary.json"))
    whole = (cut / "metrics.jsonl").read_text()
    (cut / "metrics.jsonl").write_text("")
    (broken / "config.json").write_text("x")
    assert "config.json cannot be read" in sync(some_records, home, "--dry-run", status=1)
    with Server() as server:
        said = sync(some_records, home, status=1, **server.environment)
        assert said.count("cannot be told") == 2
        assert "on W&B: 0 finished runs and 1 study, of 2 finished runs and 1 study" in said
        assert list(server.starts) == [study_id(next((some_records / "studies").iterdir()).stem)]
        (cut / "metrics.jsonl").write_text(whole)
        said = sync(some_records, home, status=1, **server.environment)
        assert "on W&B: 1 finished run and 1 study, of 2" in said


def test_sync_without_a_key_says_what_is_missing_and_ends_with_2(some_records, home):
    done = call("wandb-sync", "--results", str(some_records), **home)
    assert done.returncode == 2 and "`.venv/bin/wandb login`" in done.stderr
    assert done.stderr.count("\n") == 1 and not folders(some_records)


def test_what_a_server_begins_to_refuse_is_sent_later(some_records, home, no_key, monkeypatch):
    paths = sorted(path.parent for path in some_records.glob("runs/*/*/summary.json"))
    prepare(some_records)
    with Server() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        for path, status in zip(paths, (401, 404), strict=True):
            server.status = 200
            mirror = Mirror(path, "online")
            server.status = status
            with pytest.raises(WandbError, match="refuse"):
                mirror.conclude()
            assert not server.runs[mirror.run.id]["history"]
        # Their artifacts were not told: they are told again whole, from the records.
        assert "3 missing" in sync(some_records, home, "--dry-run")
        server.status = 200
        sync(some_records, home, **server.environment)
        for path in paths:
            told = server.runs[run_id(load_record(path).config)]["summary"]
            assert told["test/error"] == load_record(path).summary()["test_error"]
    assert "3 sent" in sync(some_records, home, "--dry-run")


def syncing(some_records: Path, there: dict[str, str]):
    """A sync of ten runs more, whose processes have begun."""
    study = next((RECORDS / "studies").glob("squeeze-*"))
    shutil.copy(study, some_records / "studies")
    for row in json.loads(study.read_text())["rows"]:
        shutil.copytree(
            RECORDS / "runs" / row["cell"], some_records / "runs" / row["cell"], dirs_exist_ok=True
        )
    process = start("wandb-sync", "--results", str(some_records), **there)
    wait_for(lambda: process.poll() is not None or folders(some_records))
    return process


@LINUX
@pytest.mark.slow
def test_what_a_closed_terminal_sends_to_its_processes_loses_nothing(some_records, home):
    with Server() as server:
        process = syncing(some_records, home | server.environment)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            for child in map(int, children):
                os.kill(child, number)
        output, errors = process.communicate()
    assert (process.returncode, errors) == (0, ""), output + errors
    assert len(children) > 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_sync_that_is_stopped_ends_without_a_traceback(some_records, home, number, status):
    with Server() as server:
        process = syncing(some_records, home | server.environment)
        os.killpg(process.pid, number)
        output, errors = process.communicate()
    assert (process.returncode, errors) == (status, ""), output + errors
