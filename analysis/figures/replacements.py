"""Draws what a network loses when its gates are replaced."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from analysis.figures.style import MARKS
from analysis.statistics.interventions import WORDS
from analysis.statistics.stats import interval
from experiments.records.parsing import ConfigError

TICKS = [-50, -10, -2, -1, 0, 1, 2, 10, 50]  # of a rise in points


def interventions(errors: pd.DataFrame) -> Figure:
    """Draws the rise of the error with other gates in all blocks, and in those of each stage.

    The `errors` are those of `intervention_frame`.
    """
    if errors.empty:
        raise ConfigError("no gates were replaced in these runs")
    everywhere = errors["where"] == "all"
    stages = list(errors["where"][~everywhere].unique())
    figure = Figure(figsize=(7.2, 3.5))
    axes = figure.subplots(1, 2 if stages else 1, sharex=True, sharey=True, squeeze=False)[0]
    seeds = errors.seed.nunique()
    name = "mean of seeds, 95 % interval" if seeds > 1 else "the one seed: no interval"
    _draw_rises(errors[everywhere], axes[0], 0, "k", "D", name)
    for number, stage in enumerate(stages):
        shift, mark = 0.7 * ((number + 0.5) / len(stages) - 0.5), MARKS[number % len(MARKS)]
        _draw_rises(errors[errors["where"] == stage], axes[1], shift, *mark, f"stage {stage}")
    parts = {"left": "gates of all blocks replaced by", "right": "of one stage alone"}
    for ax, (side, name) in zip(axes, parts.items(), strict=False):
        _draw_scale(ax)
        ax.set_title(name)
        figure.legend(*ax.get_legend_handles_labels(), loc=f"outside lower {side}", ncols=3)
    axes[0].set_ylim(len(WORDS) - 0.5, -0.5)
    axes[0].set_yticks(range(len(WORDS)), WORDS.values())
    return figure


def _draw_rises(errors: pd.DataFrame, ax: Axes, shift: float, color, sign: str, name: str) -> None:
    """Draws one place's rises, one row per replacement: seeds, their mean and its 95 % interval."""
    for row, how in enumerate(WORDS):
        rises = errors.rise[errors.how == how]
        mean, half = interval(rises)
        ax.errorbar(
            mean, row + shift, xerr=half, fmt=sign, color=color, ms=5, capsize=3,
            label="" if row else name,
        )  # fmt: skip
        if len(rises) > 1:
            ax.plot(rises, [row + shift] * len(rises), "o", mfc="none", mec="0.4", ms=3.5)


def _draw_scale(ax: Axes) -> None:
    """Makes x linear to 2 points, logarithmic beyond: gates of 1 cost ten times what others do."""
    ax.set_xscale("symlog", linthresh=2, linscale=0.8)
    low, high = ax.get_xlim()
    ax.set_xlim(max(-100, min(-1, low)), min(100, max(2, high)))
    ax.xaxis.set_major_locator(FixedLocator(TICKS))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
    ax.axvline(0, color="k", lw=0.8)
    ax.grid(axis="x", color="0.9")
    ax.set(axisbelow=True, xlabel="rise of the error (points; log beyond 2)")
