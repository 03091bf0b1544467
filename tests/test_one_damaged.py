"""One study whose file is damaged is named, and stops nothing that is of the others."""

import json
import shutil

import pytest
from command_line import analyse, call
from conftest import RECORDS

from analysis.read import find_studies
from experiments.records.files import digest_of_file, read_sealed, write_sealed
from experiments.records.parsing import ConfigError
from experiments.records.studies import read_studies

WHOLE, DAMAGED = (f"{grid}-cifar10-resnet29b-smoke" for grid in ("squeeze", "gate"))


@pytest.fixture
def results(tmp_path):
    """Two studies of the kept records; the file of one was cut short."""
    folder = tmp_path / "results"
    (folder / "studies").mkdir(parents=True)
    for name in (WHOLE, DAMAGED):
        shutil.copy(RECORDS / "studies" / f"{name}.json", folder / "studies")
    for row in json.loads((folder / "studies" / f"{WHOLE}.json").read_text())["rows"]:
        shutil.copytree(RECORDS / "runs" / row["cell"], folder / "runs" / row["cell"])
    path = folder / "studies" / f"{DAMAGED}.json"
    path.write_bytes(path.read_bytes()[:100])
    return folder


def test_status_shows_the_others_and_names_it(results):
    done = call("status", RESULTS=str(results))
    assert done.returncode == 1 and "10 runs: 10 done" in done.stdout, done.stdout + done.stderr
    path = results / "studies" / f"{DAMAGED}.json"
    assert f"damaged, left out: {path} cannot be read" in done.stdout


@pytest.mark.parametrize("name", ["timings.jsonl", "metrics.jsonl"])
def test_status_calls_no_run_done_one_of_whose_files_was_edited(results, name):
    (results / "studies" / f"{DAMAGED}.json").unlink()
    path = next(results.glob(f"runs/*-plain-*/seed0/{name}"))
    seal = path.with_name("env.json" if name == "timings.jsonl" else "summary.json")
    sums = read_sealed(seal)
    if name == "timings.jsonl":  # as newer versions write it
        write_sealed(seal, sums | {"timings": digest_of_file(path)})
        assert "10 runs: 10 done" in call("status", RESULTS=str(results)).stdout
    path.write_text(path.read_text().replace('"epoch": 1', '"epoch": 7'))
    shown = call("status", RESULTS=str(results)).stdout
    assert "10 runs: 1 damaged, 9 done" in shown and f"{path} is not what the run wrote" in shown


@pytest.mark.parametrize("words", [["tables"], ["tables", "squeeze"], ["power"]])
def test_analysis_is_of_the_others_and_names_it(results, words):
    done = analyse(*words, RESULTS=str(results))
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1 and f"{DAMAGED}.json cannot be read" in done.stderr
    if words[0] == "tables":
        assert f"{WHOLE}.md" in done.stdout and DAMAGED not in done.stdout


@pytest.mark.parametrize("words", [["tables", "gate"], ["tables", DAMAGED]])
def test_who_asks_for_it_alone_is_told_why_it_is_not_there(results, words):
    done = analyse(*words, RESULTS=str(results))
    assert done.returncode == 2 and f"{DAMAGED}.json cannot be read" in done.stderr


def test_wandb_is_told_of_the_others(results):
    done = call("wandb-sync", "--dry-run", RESULTS=str(results))
    assert done.returncode == 1 and "10 missing" in done.stdout, done.stdout + done.stderr
    assert f"{DAMAGED}.json cannot be read" in done.stdout


def test_a_caller_that_does_not_listen_is_refused(results):
    for read in (read_studies, find_studies):
        with pytest.raises(ConfigError, match=f"{DAMAGED}.json cannot be read"):
            read(results)
    [study] = read_studies(results, lost := [])
    assert study.name == WHOLE and len(lost) == 1
