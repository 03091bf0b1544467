"""The figures of a study, from records made by hand."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from by_hand import ERRORS, study
from conftest import with_changes
from made import across, around, made
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.figures import study as figures
from analysis.figures.style import entitled
from analysis.page import captions
from analysis.read import find_studies
from experiments.records.studies import write_study


def test_a_title_is_no_wider_than_its_figure(tmp_path):
    study(tmp_path, 1)
    [found] = find_studies(tmp_path, [])
    figure = entitled(Figure(figsize=(6, 2)), found, "What is seen in a figure like this one " * 5)
    title = figure.findobj(lambda part: getattr(part, "get_text", str)() == figure.get_suptitle())
    extent = title[0].get_window_extent(FigureCanvasAgg(figure).get_renderer())
    assert extent.x0 >= 0 and extent.x1 <= figure.bbox.width


def test_a_plot_without_intervals_says_so(tmp_path):
    study(tmp_path, 1)
    said = captions.forest(find_studies(tmp_path, [])).text
    assert "No difference has an interval" in said and "leaves out 0" not in said


def test_labels_that_hold_commas_are_told_apart():
    errors = {f"no SE, width x {width}": around(12.0) for width in ("0.5", "1.5")}
    said = captions.errors(made("control", errors)).text
    assert said.endswith(": no SE, width x 0.5; no SE, width x 1.5.")


def test_a_label_with_a_dollar_sign_is_drawn_as_it_stands(tmp_path):
    asked = study(tmp_path, 1)
    rows = asked.record().plain()["rows"]
    rows[2] |= {"label": "$r^^2$", "levels": {"other": "1"}}
    write_study(tmp_path, with_changes(asked.record(), rows=rows))
    [found] = find_studies(tmp_path, [])
    drawn = {path.stem.rsplit("-")[-1] for path in figures.save(found, tmp_path / "figures")}
    assert drawn == {"errors", "curves"}  # no figure against r where a row has no r


def test_curves_of_one_epoch_and_without_a_holdout_are_seen(tmp_path):
    study(tmp_path, 1)
    [found] = find_studies(tmp_path, [])
    first = found.curves[found.curves.epoch == 1].drop(columns="val_error")
    figure = figures.curves(dataclasses.replace(found, curves=first))
    [ax] = figure.axes
    assert ax.get_title(loc="left") or ax.get_title() == "training images"
    assert {line.get_marker() for line in ax.lines} == {"o"} and len(ax.lines) == 7
    assert len(figure.legends[0].get_texts()) == 7


def test_figures_are_the_same_bytes_on_every_rebuild(tmp_path):
    study(tmp_path, 2)
    [found] = find_studies(tmp_path, [])
    first = {path.name: path.read_bytes() for path in figures.save(found, tmp_path / "a")}
    second = {path.name: path.read_bytes() for path in figures.save(found, tmp_path / "b")}
    assert first == second
    assert {Path(name).suffix for name in first} == {".png", ".pdf", ".svg"}
    assert sum("ratio-cifar10-resnet29b-fast-ratio" in name for name in first) == 3


def test_the_error_figure_shows_every_seed_and_every_published_error(tmp_path):
    study(tmp_path, 3)
    [found] = find_studies(tmp_path, [])
    ours, paper = figures.errors(found).axes
    rings = [line for line in ours.lines if line.get_markerfacecolor() == "none"]
    drawn = sorted(x for line in rings for x in line.get_xdata())
    assert drawn == pytest.approx(sorted(e + 0.1 * s for e in ERRORS.values() for s in range(3)))
    published = [float(np.ravel(line.get_xdata())[0]) for line in paper.lines]
    assert [x for x in published if not math.isnan(x)] == [23.30, 22.29, 22.25, 22.26, 22.28, 22.72]


@pytest.mark.parametrize("longest", [1, 3])
def test_the_axis_of_lengths_holds_those_that_are_still_to_come(longest):
    study = across(-0.3, longest)
    ax = figures.FIGURES["budget"][1](study).axes[-1]
    assert [text.get_text() for text in ax.get_xticklabels()][::4] == ["60,000", "960,000"]
    low, high = ax.get_xlim()
    assert low < 60_000 and high > 960_000


def test_a_study_across_lengths_without_a_finished_run_has_no_figure():
    study = across(0.0)
    study.runs[["state", "test_error"]] = ["missing", math.nan]
    assert not any(fits(study) for fits, _ in figures.FIGURES.values())
