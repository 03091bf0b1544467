"""The forest plot: every variant's difference from its reference, over all studies."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.comparisons import MARGINS, against_reference, verdict
from analysis.records import Study
from analysis.stats import Difference
from analysis.style import OURS, PAPER, STYLE, marks, write

FEWEST_POINTS = 1.5  # of the axis, to each side


@dataclass(frozen=True)
class Line:
    """A variant: its difference, the paper's (NaN for none), the verdict, and how many seeds."""

    label: str
    found: Difference
    paper: float
    verdict: str
    seeds: int


def lines(studies: Sequence[Study]) -> dict[str, list[Line]]:
    """Title of a study, with its reference -> its variants; each network only once."""
    seen: set[tuple[str, str]] = set()
    blocks: dict[str, list[Line]] = {}
    for study in studies:
        cells = {row["label"]: row["cell"] for row in study.asked["rows"]}
        for row, found in against_reference(study).items():
            reference = study.references[row]
            pair = cells[row], cells[reference]
            is_over = {"diverged", "failed"} & set(study.states(row))
            if pair in seen or (math.isnan(found.estimate) and not is_over):
                continue
            seen.add(pair)
            against = study.reference or study.references_in_words
            name = f"{study.asked['title']} (minus {against})"
            paper = study.paper.top1[row] - study.paper.top1[reference]
            word = verdict(study, row)
            if math.isnan(found.estimate):  # no run of it ended in a number
                word = "diverged" if "diverged" in set(study.states(row)) else "failed"
            seeds = min(len(study.errors(row)), len(study.errors(reference)))
            blocks.setdefault(name, []).append(Line(row, found, paper, word, seeds))
    return blocks


def forest(studies: Sequence[Study]) -> Figure:
    """Ours with interval (filled), the paper's (hollow), the margin (band), the verdict.

    Args:
        studies: of one data set, network and recipe.
    """
    blocks = lines(studies)
    height = 1.5 + 0.21 * sum(1.25 + len(block) for block in blocks.values())
    figure = Figure(figsize=(7.2, height))
    ax = figure.subplots()
    margin = MARGINS.get(studies[0].asked["dataset"], 0.0)
    limit = reach([line for block in blocks.values() for line in block])
    ax.axvspan(-margin, margin, color="0.92", zorder=0)
    ax.axvline(0, color="0.4", lw=1, zorder=1)
    ticks, place = {}, 0.0
    for name, block in blocks.items():
        ax.annotate(
            name, (0.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=8.5,
            fontweight="bold", backgroundcolor="w",
        )  # fmt: skip
        place += 1
        for line in block:
            draw(line, ax, place, limit)
            ticks[place] = line.label
            place += 1
        place += 0.25
    ax.set_yticks(list(ticks), list(ticks.values()))
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(place - 0.25, -0.8)
    ax.set_xlim(-limit, limit)
    ax.set_xlabel("test error minus that of the reference (points); left is better")
    asked = studies[0].asked
    network = next((s.asked["network"] for s in studies if s.asked["network"] != "all"), "")
    where = f"{network} on {asked['dataset']}" if network else asked["dataset"]
    figure.suptitle(f"Every variant against its reference · {where}, {marks(studies[0])}")
    handles = [
        ax.errorbar([], [], xerr=[], fmt="D", color=OURS, ms=4, capsize=2,
                    label="ours, 95 % interval"),
        *ax.plot([], [], "D", mfc="none", mec=PAPER, ms=5, label="the paper's, on its own data"),
        ax.axvspan(0, 0, color="0.92", label=f"within {margin:g} points: alike"),
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8.5)
    return figure


def reach(found: list[Line]) -> float:
    """How far the axis goes: far enough for most; single large differences are named instead."""
    ends = [abs(x) for f in found for x in (f.found.low, f.found.high, f.found.estimate, f.paper)]
    ends = [end for end in ends if not math.isnan(end)]
    return max(FEWEST_POINTS, 1.1 * float(np.quantile(ends, 0.85)))


def draw(line: Line, ax: Axes, place: float, limit: float) -> Axes:
    found = line.found
    if abs(found.estimate) > 0.97 * limit:  # beyond the axis: an arrow and the number
        side = math.copysign(1, found.estimate)
        ax.plot(side * 0.97 * limit, place, ">" if side > 0 else "<", color=OURS, ms=6)
        ax.annotate(f"{found.estimate:+z.1f}", (side * 0.97 * limit, place), (-side * 6, 0),
                    textcoords="offset points", ha="right" if side > 0 else "left", va="center",
                    fontsize=8, color=OURS)  # fmt: skip
    else:
        known = not math.isnan(found.low)
        half = [[found.estimate - found.low], [found.high - found.estimate]] if known else None
        ax.errorbar(found.estimate, place, xerr=half, fmt="D", color=OURS, ms=4, capsize=2)
        for end, sign in ((found.low, "<"), (found.high, ">")):
            if abs(end) > limit:  # the interval goes on
                ax.plot(math.copysign(0.99 * limit, end), place, sign, color=OURS, ms=4)
    ax.plot(line.paper, place, "D", mfc="none", mec=PAPER, ms=5.5, zorder=3)
    words = f"{line.verdict}, n = {line.seeds}".removeprefix(", ")
    if math.isnan(found.estimate):
        words = f"{line.verdict}: no number"
    ax.annotate(words, (1.02, place), xycoords=("axes fraction", "data"), va="center",
                fontsize=8, annotation_clip=False)  # fmt: skip
    return ax


def save(studies: Sequence[Study], folder: Path, name: str) -> list[Path]:
    """The forest plot as PNG and PDF."""
    with matplotlib.rc_context(STYLE):
        return write(forest(studies), folder, name)
