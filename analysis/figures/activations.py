"""Draws what the gates did: as in the paper's Figures 6 and 7, and by depth.

Draw within `matplotlib.rc_context(analysis.figures.style.STYLE)`.
"""

from collections.abc import Sequence
from itertools import groupby
from math import ceil

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures.gate_facts import HIGH, LOW, default_classes, saturation, start_of
from analysis.figures.looks import INK
from analysis.figures.style import PALETTE
from experiments.records.gates import Block, Gates, spaced
from experiments.records.parsing import ConfigError, checked
from senet.config import find_row, stage_of

LINES = list(zip(PALETTE, ("-", "--", "-.", ":"), strict=False))
MOST_PANELS = 9

Names = Sequence[str] | None
Panel = tuple[Axes, Block, np.ndarray]


def figure6(
    gates: Gates, classes: Names = None, channels: int | None = 50, gate: str | None = None
) -> Figure:
    """Draws the mean gate of each channel for some classes and for all: the paper's Figure 6.

    Args:
        classes: names; four of them where there are none.
        channels: curves go through so many, evenly spaced; None: through all that are kept.
        gate: its function, and then deviations from its value at logit 0 are drawn.
    """
    figure, panels = by_block(gates, channels)
    curves = _class_curves(gates, classes or default_classes(gates))
    for ax, block, sample in panels:
        start = _draw_start(ax, gate, block)
        overall = block.mean[block.channels[sample]] - start
        _draw_curve(ax, overall, "k", "-", label(gates), width=1.7)
        for name, number, color, dashes in curves:
            mean = block.class_mean[number, sample] - start
            _draw_curve(ax, mean, color, dashes, label(gates, name))
    return finished(figure, panels, "mean gate" + less(gate))


def figure7(
    gates: Gates, classes: Names = None, channels: int | None = 50, gate: str | None = None
) -> Figure:
    """Draws the mean gate (line) and its standard deviation within a class (band): Figure 7.

    It takes what `figure6` takes; without names it draws the first two of its classes.
    """
    figure, panels = by_block(gates, channels)
    curves = _class_curves(gates, classes or default_classes(gates)[:2])
    for ax, block, sample in panels:
        start = _draw_start(ax, gate, block)
        for name, number, color, dashes in curves:
            mean, std = block.class_mean[number, sample] - start, block.class_std[number, sample]
            band = (mean - std, mean + std)
            ax.fill_between(range(len(mean)), *band, color=color, alpha=0.25, lw=0)
            _draw_curve(ax, mean, color, dashes, label(gates, name))
    return finished(figure, panels, f"gate{less(gate)}: mean ± std within a class")


def _draw_start(ax: Axes, gate: str | None, block: Block) -> float:
    """Draws a line where a block's gates start, and returns that value; 0 where it is unknown."""
    start = start_of(gate, len(block.mean))
    if start is None:
        return 0.0
    ax.axhline(0, color="0.5", lw=0.8, zorder=1)
    return start


def less(gate: str | None) -> str:
    """Says what was subtracted from the gates; "" for nothing."""
    start = start_of(gate, 2)
    known = {0.5: " minus 1/2", 1.0: " minus 1", 0.0: "", None: ""}
    return " minus 1/C" if gate == "softmax" else known[start]


def by_block(gates: Gates, channels: int | None) -> tuple[Figure, list[Panel]]:
    """Makes one panel per block: axes, block, and which of its kept channels are drawn, (n,)."""
    names = drawn_blocks(list(gates.blocks))
    columns = 2 if len(names) in (2, 4) else min(3, len(names))
    rows, panels = ceil(len(names) / columns), []
    figure = Figure(figsize=(7.2, 0.9 + 1.5 * rows))
    axes = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for place, (ax, name) in enumerate(zip(axes.flat, names, strict=False)):
        block, kept = gates.blocks[name], len(gates.blocks[name].channels)
        if not kept:
            raise ConfigError("the gates by class are kept for seed 0 only")
        sample = spaced(kept, kept if channels is None else min(channels, kept))
        ax.set(title=name, axisbelow=True)
        ax.set_title(f"{len(sample)} of {len(block.mean)}", loc="right", size=8, color="0.35")
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        ax.set_xlabel("channel, of those drawn" if place >= (rows - 1) * columns else "")
        ax.grid(color="0.9")
        panels.append((ax, block, sample))
    for ax in axes.flat[len(names) :]:
        ax.axis("off")
    return figure, panels


def drawn_blocks(names: list[str]) -> list[str]:
    """Returns the blocks that get a panel: all, where there are few.

    Of more it takes, as the paper does, the last of each stage, and three of the last stage.
    """
    if len(names) > MOST_PANELS:
        *stages, last = (list(group) for _, group in groupby(names, stage_of))
        names = [stage[-1] for stage in stages] + last[-3:]
    return [names[i] for i in spaced(len(names), min(MOST_PANELS, len(names)))]


def _class_curves(gates: Gates, classes: Sequence[str]) -> list[tuple]:
    """Returns (name, number, colour, dashes) of each class.

    Raises ConfigError for an unknown name.
    """
    table = {name: number for number, name in enumerate(gates.class_names)}
    return [
        (name, checked(find_row, "class", name, table), *LINES[i % len(LINES)])
        for i, name in enumerate(classes)
    ]


def label(gates: Gates, name: str | None = None) -> str:
    """Names a class, or all classes, and says how many images there are."""
    images = gates.images.sum() if name is None else gates.images[gates.class_names.index(name)]
    return f"{name or 'all classes'} (n = {images:,})"


def _draw_curve(ax: Axes, y: np.ndarray, color, dashes: str, name: str, width: float = 1.1) -> None:
    marker = "." if len(y) <= 20 else None  # so few channels show as points
    ax.plot(range(len(y)), y, color=color, ls=dashes, lw=width, marker=marker, label=name)


def finished(figure: Figure, panels: list[Panel], text: str) -> Figure:
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, handlelength=3)
    figure.supylabel(text, size=9)
    return figure


def gate_limits(blocks: list[Block], low: float, high: float) -> tuple[float, float]:
    """Returns the limits of the axis: 0 and 1 for gates that lie and spread there, as sigmoids do.

    Else they are those of what is drawn, with 0 inside.

    No number between 0 and 1 of mean m has a variance above m (1 - m): a ReLU may. A softmax stays
    near 1/C, where 0 to 1 would show a flat line.
    """
    mean, std = (np.concatenate([getattr(b, name) for b in blocks]) for name in ("mean", "std"))
    inside = (mean >= 0) & (mean <= 1) & (std**2 <= mean * (1 - mean) + 1e-3)
    return (0, 1) if inside.all() and mean.max() > LOW else (min(0, low), max(0, high))


def chance_share(images: np.ndarray) -> float:
    """Returns the mean of `class_share` for gates that ignore the class; images (classes,)."""
    return (np.count_nonzero(images) - 1) / (images.sum() - 1)


def _quartiles(values: np.ndarray) -> np.ndarray:
    """Returns first quartile, median and third quartile, (3,); NaN where there are no values."""
    return np.quantile(values, [0.25, 0.5, 0.75]) if len(values) else np.full(3, np.nan)


def specificity(runs: Sequence[Gates]) -> Figure:
    """Draws by depth how well gates tell classes apart (claim 8), and which are saturated, if any.

    `runs` are one or more seeds of one network; the first is drawn in full.
    """
    has_saturated = any(sum(saturation(block)) for block in runs[0].blocks.values())
    figure = Figure(figsize=(7.2, 3.4))
    axes = figure.subplots(1, 1 + has_saturated, squeeze=False)[0]
    _draw_shares(runs, axes[0])
    if has_saturated:
        _draw_saturation(runs[0], axes[1])
    for ax, side in zip(axes, ("left", "right"), strict=False):
        _draw_depth(list(runs[0].blocks), ax)
        handles, labels = ax.get_legend_handles_labels()
        figure.legend(handles[::-1], labels[::-1], loc=f"outside lower {side}", fontsize=8)
    return figure


def _draw_shares(runs: Sequence[Gates], ax: Axes) -> None:
    low, median, high = np.array([_quartiles(b.class_share()) for b in runs[0].blocks.values()]).T
    x, images = np.arange(len(median)), runs[0].images
    for number, run in enumerate(runs[1:]):
        points = [_quartiles(block.class_share())[1] for block in run.blocks.values()]
        others = "" if number else f"median channel of other seeds ({len(runs) - 1})"
        ax.plot(x, points, "o", mfc="none", mec="0.35", ms=4, label=others)
    ax.axhline(chance_share(images), color="k", ls=":", lw=1.2, label="by chance alone")
    ax.errorbar(
        x, median, yerr=[median - low, high - median], fmt="D-", color=INK, ms=4, lw=1.2,
        capsize=2, label="median channel, with quartiles",
    )  # fmt: skip
    if np.isnan(median).all():
        ax.text(0.5, 0.5, "no gate varies", transform=ax.transAxes, ha="center", style="italic")
    ax.set_ylim(bottom=0)
    ax.set(title=f"between classes (n = {images.sum():,} images)", ylabel="share of the variance")


def _draw_saturation(gates: Gates, ax: Axes) -> None:
    low, high = np.array([saturation(block) for block in gates.blocks.values()]).T
    first, _, third = np.array([_quartiles(block.mean) for block in gates.blocks.values()]).T
    x = np.arange(len(low))
    ax.fill_between(x, first, third, color="0.8", label="mean gate, quartiles of channels")
    ax.plot(x, high, "^-", color=PALETTE[1], ms=4, label=f"channels with a mean above {HIGH}")
    ax.plot(x, low, "v--", color=PALETTE[0], ms=4, label=f"channels with a mean below {LOW}")
    ax.set_ylim(min(-0.03, 1.05 * first.min()), max(1.03, 1.05 * third.max()))
    ax.set(title="saturation", ylabel="share of channels; gate")


def _draw_depth(names: list[str], ax: Axes) -> None:
    """Writes the names of blocks along x, as many as fit, and draws lines between the stages."""
    step = ceil(len(names) / 18)
    ax.set_xticks(range(0, len(names), step), names[::step], rotation=90, fontsize=7)
    ax.set_xlim(-0.5, len(names) - 0.5)
    for place in range(1, len(names)):
        if stage_of(names[place]) != stage_of(names[place - 1]):
            ax.axvline(place - 0.5, color="0.7", lw=0.8)
    ax.grid(axis="y", color="0.9")
    ax.set_axisbelow(True)
