"""What W&B's own reader finds of a run and of a study."""

import json
import subprocess

import pandas as pd
import pytest
import torch
import wandb_runs
from wandb_runs import folders, inspect, run_of

from experiments.records.files import read_sealed, write_sealed
from experiments.records.parsing import ConfigError
from experiments.records.results import read_result
from experiments.records.studies import read_studies
from experiments.train.environment import checkout
from senet.weights import pack_weights
from tracking.account import prepare
from tracking.mirror import Mirror
from tracking.study import tell_study

home, no_key, some_records = wandb_runs.home, wandb_runs.no_key, wandb_runs.some_records


def test_a_run_whose_record_is_damaged_is_not_noted_as_told(some_records, no_key):
    prepare(some_records)
    path = next(some_records.glob("runs/*/*/summary.json")).parent
    (path / "predictions.npz").write_bytes(b"x")
    with pytest.raises(ConfigError, match="edited, or cut short"):
        Mirror(path, "offline").conclude()
    assert not list((some_records / "wandb/told").iterdir())


@pytest.fixture
def in_another_repository(tmp_path, monkeypatch):
    folder = tmp_path / "another"
    folder.mkdir()
    monkeypatch.chdir(folder)
    who = "-c user.name=x -c user.email=x"
    for words in ("init", f"{who} commit --allow-empty -m x", "remote add origin https://foreign"):
        subprocess.run(["git", *words.split()], check=True, capture_output=True)


@pytest.mark.parametrize("commit", [None, "c0ffee"])
def test_a_runs_commit_is_that_of_its_record_or_none(
    some_records, no_key, in_another_repository, commit
):
    prepare(some_records)
    path = next(some_records.glob("runs/*/seed0"))
    write_sealed(path / "env.json", read_sealed(path / "env.json") | {"commit": commit})
    Mirror(path, "offline").conclude()
    told = run_of(inspect(folders(some_records)[0]))
    assert told.get("git", {}).get("commit") == commit and "foreign" not in str(told)


def test_a_studys_commit_is_that_of_the_code_that_draws_it(
    some_records, no_key, in_another_repository
):
    prepare(some_records)
    [asked] = read_studies(some_records)
    tell_study(some_records, asked.name, "offline")
    told = run_of(inspect(folders(some_records, "*analysis*")[0]))
    assert told["git"]["commit"] == checkout()["commit"] and "foreign" not in str(told)


@pytest.mark.slow
@pytest.mark.parametrize("is_live", [True, False])
def test_what_is_told_of_a_run_has_its_files_its_commit_and_what_the_machine_did(
    some_records, no_key, is_live
):
    prepare(some_records)
    [path] = (p for p in some_records.glob("runs/*-se-*/seed0"))
    weights = some_records / "weights" / path.parent.name
    weights.mkdir(parents=True)
    about = {"config": {"seed": 0}}
    (weights / "model.safetensors").write_bytes(pack_weights({"w": torch.ones(2)}, about))
    Mirror(path, "offline", is_live).conclude()
    [folder] = folders(some_records)
    records = inspect(folder)
    found = {one["artifact"]["name"]: one["artifact"] for one in records if "artifact" in one}
    result, run = read_result(path), f"{path.parent.name[-10:]}-seed0"
    assert set(found[f"record-{run}"]["aliases"]) == {"latest", "done", "seed0"}
    kept = {one["path"] for one in found[f"record-{run}"]["manifest"]["contents"]}
    assert kept == {file.name for file in path.iterdir()}
    assert set(found["data-cifar10"]["aliases"]) == {"latest", result.env["data"]}
    assert set(found[f"weights-{run}"]["aliases"]) == {"latest", "float16", "seed0"}
    assert run_of(records)["git"]["commit"] == result.env["commit"]
    assert any(one["type"] == "stats" for one in records) == is_live  # else of another machine


@pytest.mark.slow
def test_a_setting_of_the_librarys_own_leaves_the_machine_and_the_code_out(
    some_records, no_key, monkeypatch
):
    monkeypatch.setenv("WANDB_X_DISABLE_STATS", "true")
    monkeypatch.setenv("WANDB_DISABLE_GIT", "true")
    prepare(some_records)
    Mirror(next(some_records.glob("runs/*/seed0")), "offline", is_live=True).conclude()
    records = inspect(folders(some_records)[0])
    assert "git" not in run_of(records) and not any(one["type"] == "stats" for one in records)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seeds", "level", "title", "says"),
    [(1, "INFO", "is done", "2 done"), (2, "WARN", "ended, not whole", "2 done, 2 planned")],
)
def test_a_study_has_numbers_in_its_table_and_an_alert_where_it_has_just_ended(
    some_records, no_key, seeds, level, title, says
):
    prepare(some_records)
    [asked] = read_studies(some_records)
    path = some_records / "studies" / f"{asked.name}.json"
    path.write_text(json.dumps(asked.plain() | {"seeds": seeds}))
    tell_study(some_records, asked.name, "offline", is_live=True)
    [folder] = folders(some_records, "*analysis*")
    [alert] = (one["alert"] for one in inspect(folder) if one["type"] == "alert")
    assert alert["title"] == f"ratio: {title}" and says in alert["text"]
    assert alert["level"] == level
    [path] = (folder / "files/media/table").glob("table_*.table.json")
    table = json.loads(path.read_text())
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    written = pd.read_csv(some_records / "tables" / f"{asked.name}.csv")
    assert [row["test_error"] for row in rows] == pytest.approx(written["test_error"].tolist())
