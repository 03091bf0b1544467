"""Writes what a figure shows, for those who cannot see it, and what follows, for everybody."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.figures.compared import lines
from analysis.figures.kinds import CAPTION
from analysis.statistics.comparisons import against_reference, difference_text
from analysis.statistics.lengths import UNITS, by_length, series, slopes, unit
from analysis.study import Study


@dataclass(frozen=True)
class Caption:
    """Holds a figure's words: alt, what is seen in it; text, what follows, printed under it."""

    alt: str
    text: str


def of_study(kind: str, study: Study) -> Caption:
    """Writes the caption of a figure of a study."""
    found = STUDY_CAPTIONS.get(kind)
    return found(study) if found else Caption(f"{kind} of {study.asked.title}", "")


def errors(study: Study) -> Caption:
    known = means(study, study.rows)
    if not known:
        return Caption(f"{study.asked.title}: no result yet.", "No run is finished yet.")
    paper = study.paper.top1.dropna()
    texts = [f"{row} {error:.2f} %" for row, error in paper.items()]
    rest = f" Beside them the paper's, on its own data: {'; '.join(texts)}." if texts else ""
    ordered = sorted((error, row) for row, error in known.items())
    (least, best), (most, worst) = ordered[0], ordered[-1]
    text = f"{best} has the lowest mean error, {least:.2f} %; {worst} the highest, {most:.2f} %."
    if len(known) == 1:
        text = f"{best} has a mean error of {least:.2f} %."
    return Caption(f"{_seen_errors(study)}{rest}", f"{text} {against(study)}".strip())


def means(study: Study, rows: Iterable[str]) -> dict[str, float]:
    """Maps each of some rows that has a result to its mean error."""
    return {row: study.pool.mean(study.cells[row])[0] for row in rows if study.errors(row)}


def against(study: Study) -> str:
    """Says how many rows differ from their reference, by their intervals."""
    found = against_reference(study)
    known = {row: one for row, one in found.items() if not math.isnan(one.low)}
    if not known:
        return ""
    apart = [row for row, one in known.items() if one.leaves_out_zero]
    name = study.reference or "their reference"
    if not apart:
        return f"No interval of a difference from {name} leaves out 0."
    return (
        f"{len(apart)} of {len(known)} differences from {name} have an interval that leaves out 0: "
        f"{'; '.join(apart)}."
    )


def ratio(study: Study) -> Caption:
    if not (known := means(study, study.varied)):
        return errors(study)
    rows = list(known)
    spread = max(known.values()) - min(known.values())
    text = f"From {rows[0]} to {rows[-1]} the mean error moves by {spread:.2f} points in all."
    rest = " Beside it the parameters, and below both the paper's, on its own data."
    return Caption(f"{_seen_ratio(study)}{rest}", f"{text} {against(study)}".strip())


def budget(study: Study) -> Caption:
    texts = []
    for network, rows in series(study).items():
        means = {length: study.pool.mean(study.cells[row])[0] for length, row in rows.items()}
        known = [f"{mean:.2f} % at {x:,}" for x, mean in means.items() if not math.isnan(mean)]
        texts += [f"{network} {', '.join(known)}"] if known else []
    alt = (
        f"Lines of the test error against {UNITS[unit(study)]}, one a network, and below them the "
        f"differences at each length. {'; '.join(texts)}."
    )
    if not (declared := slopes(study)):
        return Caption(alt, against(study))
    one, *_ = declared
    found = {x: d for x, d in by_length(study, one).items() if not math.isnan(d.estimate)}
    points = ", ".join(f"{difference_text(d)} at {x:,}" for x, d in found.items())
    return Caption(alt, f"{one.who} minus {one.than}, in points: {points or 'not known yet'}.")


STUDY_CAPTIONS: dict[str, Callable[[Study], Caption]] = {
    "errors": errors,
    "ratio": ratio,
    "budget": budget,
}


def forest(studies: Sequence[Study]) -> Caption:
    """Writes the caption of the plot of every row against its reference."""
    every = [one for block in lines(studies).values() for one in block]
    known = [one for one in every if not math.isnan(one.found.estimate)]
    apart = [one for one in known if not math.isnan(one.found.low) and one.found.leaves_out_zero]
    worse = sorted(
        (one for one in apart if one.found.estimate > 0), key=lambda one: -one.found.estimate
    )
    better = [one for one in apart if one.found.estimate < 0]
    texts = [f"{one.label} {difference_text(one.found)}" for one in known]
    alt = (
        f"Forest plot of {len(known)} differences from a reference, in points, with the paper's "
        f"beside them. {'; '.join(texts)}."
    )
    if all(math.isnan(one.found.low) for one in known):
        return Caption(alt, "No difference has an interval: for that rows need more than one seed. "
                       "Filled is ours, hollow is the paper's, on its own data.")  # fmt: skip
    text = (
        f"Of {len(known)} differences {len(apart)} have an interval that leaves out 0: "
        f"{len(worse)} networks end higher than their reference, {len(better)} lower."
    )
    if worse:
        text += f" Farthest off is {worse[0].label} ({worse[0].found.estimate:+z.2f})."
    return Caption(alt, f"{text} {CAPTION} An arrow is beyond the axis.")


def seen(study: Study) -> dict[str, str]:
    """Maps each chart that the page draws of a study to what is seen in it.

    That is less than in its still picture, which also has what the paper prints.
    """
    charts = {
        "errors": _seen_errors,
        "ratio": _seen_ratio,
        "cost": _seen_cost,
        "curves": seen_curves,
    }
    return {kind: describe(study) for kind, describe in charts.items()}


def _seen_errors(study: Study) -> str:
    texts = [f"{row} {error:.2f} %" for row, error in means(study, study.rows).items()]
    return (
        f"Dot plot of the test error of {len(texts)} networks, with the seeds and 95 % intervals, "
        f"{study.asked.dataset}. From top to bottom: {'; '.join(texts) or 'no result yet'}."
    )


def _seen_ratio(study: Study) -> str:
    rows = (study.varied, [row for row in study.rows if row not in study.varied])
    points, levels = (
        "; ".join(f"{row} {error:.2f} %" for row, error in means(study, some).items()) or "none"
        for some in rows
    )
    return f"Test error against the reduction ratio r: {points}. Level lines: {levels}."


def _seen_cost(study: Study) -> str:
    texts = [
        f"{row} {error:.2f} % at {study.of(row).parameters.iloc[0] / 1e6:.2f}"
        for row, error in means(study, study.rows).items()
    ]
    return (
        "Test error, with 95 % intervals, against millions of parameters, a mark a network: "
        f"{'; '.join(texts) or 'no result yet'}."
    )


def seen_curves(study: Study) -> str:
    """Says where each network's held-out error begins and ends."""
    curves, texts = study.sound_curves, []
    for row in study.rows if "val_error" in curves else []:
        by_epoch = curves[curves.row == row].groupby("epoch").val_error.mean().dropna()
        if len(by_epoch):
            texts.append(f"{row} {ends(by_epoch)}")
    return (
        "Error by epoch, on a logarithmic scale, a strong line for held-out images and a faint one "
        f"for training images. Held-out error: {'; '.join(texts) or 'none yet'}."
    )


def ends(by_epoch: pd.Series) -> str:
    """Writes the first and the last error, with their epochs: `60.1 % (1) to 27.3 % (6)`."""
    first, last = (f"{by_epoch.iloc[at]:.1f} % ({by_epoch.index[at]})" for at in (0, -1))
    return first if len(by_epoch) == 1 else f"{first} to {last}"
