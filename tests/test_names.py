"""What names a file, a folder or a word of a command: refused where it would reach further."""

import ast
import re
from pathlib import Path

import pandas as pd
import pytest
import rooms
from command_line import call, wrong
from conftest import ROOT, tiny, tiny_words, with_changes

from analysis.page import readme
from analysis.tables.study import csv, markdown
from experiments.commands.card import card
from experiments.commands.studies import make_studies, read_grids
from experiments.records.config import RunConfig
from experiments.records.parsing import ConfigError, parse
from experiments.records.studies import read_study, write_study
from experiments.records.text import escaped
from experiments.study.clash import refuse_clashes
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


def test_a_grid_of_another_folder_is_another_one_whatever_the_working_folder(
    tmp_path, data_dir, monkeypatch
):
    results = tmp_path / "results"
    where = {"DATA_DIR": str(data_dir), "RESULTS": str(results)}
    words = ["run", "own.yaml", *tiny_words(epochs=1), "--seeds", "1"]
    statuses = []
    for folder, ratio in (("a", 4), ("b", 8), ("a", 4)):
        write_grid(tmp_path / folder, ratio)
        monkeypatch.chdir(tmp_path / folder)
        statuses.append((done := call(*words, **where)).returncode)
        [path] = (results / "studies").glob("*.json")
        assert [row.label for row in read_study(path).rows] == ["no SE", "4"]
        if folder == "b":
            assert f"own.yaml and {tmp_path / 'a' / 'own.yaml'} have one name" in done.stderr
    assert statuses == [0, 2, 0]
    (tmp_path / "project").mkdir()
    for name in ("results", "a", "b"):  # they are moved together
        (tmp_path / name).rename(tmp_path / "project" / name)
    monkeypatch.chdir(tmp_path / "project" / "b")
    done = call("plan", *words[1:], **where | {"RESULTS": "../results"})
    assert done.returncode == 2 and "have one name" in done.stderr


@pytest.mark.parametrize("place", ["x" * 5000, "../" * 3000, "/", ""])
def test_a_place_of_a_grid_that_leads_nowhere_is_that_of_no_other_grid(tmp_path, place):
    study = expand(write_grid(tmp_path, 4), **ON)
    write_study(tmp_path, with_changes(study.record(), grid_file=place))
    refuse_clashes([study], tmp_path)


def test_of_two_grids_of_one_name_that_begin_at_once_one_is_told(tmp_path):
    """Neither has found the other's study before it wrote its own."""
    results, studies = tmp_path / "results", []
    for name, ratio in (("a", 4), ("b", 8)):
        study = expand(write_grid(tmp_path / name, ratio), **ON).record()
        studies.append(with_changes(study, grid_file=f"../{name}/own.yaml"))
    write_study(results, studies[0])
    write_study(results, studies[0])  # the same again
    with pytest.raises(ConfigError, match=r"\.\./b/own\.yaml has the same name"):
        write_study(results, studies[1])
    (tmp_path / "a" / "own.yaml").unlink()  # it was moved
    write_study(results, studies[1])


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


@pytest.mark.parametrize("name", ["-dash.yaml", "..yaml", ".hidden.yaml", "!.yaml", "a\nb.yaml"])
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


@pytest.mark.parametrize("network", ["5", "[[1]]", "null"])
def test_a_network_that_is_no_name_is_refused(capsys, tmp_path, network):
    path = tmp_path / "own.yaml"
    path.write_text(f"title: Own\ncontrols: []\ncells: [{{network: {network}, se.ratio: 4}}]\n")
    assert "network" in wrong(capsys, "plan", str(path), "--recipe", "paper")


@pytest.mark.parametrize("where", ["label", "reference", "network"])
def test_a_sentence_stays_short_whatever_a_grid_names(tmp_path, where):
    path, names = tmp_path / "own.yaml", {"label": "a", "reference": "a", "network": "resnet20"}
    names[where] = "x" * 100_000
    row = f"network: {names['network']}, label: {names['label']}, se.ratio: 4"
    path.write_text(
        f"title: Own\ncontrols: []\nreference: {names['reference']}\ncells: [{{{row}}}]\n"
    )
    with pytest.raises(ConfigError) as error:
        expand(str(path), dataset="cifar10", recipe="smoke").record()
    assert len(str(error.value)) < 2000


def test_a_spreadsheet_finds_no_formula_and_a_browser_no_html(tmp_path):
    table = pd.DataFrame({"row": ["=1+1", "@x", "-y", "r = 4"], "error": [-1.5, 2.0, 3.0, None]})
    lines = csv(table).splitlines()
    assert lines[1:] == ["'=1+1,-1.5", "'@x,2", "'-y,3", "r = 4,"]
    shown = markdown("<img src=x>", table.rename(columns={"row": "<b>"}), ["p < 0.05", "<script>"])
    assert "<b" not in shown and "<img" not in shown and "<script" not in shown
    assert "p < 0.05" in shown and "&lt;script>" in shown


def test_a_page_of_markdown_shows_a_label_as_it_is():
    label = "<img src=x> *a* [b](c) `d` _e_ r_16 1/2 | ~f~ \\"
    assert escaped(label) == (
        r"\<img src=x\> \*a\* \[b\](c) \`d\` \_e\_ r_16 1/2 \| \~f\~ " + "\\\\"
    )
    assert escaped("a\n# b") == "a # b" and escaped("SE, r = 16 (32x4d)") == "SE, r = 16 (32x4d)"
    shown = readme.joined(label) + readme.listed([(label, label)])
    assert "<img" not in shown and shown.count("&lt;img") == 3
    about = {
        "config": {"network": "n", "dataset": "cifar10", "seed": 0, "recipe": {}},
        "class_names": [label], "rows": [label], "build": {"se": None}, "data": "d",
        "test_error": 1.0, "test_images": 9, "mean": [0], "std": [1],
    }  # fmt: skip
    assert card("cell", about).count("\\<img") == 2 and "\n| <img" not in card("cell", about)


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


CALLED_BY_NAME = {
    "senet.grafts": {"scale_output"},  # by a pickled network
    "experiments.commands.wandb": {"wandb_sync"},  # by the command line
}


def test_what_a_module_does_not_offer_to_others_begins_with_an_underscore():
    texts = {
        path: set(re.findall(r"\w+", path.read_text()))
        for folder in (*rooms.TOPS, "tests", "benchmarks", "docs")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".md")
    }
    found = []
    for module, path in rooms.SOURCES.items():
        if path.stem in ("__init__", "__main__"):
            continue
        others = set().union(*(words for other, words in texts.items() if other != path))
        for node in ast.parse(path.read_text()).body:
            is_public = isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
            if is_public and node.name not in others | CALLED_BY_NAME.get(module, set()):
                found.append(f"{module}.{node.name}")
    assert found == []


def test_a_class_has_a_name_of_its_own():
    homes = {}
    for module, path in rooms.SOURCES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(module)
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}
