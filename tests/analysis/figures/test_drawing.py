"""A figure is drawn once: again where its records or the code changed, or its file is not ours."""

import ast
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from command_line import bare
from conftest import RECORDS, ROOT, with_changes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from waiting import wait_for

from analysis.figures import drawing, kinds
from analysis.figures.drawing import Drawing
from analysis.figures.study import FIGURES
from analysis.figures.style import STYLE, write
from analysis.read import find_studies
from analysis.study import Study


@pytest.fixture(scope="module")
def study() -> Study:
    [found] = find_studies(RECORDS, ["squeeze"])
    return found


def paint(folder: Path, name: str) -> list[Path]:
    """As quick a drawing as can be, which counts how often it was drawn."""
    folder.mkdir(exist_ok=True)
    with (folder / f"{name}.count").open("a") as file:
        file.write("x")
    (folder / f"{name}.png").write_text(name)
    return [folder / f"{name}.png"]


def drawn(folder: Path, *studies: Study) -> list[int]:
    """How often each study's drawing was made so far."""
    names = [f"study{number}" for number in range(len(studies))]
    pairs = zip(names, studies, strict=True)
    drawings = [Drawing(name, [study], paint, (folder, name)) for name, study in pairs]
    assert drawing.draw(drawings, folder) == [folder / f"{name}.png" for name in names]
    return [len((folder / f"{name}.count").read_text()) for name in names]


def rename_in_notes(folder: Path, name: str) -> None:
    path = folder / drawing.NOTES
    path.write_text(path.read_text().replace("study0.png", name))


def drop_from_notes(folder: Path) -> None:
    notes = json.loads((folder / drawing.NOTES).read_text())
    notes["study0"]["files"] = {}
    (folder / drawing.NOTES).write_text(json.dumps(notes))


def with_asked(study: Study, **changes) -> Study:
    return dataclasses.replace(study, asked=with_changes(study.asked, **changes))


def with_error(study: Study, error: float) -> Study:
    runs = study.runs.copy()
    runs.loc[0, "test_error"] = error
    return dataclasses.replace(study, runs=runs)


def test_what_is_there_is_not_drawn_again_and_what_changed_is(tmp_path, study):
    other = with_asked(study, title="Another")
    assert drawn(tmp_path, study, other) == [1, 1]
    assert drawn(tmp_path, study, other) == [1, 1]
    assert drawn(tmp_path, with_error(study, 12.5), other) == [2, 1]
    assert drawn(tmp_path, with_error(study, 12.5), study) == [2, 2]


@pytest.mark.parametrize(
    "name", ["analysis/figures/style.py", "analysis/contrasts.yaml", "experiments/grids/own.yaml"]
)
def test_the_code_and_the_declarations_count(tmp_path, monkeypatch, name):
    for folder in drawing.SOURCES:
        shutil.copytree(drawing.ROOT / folder, tmp_path / folder)
    monkeypatch.setattr(drawing, "ROOT", tmp_path)
    before = drawing.code.__wrapped__()
    assert drawing.code.__wrapped__() == before
    with (tmp_path / name).open("a") as file:
        file.write("# another\n")
    assert drawing.code.__wrapped__() != before


def test_other_code_draws_all_of_it_again(tmp_path, study, monkeypatch):
    assert drawn(tmp_path, study) == [1]
    monkeypatch.setattr(drawing, "code", lambda: "another")
    assert drawn(tmp_path, study) == [2]


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: (folder / "study0.png").unlink(),
        lambda folder: (folder / "study0.png").write_text("edited"),
        lambda folder: (folder / drawing.NOTES).unlink(),
        lambda folder: (folder / drawing.NOTES).write_text("{"),
        lambda folder: (folder / drawing.NOTES).write_text('{"study0": []}'),
        lambda folder: (folder / drawing.NOTES).write_bytes(b"\xff"),
        lambda folder: (folder / drawing.NOTES).write_text('{"a":' * 99_999),
        lambda folder: rename_in_notes(folder, "../" + folder.name + "/study0.png"),
        lambda folder: rename_in_notes(folder, str(folder / "study0.png")),
        drop_from_notes,
    ],
    ids=[
        "gone",
        "edited",
        "no notes",
        "half notes",
        "wrong notes",
        "no text",
        "deep",
        "outside",
        "absolute",
        "no files",
    ],
)
def test_a_file_that_is_not_what_was_drawn_is_drawn_again(tmp_path, study, harm):
    assert drawn(tmp_path, study) == [1]
    harm(tmp_path)
    assert drawn(tmp_path, study) == [2] == drawn(tmp_path, study)
    assert (tmp_path / "study0.png").read_text() == "study0"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_stop_while_figures_are_drawn_in_parallel_leaves_no_traceback(tmp_path, number, status):
    shutil.copytree(RECORDS, tmp_path, dirs_exist_ok=True)
    command = [sys.executable, "-m", "analysis", "figures", "--results", str(tmp_path)]
    process = subprocess.Popen(
        command, cwd=ROOT, env=bare(), stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    figures = tmp_path / "figures"
    wait_for(lambda: process.poll() is not None or list(figures.glob("*.png")))
    os.killpg(process.pid, number)
    assert (process.communicate()[1], process.returncode) == ("", status)
    assert not list(figures.glob(".*.png.*"))  # half written


def test_the_kinds_on_the_page_are_those_that_are_drawn():
    assert tuple(FIGURES) == kinds.STUDY_FIGURES and {*kinds.KINDS} == {*FIGURES, *kinds.TITLES}


class Unsteady(ConstrainedLayoutEngine):
    """Lays out with other last digits each time, as the solver's depend on addresses in memory."""

    def execute(self, fig: Figure) -> None:
        super().execute(fig)
        shift = np.random.default_rng().uniform(-1e-12, 1e-12)
        for ax in fig.axes:
            ax._set_position(ax.get_position(original=True).translated(0, shift))
        for part in fig.subfigs:
            part.bbox_relative.set_points(part.bbox_relative.get_points() + shift)


def test_the_last_digits_of_the_layout_change_no_file(tmp_path):
    def written(folder: Path) -> list[bytes]:
        with matplotlib.rc_context(STYLE):
            figure = Figure(layout=Unsteady())
            left, right = figure.subfigures(1, 2)
            for ax in (left.subplots(), right.subplots()):
                ax.plot([1, 2, 4])
            return [path.read_bytes() for path in write(figure, folder, "one")]

    assert written(tmp_path / "first") == written(tmp_path / "second")


def test_a_new_version_of_any_library_that_draws_draws_again():
    imported = set()
    for path in (ROOT / "analysis" / "figures").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").partition(".")[0])
    assert imported - sys.stdlib_module_names - {*drawing.SOURCES} <= {*drawing.LIBRARIES}
