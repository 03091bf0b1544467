"""Draws the figures of a study; `FIGURES` says which study gets which.

A further figure is a function and its row in FIGURES, a name in kinds.py, and a caption in
analysis/page/captions.py. A figure that is not of a study alone is drawn by another module:
gates.py, forest.py, outcomes.py.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures.lengths import any_known, budget, tuning
from analysis.figures.looks import CONTROLS, looks
from analysis.figures.style import OURS, PAPER, STYLE, entitled, seeds_text, where, write
from analysis.figures.training import curves, figure4, has_curves, pairs
from analysis.statistics.effects import effects
from analysis.statistics.lengths import series
from analysis.study import Study
from analysis.tables.study import numbers

MOST_LINES = 20
CONTROL = "control"  # the study that asks what a wider plain network would get for the same cost


def errors(study: Study) -> Figure:
    """Draws every row's test error: seeds, mean, interval; beside it the paper's, ranked."""
    has_paper = study.paper.top1.notna().any()
    figure = Figure(figsize=(7.2, 1.3 + 0.26 * len(study.rows)))
    ratios = [3, 2][: 1 + has_paper]
    axes = figure.subplots(1, len(ratios), sharey=True, squeeze=False, width_ratios=ratios)
    draw_errors(study, axes[0, 0])
    if has_paper:
        _draw_published(study, axes[0, 1])
    return entitled(figure, study)


def draw_errors(study: Study, ax: Axes) -> None:
    for place, (row, look) in enumerate(looks(study).items()):
        values = study.errors(row)
        mean, half = study.pool.mean(study.cells[row])
        if len(values) > 1:
            ax.plot(values, [place] * len(values), "o", mfc="none", mec=look.color, ms=4, alpha=0.6)
            ax.errorbar(mean, place, xerr=half, fmt=look.marker, color=look.color, ms=5, capsize=3)
        elif len(values):
            ax.plot(mean, place, look.marker, color=look.color, ms=5)
        else:
            ax.annotate(
                "no result", (0.02, place), xycoords=("axes fraction", "data"), va="center",
                color="0.4", style="italic",
            )  # fmt: skip
    ax.set_yticks(range(len(study.rows)), study.rows)
    ax.set_ylim(len(study.rows) - 0.4, -0.6)
    low, high = ax.get_xlim()
    ax.set_xlim(max(0, low), min(100, high))  # an interval of few seeds may reach beyond
    ax.grid(axis="x", color="0.9")
    ax.set_axisbelow(True)
    ax.set_xlabel("test error (%)")
    ax.set_title(f"{where(study)}, {seeds_text(study)}")


def _draw_published(study: Study, ax: Axes) -> None:
    """Draws the paper's errors, each with its rank among them."""
    order = study.paper.top1.rank(method="min")
    for place, row in enumerate(study.rows):
        error = study.paper.top1[row]
        ax.plot(error, place, "D", mfc="none", mec=PAPER, ms=5)
        if not math.isnan(error):
            ax.annotate(
                f"{order[row]:.0f}", (error, place), (7, 0), textcoords="offset points",
                va="center", fontsize=8, color="0.35",
            )  # fmt: skip
    ax.margins(x=0.1)
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.grid(axis="x", color="0.9")
    ax.set_axisbelow(True)
    ax.set_xlabel("top-1 error (%), with its rank")
    ax.set_title(f"paper: {study.paper_of}")


def ratio(study: Study) -> Figure:
    """Draws error and parameters against reduction ratio r (Table 10), the paper's below ours."""
    figure = Figure(figsize=(7.2, 5.2))
    axes = figure.subplots(2, 2, sharex=True)
    table = numbers(study).set_index("row").astype({"parameters": float})
    table["mparams"] = table.parameters / 1e6
    draw = partial(_draw_against_ratio, study.ratios)
    draw(table.test_error, axes[0, 0], OURS, halves=table.half_width)
    draw(table.mparams, axes[0, 1], OURS)
    draw(table.paper_top1, axes[1, 0], PAPER, mfc="none")
    draw(table.paper_mparams, axes[1, 1], PAPER, mfc="none")
    axes[0, 0].set(title=f"{where(study)}, {seeds_text(study)}", ylabel="test error (%)")
    axes[1, 0].set(title=f"paper: {study.paper_of}", ylabel="top-1 error (%)")
    for ax in axes[:, 1]:
        ax.set_ylabel("parameters (M)")
    for ax in axes[1]:
        ax.set_xlabel("reduction ratio r")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return entitled(figure, study)


def _draw_against_ratio(
    ratio_of: Mapping[str, int],
    values: pd.Series,
    ax: Axes,
    color: str,
    halves: pd.Series | None = None,
    mfc: str | None = None,
) -> None:
    """Draws the `values` of these rows as points, those of the controls as level lines."""
    rows, ratios = list(ratio_of), list(ratio_of.values())
    for control, look in CONTROLS.items():
        level = values.get(control, math.nan)
        if not math.isnan(level):
            ax.axhline(level, color=look.color, ls=look.line, label=control)
    yerr = None if halves is None else halves[rows]
    ax.errorbar(ratios, values[rows], yerr=yerr, fmt="D-", color=color, mfc=mfc, ms=5, capsize=3)
    ax.set_xscale("log", base=2)
    ax.set_xticks(ratios, ratios)
    ax.grid(color="0.9")


def cost(study: Study) -> Figure:
    """Draws error against parameters and operations; a line joins the plain networks."""
    table = numbers(study).set_index("row").astype({"parameters": float, "multiply_adds": float})
    plain = _plain_rows(study)
    axes_of = {
        "parameters (M)": table.parameters / 1e6,
        "multiply-adds (M)": table.multiply_adds / 1e6,
    }
    axes_of = {name: values for name, values in axes_of.items() if values.notna().any()}
    figure = Figure(figsize=(8.4, max(3.4, 1.6 + 0.19 * len(table))))
    axes = figure.subplots(1, len(axes_of), sharey=True, squeeze=False)
    seen = looks(study)
    for ax, (name, values) in zip(axes[0], axes_of.items(), strict=True):
        for row in table.index:
            ax.errorbar(
                values[row], table.test_error[row], yerr=table.half_width[row], capsize=2, ms=5,
                fmt=seen[row].marker, color=seen[row].color,
                label=row,
            )  # fmt: skip
        if len(plain) > 1:
            curve = pd.DataFrame({"x": values[plain], "y": table.test_error[plain]}).dropna()
            curve = curve.sort_values("x")
            ax.plot(curve.x, curve.y, "-", color="0.6", lw=1, zorder=0)
        ax.set_xlabel(name)
        ax.grid(color="0.9")
        ax.set_axisbelow(True)
    axes[0, 0].set_title(f"{where(study)}, {seeds_text(study)}")
    low, high = axes[0, 0].get_ylim()
    axes[0, 0].set_ylim(max(0, low), min(100, high))
    axes[0, 0].set_ylabel("test error (%)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8)
    return entitled(figure, study, f"{study.asked.title}: error against cost")


def _plain_rows(study: Study) -> list[str]:
    """Returns the rows without SE, as their configs say."""
    block = study.done.get("config.se.block")
    rows = study.done[block.isna()] if block is not None else study.done
    return [row for row in study.rows if row in set(rows.row)]


def factorial(study: Study) -> Figure:
    """Draws main effects and the largest interactions, each with its 95 % interval."""
    table = effects(study)
    main = table[~table.term.str.contains(" x ")]
    pairs_of = table[table.term.str.contains(" x ")]
    largest = pairs_of.loc[pairs_of.effect.abs().sort_values(ascending=False, kind="stable").index]
    largest = largest.head(len(main))
    figure = Figure(figsize=(8.4, 1.4 + 0.25 * len(main)))
    axes = figure.subplots(1, 2, sharex=True)
    names = (
        f"main effects, {seeds_text(study)}",
        f"largest interactions ({len(largest)} of {len(pairs_of)})",
    )
    for ax, shown, name in zip(axes, (main, largest), names, strict=True):
        for place, row in enumerate(shown.itertuples()):
            half = None if math.isnan(row.low) else row.high - row.effect
            ax.errorbar(row.effect, place, xerr=half, fmt="D", color=OURS, ms=4, capsize=2)
        labels = [f"{row.term}: {row.level}" for row in shown.itertuples()]
        ax.set_yticks(range(len(shown)), labels, fontsize=8)
        ax.set_ylim(len(shown) - 0.4, -0.6)
        ax.axvline(0, color="0.5", lw=1)
        ax.grid(axis="x", color="0.9")
        ax.set(title=name, xlabel="effect on the test error (points)")
    return entitled(figure, study)


FIGURES: dict[str, tuple[Callable[[Study], bool], Callable[[Study], Figure]]] = {
    "budget": (lambda study: len(series(study)) > 0 and len(study.done) > 0, budget),
    "ratio": (lambda study: len(study.ratios) > 1 and [*study.ratios] == study.varied, ratio),
    "errors": (lambda study: not series(study) and not FIGURES["ratio"][0](study), errors),
    "curves": (lambda study: len(study.rows) <= MOST_LINES and has_curves(study), curves),
    "figure4": (lambda study: bool(pairs(study)) and has_curves(study), figure4),
    "cost": (lambda study: study.asked.grid == CONTROL and len(study.done) > 0, cost),
    "factorial": (lambda study: len(effects(study)) > 0, factorial),
    "tuning": (any_known, tuning),
}


def save(study: Study, folder: Path) -> list[Path]:
    """Writes every figure of a study in each format, the same bytes on every rebuild."""
    with matplotlib.rc_context(STYLE):
        return [
            path
            for name, (fits, draw) in FIGURES.items()
            if fits(study)
            for path in write(draw(study), folder, f"{study.name}-{name}")
        ]
