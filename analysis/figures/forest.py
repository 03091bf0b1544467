"""Draws the forest plot: every row's difference from its reference, over all studies."""

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from analysis.figures.compared import Ends, Line, beyond, ends_of, lines, reach
from analysis.figures.looks import INK, PAPER
from analysis.figures.style import STYLE, marks, write
from analysis.statistics.comparisons import MARGINS, difference_text
from analysis.statistics.stats import Difference
from analysis.study import Study


def forest(studies: Sequence[Study]) -> Figure:
    """Draws our differences with intervals (filled), the paper's (hollow), verdicts and the margin.

    The margin is a band. The studies are of one data set, network and recipe.
    """
    blocks = lines(studies)
    every = [line for block in blocks.values() for line in block]
    figure = Figure(figsize=(7.2, 1.5 + 0.21 * (1.25 * len(blocks) + len(every))))
    ax = figure.subplots()
    margin = MARGINS.get(studies[0].asked.dataset, 0.0)
    ends = reach(x for line in every for x in (*ends_of(line.found), line.paper))
    ax.axvspan(-margin, margin, color="0.92", zorder=0)
    ax.axvline(0, color="0.4", lw=1, zorder=1)
    for place, line in zip(label_rows(ax, blocks), every, strict=True):
        draw(line, ax, place, ends)
    ax.set_xlim(ends)
    ax.set_xlabel("test error minus that of the reference (points); left is better")
    asked = studies[0].asked
    network = next((s.asked.network for s in studies if s.asked.network != "all"), "")
    where = f"{network} on {asked.dataset}" if network else asked.dataset
    figure.suptitle(f"Every variant against its reference · {where}, {marks(studies[0])}")
    handles = [
        ax.errorbar([], [], xerr=[], fmt="D", color=INK, ms=4, capsize=2,
                    label="ours, 95 % interval"),
        *ax.plot([], [], "D", mfc="none", mec=PAPER, ms=5, label="the paper's, on its own data"),
        Patch(color="0.92", label=f"within {margin:g} points: alike"),
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8.5)
    return figure


def label_rows(ax: Axes, blocks: dict[str, list[Line]]) -> list[float]:
    """Writes the names of blocks and of their rows, and returns the places of the rows."""
    ticks, place = {}, 0.0
    for name, block in blocks.items():
        ax.annotate(
            name, (0.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=8.5,
            fontweight="bold", backgroundcolor="w",
        )  # fmt: skip
        ticks |= {place + 1 + i: line.label for i, line in enumerate(block)}
        place += 1.25 + len(block)
    ax.set_yticks(list(ticks), list(ticks.values()))
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(place - 0.25, -0.8)
    return list(ticks)


def draw_interval(found: Difference, ax: Axes, place: float, ends: Ends, digits: int = 1) -> None:
    """Draws a difference with its interval; one beyond the axis as an arrow with its numbers."""
    room = 0.015 * (ends[1] - ends[0])  # for an arrow
    inside = (ends[0] + room, ends[1] - room)
    if side := beyond(found.estimate, inside):
        edge, inner = (inside[1], found.low) if side > 0 else (inside[0], found.high)
        at = edge if math.isnan(inner) or beyond(inner, inside) else inner
        ax.plot([at, edge], [place, place], "-", color=INK, lw=1.5)  # what is on the axis
        ax.plot(edge, place, ">" if side > 0 else "<", color=INK, ms=6)
        # panels of other outcomes have no room for an interval
        text = difference_text(found if digits == 1 else Difference(found.estimate), digits)
        ax.annotate(text, (at, place), (-side * 6, 0),
                    textcoords="offset points", ha="right" if side > 0 else "left", va="center",
                    fontsize=8, color=INK)  # fmt: skip
        return
    known = not math.isnan(found.low)
    half = [[found.estimate - found.low], [found.high - found.estimate]] if known else None
    ax.errorbar(found.estimate, place, xerr=half, fmt="D", color=INK, ms=4, capsize=2)
    for end in (found.low, found.high):
        if side := beyond(end, ends):  # the interval goes on
            ax.plot(inside[side > 0], place, "<>"[side > 0], color=INK, ms=4)


def draw(line: Line, ax: Axes, place: float, ends: Ends) -> None:
    found = line.found
    draw_interval(found, ax, place, ends)
    ax.plot(line.paper, place, "D", mfc="none", mec=PAPER, ms=5.5, zorder=3)
    words = f"{line.verdict}, n = {line.seeds}".removeprefix(", ")
    if math.isnan(found.estimate):
        words = f"{line.verdict}: no number"
    ax.annotate(words, (1.02, place), xycoords=("axes fraction", "data"), va="center",
                fontsize=8, annotation_clip=False)  # fmt: skip


def save(studies: Sequence[Study], folder: Path, name: str) -> list[Path]:
    """Draws the forest plot, if it has a line, and writes it as a file of each format."""
    with matplotlib.rc_context(STYLE):
        return write(forest(studies), folder, name) if lines(studies) else []
