"""Secondary outcomes, declared as such: how good the probabilities are, behind the error.

A run keeps, of each test image, the predicted class with its probability and the true class with
its probability, in float16. From these follow the negative log-likelihood (which the run has summed
up itself, in full precision: `test_loss`) and the expected calibration error, which needs no more
than the predicted class. A Brier score needs the probabilities of all classes, which no run keeps:
it is not computed.
"""

import pandas as pd

from analysis.calibration import BINS
from analysis.comparisons import shown
from analysis.records import Study
from analysis.stats import Difference

TITLES = {"test_loss": "NLL (nats)", "ece": "ECE (points)"}


def numbers(study: Study) -> pd.DataFrame:
    """One row a variant: mean, half-width and difference from the reference of each outcome."""
    rows = []
    for row, cell in study.cells.items():
        line = {"row": row}
        for name in TITLES:
            line[name], line[f"{name}_half_width"] = study.pool_in(name).mean(cell)
            found = difference(study, row, name)
            ends = {"": found.estimate, "_low": found.low, "_high": found.high}
            line |= {f"{name}_difference{end}": value for end, value in ends.items()}
        rows.append(line)
    return pd.DataFrame(rows)


def difference(study: Study, row: str, name: str) -> Difference:
    """A row minus its reference in an outcome; NaN where it has none."""
    if row not in study.references:
        return Difference(float("nan"))
    reference = study.cells[study.references[row]]
    return study.pool_in(name).difference(study.cells[row], reference)


def cells(study: Study) -> pd.DataFrame:
    """The same as text."""
    text = pd.DataFrame({study.asked["title"]: study.rows})
    for name, title in TITLES.items():
        means = [study.pool_in(name).mean(cell)[0] for cell in study.cells.values()]
        text[title] = ["–" if pd.isna(mean) else f"{mean:.3f}" for mean in means]
        text[f"{title}, difference"] = [shown(difference(study, r, name)) for r in study.rows]
    return text


NOTES = [
    "Secondary outcomes: no verdict rests on them. NLL is the mean negative log-likelihood of the "
    f"true class; ECE the expected calibration error in {BINS} bins, from the probability of the "
    "predicted class, kept in float16. Intervals as for the error.",
    "A Brier score is not computed: it needs the probabilities of all classes, which no run keeps.",
]
