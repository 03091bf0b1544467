"""The notebooks run from top to bottom, and what is kept of them is clean."""

import ast
import json
import re
from pathlib import Path

import nbformat
import pytest
from command_line import bare
from conftest import ROOT, TINY
from nbclient import NotebookClient

NOTEBOOKS = ROOT / "notebooks"
PICTURES = {"explore": 6, "activations": 5}
MOST_BYTES = 900_000
# The beginnings of absolute paths, at the beginning of a word.
PATHS = re.compile(r"(?<![\w.])/(tmp|work|root|home|Users|private|mnt|opt|var)\b|[A-Z]:\\")


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


def code_cells(notebook) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook) -> list[nbformat.NotebookNode]:
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def pictures(notebook) -> int:
    return sum("image/png" in output.get("data", {}) for output in outputs(notebook))


def printed(notebook) -> str:
    """All outputs but the pictures, whose base64 may hold any letters."""
    parts = []
    for output in outputs(notebook):
        data = {kind: text for kind, text in output.get("data", {}).items() if "image" not in kind}
        parts.append(output.get("text", "") + json.dumps(data))
    return "\n".join(parts)


def plain(notebook) -> list[str]:
    """What is printed and shown, as text."""
    return [
        output.get("text", output.get("data", {}).get("text/plain", ""))
        for output in outputs(notebook)
    ]


def shows_something(source: str) -> bool:
    """Whether a cell ends in an expression: its value is shown, or it prints."""
    return isinstance(ast.parse(source).body[-1], ast.Expr)


def execute(name: str, folder: Path, temporary: Path, **environment: str):
    """The notebook as it comes out, started in `folder`. An error in a cell is raised."""
    notebook = read(name)
    where = {"metadata": {"path": str(folder)}}
    client = NotebookClient(
        notebook, timeout=None, startup_timeout=600, kernel_name="python3", resources=where
    )
    own = {"TMPDIR": str(temporary), "IPYTHONDIR": str(temporary / "ipython")}
    own["PYTHONPATH"] = str(ROOT)  # as `make notebook` sets it
    before = sorted(NOTEBOOKS.iterdir())
    client.execute(env=bare() | own | environment)
    assert sorted(NOTEBOOKS.iterdir()) == before  # it leaves nothing beside itself
    return notebook


@pytest.mark.parametrize("name", PICTURES)
def test_kept_outputs_are_whole_and_of_one_run(name):
    notebook = read(name)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert [cell.id for cell in cells if shows_something(cell.source) and not cell.outputs] == []
    assert pictures(notebook) == PICTURES[name]
    assert not [
        o for o in outputs(notebook) if o.output_type == "error" or o.get("name") == "stderr"
    ]


@pytest.mark.parametrize("name", PICTURES)
def test_a_notebook_finds_the_project_without_tricks(name):
    assert "sys.path" not in "".join(cell.source for cell in code_cells(read(name)))


@pytest.mark.parametrize("name", PICTURES)
def test_kept_notebooks_tell_nothing_of_the_machine(name):
    text = printed(notebook := read(name))
    assert PATHS.search(text) is None
    assert str(ROOT) not in text
    assert not re.search(r"\w+Warning\b|Traceback| at 0x", text)
    assert not any("execution" in cell.metadata for cell in notebook.cells)


@pytest.mark.parametrize("name", PICTURES)
def test_kept_notebooks_are_small_and_open_anywhere(name):
    notebook = read(name)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    assert (NOTEBOOKS / f"{name}.ipynb").stat().st_size < MOST_BYTES


@pytest.mark.slow
def test_what_is_kept_of_explore_is_what_it_shows(tmp_path):
    notebook = execute("explore", ROOT, tmp_path)
    assert pictures(notebook) == PICTURES["explore"]
    assert plain(notebook) == plain(read("explore"))


@pytest.mark.slow
def test_activations_trains_records_and_draws_from_its_own_folder(data_dir, tmp_path):
    recipe = TINY | {"epochs": 1, "intervention_images": 20}
    notebook = execute(
        "activations",
        NOTEBOOKS,
        tmp_path,
        DATA_DIR=str(data_dir),
        NOTEBOOK_RECIPE=json.dumps(recipe),
    )
    assert pictures(notebook) == PICTURES["activations"]
    assert "epoch 1, step 3 of 3" in printed(notebook)
    assert "test error" in printed(notebook)
    assert list(tmp_path.rglob("summary.json")) == []  # the record is deleted with the kernel
