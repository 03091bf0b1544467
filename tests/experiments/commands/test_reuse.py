"""`run --reuse`: what another RESULTS has is not trained again, where it is the same."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import call, wrong
from conftest import tiny_study, tiny_words, train_study, write_grid

from experiments.commands.reuse import reuse
from experiments.records.record import Record
from experiments.records.results import read_result
from experiments.records.studies import write_study
from experiments.records.study_file import Arithmetic

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data_dir) -> tuple[Path, str]:
    """A RESULTS with two finished runs, and the grid file that they are of."""
    folder = tmp_path_factory.mktemp("trained")
    grid = write_grid(folder)
    train_study(tiny_study(grid), folder / "results", data_dir)
    return folder / "results", grid


@pytest.fixture
def reused(trained, capsys):
    """What `reuse` says of the study of the grid."""

    def say(source: Path, results: Path, data_dir: Path) -> str:
        reuse([tiny_study(trained[1])], source, results, data_dir)
        return capsys.readouterr().out

    return say


def test_a_study_takes_the_runs_that_it_shares_and_trains_none(trained, data_dir, tmp_path):
    source, grid = trained
    other = tmp_path / "other.yaml"  # another question, of the same rows
    other.write_text(Path(grid).read_text().replace("Own", "Another"))
    there = {"DATA_DIR": str(data_dir), "RESULTS": str(tmp_path / "results")}
    done = call("run", str(other), *tiny_words(), "--seeds", "1", "--reuse", str(source), **there)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 finished runs are copies of those in" in done.stdout
    assert "2 of 2 runs are there, 0 to train" in done.stdout
    for path in (tmp_path / "results").glob("runs/*/*"):
        files = {file.name: file.read_bytes() for file in path.iterdir()}
        kept = source / path.relative_to(tmp_path / "results")
        assert files == {name: (kept / name).read_bytes() for name in files}
        assert read_result(path) and "checkpoint.pt" not in files and "lock" not in files


def test_what_was_edited_or_made_of_other_data_is_not_taken(trained, reused, data_dir, tmp_path):
    source = shutil.copytree(trained[0], tmp_path / "source")
    first, _ = sorted(source.glob("runs/*/*/metrics.jsonl"))
    first.write_text("")
    said = reused(source, tmp_path / "results", data_dir)
    assert "edited, or cut short" in said and "1 finished runs are copies" in said
    with np.load(data_dir / "cifar10.npz") as file:
        arrays = dict(file)
    (tmp_path / "data").mkdir()
    arrays["train_images"][0] ^= 1
    np.savez(tmp_path / "data" / "cifar10.npz", **arrays)
    said = reused(trained[0], tmp_path / "others", tmp_path / "data")
    assert said.count("trained on data") == 2 and not list(tmp_path.glob("others/runs/*/*/s*"))


def test_runs_of_another_arithmetic_do_not_join_a_begun_study(trained, reused, data_dir, tmp_path):
    study = tiny_study(trained[1])
    own = read_result(Record(trained[0], study.cells[0].config).path).env["precision"]
    begun = Arithmetic(precision="bf16" if own == "fp32" else "fp32")
    write_study(tmp_path, study.record().model_copy(update={"arithmetic": begun}))
    said = reused(trained[0], tmp_path, data_dir)
    assert said.count(f"its precision is {own}, and the study was begun with") == 2


def test_a_folder_without_runs_is_one_sentence(capsys, tmp_path):
    words = ["run", "ratio", *tiny_words(), "--results", str(tmp_path / "results")]
    assert "it holds no runs" in wrong(capsys, *words, "--reuse", str(tmp_path))
