"""The forest plot: every variant's difference from its reference, over all studies."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.style import OURS, PAPER, STYLE, marks, write
from analysis.load import Study
from analysis.statistics.comparisons import MARGINS, against_reference, pair, verdict
from analysis.statistics.stats import Difference
from experiments.records.states import State

FEWEST_POINTS = 1.5  # of the axis, to each side


@dataclass(frozen=True)
class Line:
    """A variant: its difference, the paper's (NaN for none), the verdict, and how many seeds."""

    label: str
    found: Difference
    paper: float
    verdict: str
    seeds: int


def compared(studies: Sequence[Study]) -> dict[str, list[tuple[Study, str]]]:
    """Title of a study, with its reference -> its variants; each pair of networks only once."""
    seen: set[tuple[str, str]] = set()
    blocks: dict[str, list[tuple[Study, str]]] = {}
    for study in studies:
        for row, found in against_reference(study).items():
            both = study.cells[row], study.cells[study.references[row]]
            is_over = {State.DIVERGED, State.FAILED} & set(study.states(row))
            if both in seen or (math.isnan(found.estimate) and not is_over):
                continue
            seen.add(both)
            against = study.reference or study.references_in_words
            name = f"{study.asked.title} (minus {against})"
            blocks.setdefault(name, []).append((study, row))
    return blocks


def lines(studies: Sequence[Study]) -> dict[str, list[Line]]:
    """Title of a study, with its reference -> what is drawn of its variants."""
    return {
        name: [line(study, row) for study, row in block]
        for name, block in compared(studies).items()
    }


def line(study: Study, row: str) -> Line:
    reference = study.references[row]
    found, word = pair(study, row, reference), verdict(study, row)
    if math.isnan(found.estimate):  # no run of it ended in a number
        word = State.DIVERGED if State.DIVERGED in study.states(row) else State.FAILED
    paper = study.paper.top1[row] - study.paper.top1[reference]
    seeds = min(len(study.errors(row)), len(study.errors(reference)))
    return Line(row, found, paper, word, seeds)


def forest(studies: Sequence[Study]) -> Figure:
    """Ours with interval (filled), the paper's (hollow), the margin (band), the verdict.

    Args:
        studies: of one data set, network and recipe.
    """
    blocks = lines(studies)
    height = 1.5 + 0.21 * sum(1.25 + len(block) for block in blocks.values())
    figure = Figure(figsize=(7.2, height))
    ax = figure.subplots()
    margin = MARGINS.get(studies[0].asked.dataset, 0.0)
    limit = reach([line for block in blocks.values() for line in block])
    ax.axvspan(-margin, margin, color="0.92", zorder=0)
    ax.axvline(0, color="0.4", lw=1, zorder=1)
    places = label_rows(
        ax, {name: [line.label for line in block] for name, block in blocks.items()}
    )
    for place, line in zip(
        places, [line for block in blocks.values() for line in block], strict=True
    ):
        draw(line, ax, place, limit)
    ax.set_xlim(-limit, limit)
    ax.set_xlabel("test error minus that of the reference (points); left is better")
    asked = studies[0].asked
    network = next((s.asked.network for s in studies if s.asked.network != "all"), "")
    where = f"{network} on {asked.dataset}" if network else asked.dataset
    figure.suptitle(f"Every variant against its reference · {where}, {marks(studies[0])}")
    handles = [
        ax.errorbar([], [], xerr=[], fmt="D", color=OURS, ms=4, capsize=2,
                    label="ours, 95 % interval"),
        *ax.plot([], [], "D", mfc="none", mec=PAPER, ms=5, label="the paper's, on its own data"),
        ax.axvspan(0, 0, color="0.92", label=f"within {margin:g} points: alike"),
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8.5)
    return figure


def label_rows(ax: Axes, blocks: dict[str, list[str]]) -> list[float]:
    """Writes the names of blocks and of their rows, and returns where the rows stand."""
    ticks, place = {}, 0.0
    for name, rows in blocks.items():
        ax.annotate(
            name, (0.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=8.5,
            fontweight="bold", backgroundcolor="w",
        )  # fmt: skip
        ticks |= {place + 1 + i: row for i, row in enumerate(rows)}
        place += 1.25 + len(rows)
    ax.set_yticks(list(ticks), list(ticks.values()))
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(place - 0.25, -0.8)
    return list(ticks)


def reach(found: list[Line]) -> float:
    """How far the axis goes: far enough for most; single large differences are named instead."""
    ends = [abs(x) for f in found for x in (f.found.low, f.found.high, f.found.estimate, f.paper)]
    ends = [end for end in ends if not math.isnan(end)]
    return max(FEWEST_POINTS, 1.1 * float(np.quantile(ends, 0.85)))


def draw_interval(found: Difference, ax: Axes, place: float, limit: float, digits: int = 1) -> None:
    if abs(found.estimate) > 0.97 * limit:  # beyond the axis: an arrow and the number
        side = math.copysign(1, found.estimate)
        ax.plot(side * 0.97 * limit, place, ">" if side > 0 else "<", color=OURS, ms=6)
        ax.annotate(f"{found.estimate:+z.{digits}f}", (side * 0.97 * limit, place), (-side * 6, 0),
                    textcoords="offset points", ha="right" if side > 0 else "left", va="center",
                    fontsize=8, color=OURS)  # fmt: skip
    else:
        known = not math.isnan(found.low)
        half = [[found.estimate - found.low], [found.high - found.estimate]] if known else None
        ax.errorbar(found.estimate, place, xerr=half, fmt="D", color=OURS, ms=4, capsize=2)
        for end, sign in ((found.low, "<"), (found.high, ">")):
            if abs(end) > limit:  # the interval goes on
                ax.plot(math.copysign(0.99 * limit, end), place, sign, color=OURS, ms=4)


def draw(line: Line, ax: Axes, place: float, limit: float) -> Axes:
    found = line.found
    draw_interval(found, ax, place, limit)
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
