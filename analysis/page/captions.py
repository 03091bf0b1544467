"""Writes what a figure shows, for those who cannot see it, and what follows, for everybody."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.figures.compared import lines
from analysis.figures.gate_facts import start_of
from analysis.figures.kinds import CAPTION
from analysis.statistics.comparisons import against_reference, shown
from analysis.statistics.interventions import WORDS, everywhere, written
from analysis.statistics.lengths import UNITS, by_length, series, slopes, unit
from analysis.study import Study
from experiments.records.gates import Gates


@dataclass(frozen=True)
class Caption:
    """Holds a figure's words: alt, what is seen in it; text, what follows, printed under it."""

    alt: str
    text: str


def of_study(kind: str, study: Study) -> Caption:
    """Writes the caption of a figure of a study."""
    found = STUDIES.get(kind)
    return found(study) if found else Caption(f"{kind} of {study.asked.title}", "")


def errors(study: Study) -> Caption:
    known = [(study.pool.mean(study.cells[row])[0], row) for row in study.rows if study.errors(row)]
    if not known:
        return Caption(f"{study.asked.title}: no result yet.", "No run is finished yet.")
    texts = [f"{row} {error:.2f} %" for error, row in known]
    alt = (
        f"Dot plot of the test error of {len(known)} networks, with the seeds and 95 % intervals, "
        f"{study.asked.dataset}. From top to bottom: {'; '.join(texts)}."
    )
    (least, best), (most, worst) = min(known), max(known)
    text = f"{best} has the lowest mean error, {least:.2f} %; {worst} the highest, {most:.2f} %."
    if len(known) == 1:
        text = f"{best} has a mean error of {least:.2f} %."
    return Caption(alt, f"{text} {against(study)}".strip())


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
        f"{', '.join(apart)}."
    )


def ratio(study: Study) -> Caption:
    rows = [row for row in study.varied if study.errors(row)]
    if not rows:
        return errors(study)
    means = {row: study.pool.mean(study.cells[row])[0] for row in rows}
    texts = [f"{row} {mean:.2f} %" for row, mean in means.items()]
    levels = [f"{row} {study.pool.mean(study.cells[row])[0]:.2f} %" for row in study.rows
              if row not in rows and study.errors(row)]  # fmt: skip
    alt = (
        "Test error, and beside it parameters, against the reduction ratio r, the paper's below: "
        f"{'; '.join(texts)}. Level lines: {'; '.join(levels) or 'none'}."
    )
    spread = max(means.values()) - min(means.values())
    text = f"From {rows[0]} to {rows[-1]} the mean error moves by {spread:.2f} points in all."
    return Caption(alt, f"{text} {against(study)}".strip())


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
    points = ", ".join(f"{shown(d)} at {x:,}" for x, d in found.items())
    return Caption(alt, f"{one.who} minus {one.than}, in points: {points or 'not known yet'}.")


STUDIES: dict[str, Callable[[Study], Caption]] = {
    "errors": errors,
    "ratio": ratio,
    "budget": budget,
}


def forest(studies: Sequence[Study]) -> Caption:
    """Writes the caption of the plot of every variant against its reference."""
    every = [one for block in lines(studies).values() for one in block]
    known = [one for one in every if not math.isnan(one.found.estimate)]
    apart = [one for one in known if not math.isnan(one.found.low) and one.found.leaves_out_zero]
    worse = sorted(
        (one for one in apart if one.found.estimate > 0), key=lambda one: -one.found.estimate
    )
    better = [one for one in apart if one.found.estimate < 0]
    texts = [f"{one.label} {shown(one.found)}" for one in known]
    alt = (
        f"Forest plot of {len(known)} differences from a reference, in points. {'; '.join(texts)}."
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


def of_gates(kind: str, study: Study, row: str, gate: str | None) -> Caption:
    """Writes the caption of a figure of the gates of one network."""
    runs = list(study.gates(row).values())
    if kind == "interventions":
        return interventions(study, row)
    if not runs:
        return Caption(kind, "")
    return {"figure6": figure6, "figure7": figure7, "specificity": specificity, "walk": walk}[kind](
        runs, gate
    )


def figure6(runs: list[Gates], gate: str | None) -> Caption:
    blocks = runs[0].blocks
    away = {n: np.abs(b.mean - (start_of(gate, len(b.mean)) or 0.0)) for n, b in blocks.items()}
    apart = {n: float(np.ptp(b.class_mean, axis=0).mean()) for n, b in blocks.items()}
    texts = [f"{n} {b.mean.min():.3f} to {b.mean.max():.3f}" for n, b in blocks.items()]
    alt = f"Mean gate of each channel by class, a panel a block. Over channels: {'; '.join(texts)}."
    most = max(apart, key=lambda name: apart[name])
    start = " of where they start" if gate else ""
    nine = float(np.quantile(np.concatenate(list(away.values())), 0.9))
    return Caption(
        alt,
        f"Nine tenths of the channels have a mean gate within {nine:.3f}{start}. Classes lie "
        f"farthest apart in {most}: by {apart[most]:.3f} in the mean channel.",
    )


def figure7(runs: list[Gates], gate: str | None) -> Caption:
    blocks = runs[0].blocks
    within = {n: float(b.class_std.mean()) for n, b in blocks.items()}
    texts = [f"{n} ± {x:.3f}" for n, x in within.items()]
    alt = f"Mean gate and its deviation within two classes, a panel a block: {'; '.join(texts)}."
    most = max(within, key=lambda name: within[name])
    return Caption(
        alt,
        f"Within a class gates vary most in {most}, by {within[most]:.3f} (standard deviation, in "
        "the mean channel). Where bands overlap the gates do not tell the classes apart.",
    )


def specificity(runs: list[Gates], gate: str | None) -> Caption:
    by_block = {n: b.class_share() for n, b in runs[0].blocks.items()}
    medians = {n: float(np.median(s)) for n, s in by_block.items() if len(s)}
    if not medians:
        return Caption("No gate varies.", "No gate varies over images.")
    texts = [f"{n} {100 * x:.0f} %" for n, x in medians.items()]
    alt = (
        "Share of a gate's variance that lies between classes, by block, median channel: "
        f"{'; '.join(texts)}."
    )
    names, shares = zip(*medians.items(), strict=True)
    ends = [f"{100 * share:.0f}" for share in (shares[0], shares[-1])]
    text = "share of the variance over images that lies between classes"
    if len(names) == 1:
        return Caption(alt, f"The {text} is {ends[0]} % in {names[0]}, in the median channel.")
    return Caption(
        alt,
        f"From {names[0]} to {names[-1]} the {text} goes from {ends[0]} to {ends[1]} %, in the "
        "median channel.",
    )


def walk(runs: list[Gates], gate: str | None) -> Caption:
    found = next(one for one in runs if one.walk is not None)
    seen, spread = found.walk, {n: float(b.std.mean()) for n, b in found.blocks.items()}
    most = max(spread, key=lambda name: spread[name])
    ends = f"{seen.s.min():.2f} to {seen.s.max():.2f}"
    alt = (
        f"One image of class {found.class_names[seen.label]} through {seen.block}: the image, some "
        f"maps, one number a map, one gate a map ({ends}), and the maps times their gates."
    )
    text = f"For this image the gates of {seen.block} lie between {ends.replace(' to ', ' and ')}."
    if most != seen.block:
        text += f" Over all images gates vary most in {most}; the record kept this block's maps."
    return Caption(alt, text)


def interventions(study: Study, row: str) -> Caption:
    table = everywhere(study, row)
    by = {how: written(table.rise[how], table.half_width[how]) for how in table.index}
    texts = [f"{WORDS[how]} {by[how]}" for how in WORDS if how in by]
    alt = (
        f"Rise of the error, in points, with the gates of all blocks replaced: {'; '.join(texts)}."
    )
    if "mean" not in by:
        return Caption(alt, "")
    text = f"With each gate at its mean over images the error changes by {by['mean']} points"
    rest = f", with all gates at 1 by {by['one']}" if "one" in by else ""
    return Caption(
        alt, f"{text}{rest}: what the trained network depends on, not what its training gained."
    )
