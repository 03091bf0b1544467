"""Runs that are trained again: the same bits, or within the prediction interval of their cell."""

import math
import os
import shutil
import signal
from pathlib import Path

import pytest
from command_line import call, start
from conftest import RECORDS, tiny, tiny_study, train_study, write_grid

from analysis.statistics.stats import prediction
from experiments.commands import repeat as commands
from experiments.commands.repeat import Repeated, chosen
from experiments.processes.scratch import PREFIX
from experiments.records.files import read_sealed, write_sealed
from experiments.records.parsing import ConfigError
from experiments.records.record import Record
from experiments.records.results import Result
from experiments.records.study_file import Arithmetic
from experiments.train.train import train

ENV = {"fingerprint": {"on": "a processor"}, "device": "cpu", "precision": "bf16", "threads": 1,
       "data": "d", "torch": "2", "numpy": "2", "step": "fused", "kernels": "one"}  # fmt: skip


def result(error: float, **env) -> Result:
    return Result(tiny(), {"test_error": error, "files": {}}, ENV | env, [])


@pytest.fixture(scope="module")
def results(tmp_path_factory, data_dir) -> Path:
    """Two tiny networks, three seeds each."""
    folder = tmp_path_factory.mktemp("repeat")
    train_study(tiny_study(write_grid(folder), seeds=3), folder / "results", data_dir)
    return folder / "results"


def again(results: Path, data_dir: Path, *words: str):
    before = {path: path.stat().st_mtime_ns for path in results.rglob("*")}
    done = call("repeat", "--results", str(results), *words, DATA_DIR=str(data_dir))
    assert before == {path: path.stat().st_mtime_ns for path in results.rglob("*")}
    return done


def test_runs_that_are_trained_again_here_have_the_same_bits(results, data_dir):
    done = again(results, data_dir, "--number", "2", "--pick", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout.splitlines()[-2:]
    assert all("the same bits; " in line and "n = 3" in line for line in said)
    cells = {line.split("/seed")[0] for line in said}
    assert len(cells) == 2  # of two runs none is of the other's cell


def test_a_run_is_trained_again_as_it_was_computed(tmp_path, data_dir):
    """And not as this machine computes what is left open: its recipe says "auto"."""
    record = Record(tmp_path, tiny(), Arithmetic(precision="fp32", step="plain"))
    train(record.config, record, data_dir)
    done = again(tmp_path, data_dir)
    assert done.returncode == 0 and "the same bits" in done.stdout, done.stdout + done.stderr


def test_what_cannot_be_computed_here_as_it_was_is_so_as_this_machine_does_it(
    results, data_dir, monkeypatch
):
    captured = Arithmetic(precision="fp32", step="captured")
    monkeypatch.setattr(commands, "computed", lambda result: captured)
    done = again(results, data_dir, "--pick", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cannot be computed in fp32 by the captured step here" in done.stdout
    assert "the same bits" in done.stdout


@pytest.mark.slow
def test_a_comparison_that_is_stopped_does_not_claim_to_go_on(results, data_dir, tmp_path):
    there = {"DATA_DIR": str(data_dir), "TMPDIR": str(tmp_path)}
    process = start("repeat", "--results", str(results), **there)
    while not process.stdout.readline().startswith("training"):
        pass
    assert list(tmp_path.glob(f"{PREFIX}*"))
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate()
    assert process.returncode == 130 and errors == "", output + errors
    assert "the records are as they were" in output and "goes on" not in output
    assert not list(tmp_path.glob(f"{PREFIX}*"))  # what it says is gone


@pytest.mark.slow
def test_other_bits_on_the_same_machine_are_an_error_whatever_the_interval(results, data_dir):
    [path] = chosen(results, 1, pick=7)
    summary = read_sealed(path / "summary.json")
    write_sealed(path / "summary.json", summary | {"test_loss": summary["test_loss"] + 1e-6})
    try:
        done = again(results, data_dir, "--pick", "7")
    finally:
        write_sealed(path / "summary.json", summary)
    assert done.returncode == 1 and "OTHER BITS" in done.stdout


@pytest.mark.parametrize(
    ("now", "env", "is_fine", "says"),
    [
        (8.0, {}, True, "the same bits; inside"),
        (
            8.1,
            {},
            False,
            "OTHER BITS, on the same kind of processor with the same software; in",
        ),
        (8.1, {"torch": "3"}, True, "with other software; inside"),
        (8.1, {"fingerprint": {"on": "another"}}, True, "another kind of processor or"),
        (8.1, {"resumed": [{"step": 3, "torch": "3"}]}, True, "with other software; inside"),
        (8.1, {"resumed": [{"step": 3, "started": "later"}]}, False, "OTHER BITS"),
        (8.1, {"kernels": "another compiler's"}, True, "with other software; inside"),
        (8.1, {"kernels": None}, False, "OTHER BITS"),  # an older version does not say
        (9.9, {"torch": "3"}, False, "OUTSIDE the 95 % prediction interval"),
        (8.0, {"torch": "3"}, True, "the same bits"),
    ],
)
def test_what_is_fine(now, env, is_fine, says):
    errors = [7.8, 8.0, 8.2]
    found = Repeated(result(8.0), result(now, **env), errors, *prediction(errors))
    assert found.is_fine == is_fine and says in found.sentence()


def test_a_run_of_an_older_version_is_asked_for_what_it_has():
    """Later versions measure more, in the summary alone: its files are the same bits."""
    now = result(8.0)
    more = Result(now.config, now.summary | {"test_brier": 0.1}, now.env, now.metrics)
    nothing = math.nan, math.nan
    assert Repeated(now, more, [8.0], *nothing).is_same
    assert not Repeated(more, now, [8.0], *nothing).is_same


def test_without_an_interval_only_the_same_bits_are_fine():
    nothing = math.nan, math.nan
    assert Repeated(result(8.0), result(8.0), [8.0], *nothing).is_fine
    other = Repeated(result(8.0), result(8.1, torch="3"), [8.0], *nothing)
    assert not other.is_fine and "no prediction interval, n = 1" in other.sentence()


def test_the_choice_is_of_finished_runs_and_of_every_cell_first(tmp_path):
    records = RECORDS
    picked = [chosen(records, 20, pick) for pick in (0, 0, 1)]
    assert picked[0] == picked[1] != picked[2]
    assert len({path.parent for path in picked[0]}) == 20
    assert len(set(chosen(records, 52, 3))) == 52
    for number, folder in ((53, records), (0, records), (1, tmp_path)):
        with pytest.raises(ConfigError, match="finished runs"):
            chosen(folder, number, 0)


def test_pilots_are_neither_chosen_nor_compared_with(tmp_path):
    shutil.copytree(RECORDS / "runs", tmp_path / "runs")
    cell = min((tmp_path / "runs").iterdir())
    shutil.copytree(cell / "seed0", cell / "seed10000")
    assert cell / "seed10000" not in chosen(tmp_path, 52, 0)
    with pytest.raises(ConfigError, match="52 finished runs"):
        chosen(tmp_path, 53, 0)
