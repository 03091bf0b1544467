"""Secondary outcomes: calibration by hand and in records."""

import re
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from made import made

from analysis.figures.compared import lines
from analysis.figures.outcomes import outcomes
from analysis.groups import by_group
from analysis.read import find_studies
from analysis.statistics.calibration import BINS, calibration_error
from analysis.statistics.secondary import (
    as_text,
    compared_in,
    difference,
    measured,
    notes,
    numbers,
)
from analysis.write import tables_of


def test_calibration_by_hand():
    # Bin (0.8, 0.867]: 0.85 and 0.83, one right: |0.5 - 0.84|; bin (0.533, 0.6]: 0.55, right.
    found = calibration_error(np.array([0.85, 0.83, 0.55]), np.array([1, 0, 1]))
    assert found == pytest.approx(100 * (2 * 0.34 + 0.45) / 3)


@given(st.lists(st.tuples(st.floats(0.01, 1), st.booleans()), min_size=1, max_size=50))
def test_calibration_is_the_loop_of_its_definition(images):
    p, right = np.array([x for x, _ in images]), np.array([y for _, y in images])
    total = 0.0
    for k in range(BINS):
        inside = np.ceil(p * BINS).astype(int) - 1 == k
        if inside.any():
            total += inside.sum() * abs(right[inside].mean() - p[inside].mean())
    assert calibration_error(p, right) == pytest.approx(100 * total / len(p), abs=1e-9)


def test_sure_and_right_is_calibrated_and_sure_and_wrong_is_not():
    assert calibration_error(np.ones(5), np.ones(5)) == 0
    assert calibration_error(np.ones(5), np.zeros(5)) == 100


def test_every_study_has_them_behind_its_table():
    for study in find_studies(ROOT / "results/published", []):
        table = tables_of(study)[f"{study.name}-secondary"]
        assert list(table[3].row) == study.rows
        for row, loss in zip(study.rows, table[3].test_loss, strict=True):
            assert loss == pytest.approx(study.of(row).test_loss.mean(), nan_ok=True)
        found = table[3].ece[[len(study.errors(row)) > 0 for row in study.rows]]
        assert len(found) and found.between(0, 100).all()


def test_runs_of_an_older_version_have_no_brier_score_and_later_ones_do():
    study = made("control", {})
    study.runs["test_loss"], study.runs["ece"] = 0.7, 2.0
    assert measured(study) == ["test_loss", "ece"]
    assert "no Brier score" in notes(study, numbers(study))[-1]
    study.runs["test_brier"] = [0.3 if row == "SE" else 0.4 for row in study.runs.row]
    study = replace(study)  # nothing is remembered of it
    assert measured(study) == ["test_loss", "ece", "test_brier"]
    assert len(notes(study, numbers(study))) == 1
    assert difference(study, "no SE", "test_brier").estimate == pytest.approx(0.1)
    assert "Brier score, difference" in as_text(study, numbers(study))


def test_one_figure_shows_the_outcomes_that_are_there():
    for studies in by_group(find_studies(ROOT / "results/published", [])).values():
        figure = outcomes(studies)
        summaries = [path / "summary.json" for study in studies for path in study.runs.path]
        is_kept = any("test_brier" in path.read_text() for path in summaries if path.exists())
        labels = ["NLL (nats)", "ECE (points)", *(["Brier score"] if is_kept else [])]
        assert [ax.get_xlabel() for ax in figure.axes] == labels
        drawn = sum(len(container) > 0 for container in figure.axes[0].containers)
        rows = sum(len(block) for block in lines(studies).values())
        beyond = [re.fullmatch(r"[+-][\d.]+", text.get_text()) for text in figure.axes[0].texts]
        assert drawn + sum(map(bool, beyond)) == rows
    assert compared_in([made("control", {})]) == []
