"""Draws how one image passes through one block, in numbers that were computed."""

from math import ceil

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from analysis.figures.activations import gate_limits
from analysis.figures.style import MARKS
from experiments.records.gates import Gates
from experiments.records.parsing import ConfigError


def walk(gates: Gates) -> Figure:
    """Draws how one image passes through one block, with the gates it got (the paper's Figure 1).

    Left to right: the image (H, W, 3); some channels of U (C, h, w), which goes in; z (C,); s (C,),
    sorted; the same channels of U times their gates. Signs and colours mark these channels.
    """
    seen = gates.walk
    if seen is None:
        raise ConfigError("no image was followed through a block: no gate looks at its input")
    (height, width, _), (n, *size) = seen.image.shape, seen.x.shape
    figure = Figure(figsize=(7.2, 3.8))
    parts = figure.subfigures(1, 5, width_ratios=[1, 1.3, 1.3, 1.3, 1.3])
    steps = [
        ("image", f'"{gates.class_names[seen.label]}"', f"3 × {height} × {width}"),
        (f"→ {seen.block}", f"{n} of its input maps", f"U: {len(seen.s)} × {size[0]} × {size[1]}"),
        ("→ squeeze", "one number a map", "z = F_sq(U)"),
        ("→ excite", "one gate a map", "s = F_ex(z)"),
        ("→ scale", "each map × its gate", "s · u"),
    ]
    for part, lines in zip(parts, steps, strict=True):
        part.suptitle("\n".join(lines), fontsize=9)
    ax = parts[0].subplots()
    ax.imshow(seen.image)
    ax.axis("off")
    limit = float(np.quantile(np.abs(seen.x), 0.99)) or 1.0
    limits = (-limit if seen.x.min() < 0 else 0, limit)
    _draw_maps(parts[1], seen.x, [f"u{c}" for c in seen.channels], limits)
    _draw_marked(parts[2].subplots(), seen.z, seen.channels, "channel")
    order = np.argsort(-seen.s, kind="stable")
    ax, ranks = parts[3].subplots(), np.argsort(order)[seen.channels]
    _draw_marked(ax, seen.s[order], ranks, "channel, by its gate")
    ax.set_ylim(gate_limits([gates.blocks[seen.block]], *ax.get_ylim()))
    gate = seen.s[seen.channels]
    _draw_maps(parts[4], gate[:, None, None] * seen.x, [f"× {g:.2f}" for g in gate], limits)
    return figure


def _draw_maps(part: SubFigure, maps: np.ndarray, texts: list[str], limits: tuple) -> None:
    """Draws maps (n, h, w) under their texts, in two columns, and the scale of their greys."""
    axes = part.subplots(ceil(len(maps) / 2), 2, squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for ax, image, text, (color, sign) in zip(axes.flat, maps, texts, MARKS, strict=False):
        shown = ax.imshow(image, cmap="gray", vmin=limits[0], vmax=limits[1])
        ax.set_title(text, size=8, loc="center")
        ax.plot(0, 1, sign, color=color, mec="w", ms=7, transform=ax.transAxes, clip_on=False)
    bar = part.colorbar(shown, ax=axes, orientation="horizontal", fraction=0.05, extend="both")
    bar.ax.tick_params(labelsize=7)


def _draw_marked(ax: Axes, values: np.ndarray, places: np.ndarray, name: str) -> None:
    """Draws all values (C,) as bars, with signs at some places."""
    ax.stairs(values, np.arange(len(values) + 1) - 0.5, fill=True, color="0.75")
    for place, (color, sign) in zip(places, MARKS, strict=False):
        ax.plot(place, values[place], sign, color=color, mec="w", ms=7, clip_on=False)
    ax.set_xlabel(name, size=8)
    ax.tick_params(labelsize=7)
