"""Draws training curves: error by epoch."""

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from analysis.figures.looks import looks
from analysis.figures.style import OURS, entitled, seeds_text
from analysis.study import Study

NONE = pd.Series(dtype=float)
LEAST = 0.5  # %: errors below it are left out of a logarithmic scale
COLUMNS = {"train_error": "training images", "val_error": "held-out images"}


def has_curves(study: Study) -> bool:
    return study.curves.get("train_error", NONE).notna().any()


def curves(study: Study) -> Figure:
    """Draws training and held-out error by epoch: a line per row, a band over seeds."""
    panels = {c: name for c, name in COLUMNS.items() if study.curves.get(c, NONE).notna().any()}
    height = max(3.6, 1.4 + 0.19 * len(study.rows))
    figure = Figure(figsize=(7.2, height))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)
    seen = looks(study)
    for ax, (column, name) in zip(axes[0], panels.items(), strict=True):
        for row in study.rows:
            draw(study, row, column, ax, seen[row].color, seen[row].line, row)
        ax.set(title=name, xlabel="epoch")
        _draw_epochs(study, ax)
    stretch(study, axes[0, 0])
    axes[0, 0].set_ylabel("error (%)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center")
    figure.supxlabel(f"{seeds_text(study)}, bands: range over seeds", fontsize=8)
    return entitled(figure, study)


def pairs(study: Study) -> dict[str, str]:
    """Maps each row with SE to that of the same network without, for networks that have curves."""
    drawn = set(study.sound_curves.row)
    return {
        row: other
        for row, other in study.references.items()
        if "network" in study.levels[row] and {row, other} & drawn
    }


def figure4(study: Study) -> Figure:
    """Draws curves with and without SE, one panel per network (Figure 4), with bands over seeds."""
    networks = pairs(study)
    columns = min(3, len(networks))
    rows = math.ceil(len(networks) / columns)
    figure = Figure(figsize=(1.2 + 2.2 * columns, 0.9 + 2.2 * rows))
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for ax in axes.flat[len(networks) :]:
        ax.remove()
    for ax, (with_se, without) in zip(axes.flat, networks.items(), strict=False):
        for row, color, name in ((without, "0.35", "plain"), (with_se, OURS, "SE")):
            draw(study, row, "train_error", ax, color, "--", f"{name}, training images")
            draw(study, row, "val_error", ax, color, "-", f"{name}, held-out images")
        ax.set_title(without)
        _draw_epochs(study, ax)
        ax.xaxis.set_tick_params(labelbottom=True)
        ax.set_xlabel("epoch")
    figure.supylabel("error (%)", fontsize=9)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    stretch(study, axes[0, 0])
    text = f"Training curves (Figure 4), {seeds_text(study)}, bands: range over seeds"
    return entitled(figure, study, text)


def stretch(study: Study, ax: Axes) -> None:
    """Makes the scale logarithmic where errors fall far, so that small errors can be told apart."""
    errors = study.curves[[column for column in COLUMNS if column in study.curves]]
    low, high = max(LEAST, errors.min().min()), errors.max().max()
    if high > 3 * low:
        ax.set_yscale("log")
        ax.set_ylim(0.9 * low, 1.1 * high)
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())


def _draw_epochs(study: Study, ax: Axes) -> None:
    """Marks whole epochs along x, also where there is only one."""
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if study.curves.epoch.max() == 1:
        ax.set_xlim(0, 2)
    ax.grid(color="0.9")


def draw(study: Study, row: str, column: str, ax: Axes, color, dashes: str, label: str) -> None:
    """Draws one row's mean over seeds by epoch, and its range."""
    if column not in study.curves:
        return
    curves = study.sound_curves
    lines = curves[curves.row == row].dropna(subset=[column])
    over_seeds = lines.groupby("epoch")[column]
    mean = over_seeds.mean()
    if len(mean):
        marker = "o" if len(mean) == 1 else None
        mfc = None if dashes == "-" else "w"
        style = {"marker": marker, "mfc": mfc, "color": color, "ls": dashes, "lw": 1.5}
        ax.plot(mean.index, mean, label=label, **style)
        low, high = over_seeds.min(), over_seeds.max()
        ax.fill_between(mean.index, low, high, color=color, alpha=0.15, lw=0)
