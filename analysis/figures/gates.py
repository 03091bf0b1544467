"""Draws the figures of one network's gates (see `subjects`)."""

from collections.abc import Iterator
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.activations import figure6, figure7, specificity
from analysis.figures.kinds import TITLES
from analysis.figures.replacements import interventions
from analysis.figures.style import STYLE, marks, where, write
from analysis.figures.walk import walk
from analysis.statistics.interventions import intervention_frame
from analysis.study import Study
from experiments.records.gates import Gates


def save(cell: str, study: Study, row: str, folder: Path) -> list[Path]:
    """Writes the figures of one network's gates in each format, the same bytes on every rebuild."""
    found = study.gates(row), intervention_frame(study.of(row)), study.gate(row)
    with matplotlib.rc_context(STYLE):
        return [
            path
            for name, which, figure in draw(*found)
            for path in write(_entitle(figure, name, study, row, which), folder, f"{cell}-{name}")
        ]


def draw(
    runs: dict[int, Gates], frame: pd.DataFrame, gate: str | None = None
) -> Iterator[tuple[str, str, Figure]]:
    """Yields (kind, of which runs, figure); figures by class are of the first seed with such gates.

    `runs` maps a seed to what its gates did. `frame` is that of `intervention_frame`; where it is
    empty, no gate was replaced.
    """
    by_class = {seed: gates for seed, gates in runs.items() if _has_classes(gates)}
    for seed, gates in list(by_class.items())[:1]:
        yield "figure6", f"seed {seed}", figure6(gates, gate=gate)
        yield "figure7", f"seed {seed}", figure7(gates, gate=gate)
    if runs:
        yield "specificity", f"n = {len(runs)}", specificity(list(runs.values()))
    walks = {seed: gates for seed, gates in runs.items() if gates.walk is not None}
    for seed, gates in list(walks.items())[:1]:
        yield "walk", f"seed {seed}", walk(gates)
    if len(frame):
        images = " or ".join(f"{n:,}" for n in sorted(frame.n_images.unique()))
        which = f"n = {frame.seed.nunique()}, {images} images"
        yield "interventions", which, interventions(frame)


def _has_classes(gates: Gates) -> bool:
    return all(len(block.channels) for block in gates.blocks.values())


def _entitle(figure: Figure, name: str, study: Study, row: str, which: str) -> Figure:
    """Writes the title of a figure of gates: what it shows, of which network, and its limits."""
    text = f"{TITLES[name]} · {row}, {where(study)}, {which} · {marks(study)}"
    figure.suptitle(text, fontsize=9.5, wrap=True)
    return figure
