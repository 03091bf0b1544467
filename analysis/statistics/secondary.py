"""Compares secondary outcomes, declared as such: how good the probabilities are.

A run sums up its negative log-likelihood and its Brier score, which needs the probabilities of all
classes, itself: `test_loss` and `test_brier`. Runs of before 2026-11-25 have no Brier score. The
expected calibration error follows from the predicted classes and their probabilities in
predictions.npz.
"""

import math
from collections.abc import Sequence

import pandas as pd

from analysis.statistics.calibration import BINS
from analysis.statistics.comparisons import difference_text
from analysis.statistics.stats import Difference
from analysis.study import Study

TITLES = {"test_loss": "NLL (nats)", "ece": "ECE (points)", "test_brier": "Brier score"}
DIGITS = {"test_loss": 3, "ece": 2, "test_brier": 3}  # of a difference


def measured(study: Study) -> list[str]:
    """Lists the outcomes that some run of the study has."""
    pools = {name: study.pool_in(name).values for name in TITLES}
    return [n for n, values in pools.items() if any(values.get(c) for c in study.cells.values())]


def compared_in(studies: Sequence[Study]) -> list[str]:
    """Lists the outcomes in which some row can be compared with its reference."""
    pairs = [(study, row) for study in studies for row in study.references]
    return [n for n in TITLES if any(not math.isnan(difference(*p, n).estimate) for p in pairs)]


def numbers(study: Study) -> pd.DataFrame:
    """Returns a line for each row: mean, half-width and difference from the reference by outcome.

    Empty where no run has predictions.
    """
    if "ece" not in measured(study):
        return pd.DataFrame()
    rows = []
    for row, cell in study.cells.items():
        line: dict[str, str | float] = {"row": row}
        for name in TITLES:
            line[name], line[f"{name}_half_width"] = study.pool_in(name).mean(cell)
            found = difference(study, row, name)
            line[f"{name}_difference"] = found.estimate
            line[f"{name}_difference_low"] = found.low
            line[f"{name}_difference_high"] = found.high
        rows.append(line)
    return pd.DataFrame(rows)


def difference(study: Study, row: str, name: str) -> Difference:
    """Computes a row minus its reference in an outcome; NaN where it has none."""
    if row not in study.references:
        return Difference(float("nan"))
    reference = study.cells[study.references[row]]
    return study.pool_in(name).difference(study.cells[row], reference)


def as_text(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    """Returns the numbers as text, of the outcomes that some run has."""
    text = pd.DataFrame({study.asked.title: study.rows})
    for name in measured(study):
        text[TITLES[name]] = ["–" if pd.isna(mean) else f"{mean:.3f}" for mean in table[name]]
        text[f"{TITLES[name]}, difference"] = [
            difference_text(difference(study, row, name), DIGITS[name]) for row in study.rows
        ]
    return text


def notes(study: Study, table: pd.DataFrame) -> list[str]:
    """Says what the numbers are, and which are missing."""
    lines = [
        "Secondary outcomes: no verdict rests on them. NLL is the mean negative log-likelihood of "
        f"the true class; ECE the expected calibration error in {BINS} bins, from the probability "
        "of the predicted class, kept in float16. Less is better. Intervals as for the error.",
    ]
    if "test_brier" not in measured(study):
        lines.append("There is no Brier score: these runs are of before 2026-11-25, and kept none.")
    return lines
