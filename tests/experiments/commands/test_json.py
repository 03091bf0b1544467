"""`--json`: what programs read is what people are shown."""

import json
import shutil

import pytest
from command_line import call
from conftest import RECORDS, tiny_words

from experiments.records.parsing import parse
from experiments.records.schema import Data, PlannedRuns, Status


@pytest.fixture
def one_study(tmp_path):
    """RESULTS with a study of the kept records, one of whose runs is not there."""
    for name in ("studies", "runs"):
        (tmp_path / name).mkdir()
    [source] = (RECORDS / "studies").glob("ratio-*")
    shutil.copy(source, tmp_path / "studies")
    for row in json.loads(source.read_text())["rows"][1:]:
        shutil.copytree(RECORDS / "runs" / row["cell"], tmp_path / "runs" / row["cell"])
    return tmp_path


def printed(*words: str, **environment: str) -> tuple[dict, str]:
    """What a command prints for programs, and for people."""
    told, shown = call(*words, "--json", **environment), call(*words, **environment)
    assert told.returncode == shown.returncode == 0, told.stdout + told.stderr + shown.stderr
    return json.loads(told.stdout), shown.stdout  # stdout holds nothing else


def test_status_tells_of_every_run_what_the_table_shows(one_study):
    data, shown = printed("status", RESULTS=str(one_study))
    [study] = parse(Status, data).studies
    runs = [run for row in study.rows for run in row.runs]
    assert {run.state for run in study.rows[0].runs} == {"planned"}
    for run in runs:
        kept = one_study / "runs" / run.name / "summary.json"
        assert (run.state == "done") == kept.exists()
        if kept.exists():
            assert run.test_error == json.loads(kept.read_text())["test_error"]
            assert f"{run.test_error:.2f} %" in shown
    assert all(line in shown for line in data["lines"]) and data["version"] == 1


def test_plan_tells_what_is_missing_first_and_of_each_row_its_cost(tmp_path, data_dir):
    there = {"RESULTS": str(tmp_path), "DATA_DIR": str(data_dir)}
    data, shown = printed("plan", "squeeze", *tiny_words(), "--seeds", "2", **there)
    plan = parse(PlannedRuns, data)
    assert plan.states == {"planned": 10} and plan.missing == 10
    lines = shown.splitlines()
    assert lines[0] == "10 runs (10 planned), 10 to train" and lines[1].startswith("about ")
    [study] = plan.studies
    for row in study.rows:
        assert f"{row.parameters:,}" in shown and (row.seeds, row.finished) == (2, 0)
    narrow = [row.label for row in study.rows if any(1 in one for one in row.hidden.values())]
    assert len(narrow) == 3  # r = 16 of 16 channels in the first stage; not the controls
    assert f"One hidden unit decides on all channels of a block: {', '.join(narrow)}" in shown
    assert plan.forecast.figures["makespan"].low <= plan.forecast.figures["makespan"].high


def test_data_tells_what_a_set_holds(data_dir):
    data, shown = printed("data", "--dataset", "cifar10", DATA_DIR=str(data_dir))
    found = parse(Data, data)
    assert (found.train_images, found.test_images, len(found.classes)) == (120, 80, 10)
    assert f"fingerprint {found.fingerprint}" in shown
