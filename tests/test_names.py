"""What names a file, a folder or a word of a command: refused where it would reach further."""

from pathlib import Path

import pandas as pd
import pytest
from conftest import call, tiny, tiny_words, wrong

from analysis.tables.study import csv, markdown
from experiments.commands.studies import make_studies, read_grids
from experiments.records.config import RunConfig
from experiments.records.parsing import ConfigError, parse
from experiments.records.study_file import write_study
from experiments.study.describe import command_of
from experiments.study.grid import read_grid
from experiments.study.study import expand
from senet.block import GATES

ON = {"dataset": "cifar10", "network": "resnet20", "recipe": "smoke"}


def write_grid(folder: Path, ratio: int, name: str = "own.yaml") -> str:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"title: Own\ncontrols: [plain]\nreference: '{ratio}'\n"
                    f"cells: [{{se.ratio: [{ratio}]}}]\n")  # fmt: skip
    return str(path)


@pytest.mark.parametrize("name", ["own.yaml", "o!wn.yaml"])
def test_two_grids_of_one_name_in_one_command_are_refused(capsys, tmp_path, name):
    words = [write_grid(tmp_path / "a", 4), write_grid(tmp_path / "b", 8, name), *tiny_words()]
    said = wrong(capsys, "plan", *words, "--results", str(tmp_path / "results"))
    assert "have one name" in said and all(word in said for word in words[:2])


def test_a_grid_of_the_name_of_another_study_is_refused(capsys, tmp_path, data_dir):
    results = tmp_path / "results"
    first, second = write_grid(tmp_path / "a", 4), write_grid(tmp_path / "b", 8)
    study = expand(first, **ON)
    write_study(results, study.record())
    path = results / "studies" / f"{study.name}.json"
    before = path.read_bytes()
    where = {"DATA_DIR": str(data_dir), "RESULTS": str(results)}
    words = ["--dataset", "cifar10", "--network", "resnet20", "--recipe", "smoke"]
    done = call("run", second, *words, **where)
    assert done.returncode == 2 and "have one name" in done.stderr
    assert path.read_bytes() == before and not (results / "runs").exists()


def test_one_grid_named_in_two_ways_is_one(tmp_path, monkeypatch):
    from experiments.plan.options import PlanOptions

    monkeypatch.chdir(tmp_path)
    path = write_grid(tmp_path, 4)
    write_study(tmp_path, expand(path, **ON).record())
    options = PlanOptions(grids=["own.yaml"], network="resnet20", results=tmp_path)
    [study] = make_studies(read_grids(options), options, "cifar10", "smoke")
    Path(path).rename(tmp_path / "moved.yaml")  # and one that was moved is no other one, either
    (tmp_path / "b").mkdir()
    (tmp_path / "moved.yaml").rename(tmp_path / "b" / "own.yaml")
    options = PlanOptions(grids=["b/own.yaml"], network="resnet20", results=tmp_path)
    [same] = make_studies(read_grids(options), options, "cifar10", "smoke")
    assert same.name == study.name


@pytest.mark.parametrize("name", ["-dash.yaml", "..yaml", ".hidden.yaml", "!.yaml"])
def test_a_grid_whose_name_is_an_option_or_hidden_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match=r"begins with a letter or a digit|unknown grid"):
        read_grid(write_grid(tmp_path, 4, name))


@pytest.mark.parametrize("name", ["a/b", "../../outside", "a b", "a\nb", "\x00"])
def test_a_name_of_ones_own_that_would_name_another_folder_is_refused(monkeypatch, name):
    monkeypatch.setitem(GATES, name, GATES["sigmoid"])
    with pytest.raises(ConfigError, match="would name a folder"):
        tiny(se={"gate": name})
    assert parse(RunConfig, tiny(se={"gate": "tanh"}).model_dump(mode="json")).cell


def test_the_command_of_a_study_holds_no_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = command_of(expand(write_grid(tmp_path, 4), **ON))
    assert command == ".venv/bin/python -m experiments run own.yaml --network resnet20"


def test_a_spreadsheet_finds_no_formula_and_a_browser_no_html(tmp_path):
    table = pd.DataFrame({"row": ["=1+1", "@x", "-y", "r = 4"], "error": [-1.5, 2.0, 3.0, None]})
    lines = csv(table).splitlines()
    assert lines[1:] == ["'=1+1,-1.5", "'@x,2", "'-y,3", "r = 4,"]
    shown = markdown("<img src=x>", table.rename(columns={"row": "<b>"}), ["p < 0.05", "<script>"])
    assert "<b" not in shown and "<img" not in shown and "<script" not in shown
    assert "p < 0.05" in shown and "&lt;script>" in shown


@pytest.mark.parametrize(("label", "said"), [("''", "has no label"), ("'\x07'", "YAML"), ("~", "")])
def test_a_row_that_would_not_be_read_again_is_refused(capsys, tmp_path, label, said):
    path = tmp_path / "own.yaml"
    path.write_text(
        "title: Own\ncontrols: [plain]\nreference: no SE\n"
        f"cells: [{{se.ratio: [4], label: {label}}}]\n"
    )
    if not said:
        assert [cell.label for cell in expand(str(path), **ON).cells] == ["no SE", "4"]
        return
    assert said in wrong(capsys, "plan", str(path), *tiny_words(), "--results", str(tmp_path))
