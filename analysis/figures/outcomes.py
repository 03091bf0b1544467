"""Draws the secondary outcomes as one figure: every row's differences from its reference."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from analysis.figures.compared import ends_of, lines, reach
from analysis.figures.forest import draw_interval, label_rows
from analysis.figures.style import STYLE, marks, write
from analysis.statistics.secondary import DIGITS, TITLES, compared_in, difference
from analysis.study import Study


def outcomes(studies: Sequence[Study]) -> Figure:
    """Draws one panel per outcome: the differences from the reference, with 95 % intervals.

    There has to be an outcome in which rows are compared.
    """
    blocks, names = lines(studies), compared_in(studies)
    every = [line for block in blocks.values() for line in block]
    figure = Figure(figsize=(7.2, 1.3 + 0.21 * (1.25 * len(blocks) + len(every))))
    axes = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    places = label_rows(axes[0], blocks)
    for ax, name in zip(axes, names, strict=True):
        found = [difference(line.study, line.label, name) for line in every]
        ends = reach((x for one in found for x in ends_of(one)), fewest=0.0)
        ax.axvline(0, color="0.4", lw=1, zorder=1)
        for place, one in zip(places, found, strict=True):
            draw_interval(one, ax, place, ends, DIGITS[name])
        ax.set_xlim(ends)
        ax.tick_params(axis="y", length=0)
        ax.set_xlabel(TITLES[name])
    figure.suptitle(f"Secondary outcomes, minus the reference · {marks(studies[0])}")
    return figure


def save(studies: Sequence[Study], folder: Path, name: str) -> list[Path]:
    """Draws the figure, if there is an outcome, and writes it as a file of each format."""
    with matplotlib.rc_context(STYLE):
        return write(outcomes(studies), folder, name) if compared_in(studies) else []
