"""The figures of one network's gates: of every row with SE that others are compared with."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from analysis.activations import figure6, figure7, specificity
from analysis.interventions import intervention_frame, interventions
from analysis.records import Study, in_the_papers_order
from analysis.style import STYLE, marks, where, write
from analysis.walk import walk
from experiments.gates import Gates

TITLES = {
    "figure6": "Mean gate of each channel (Figure 6)",
    "figure7": "Gates within a class (Figure 7)",
    "specificity": "What the gates say, by depth",
    "walk": "One image through one block",
    "interventions": "Error with other gates",
}


def subjects(studies: Sequence[Study]) -> dict[str, tuple[Study, str]]:
    """Cell -> (a study, its row), of the rows that look at their input and are references."""
    found: dict[str, tuple[Study, str]] = {}
    for study in sorted(studies, key=in_the_papers_order):
        cells = {row["label"]: row["cell"] for row in study.asked["rows"]}
        for row in dict.fromkeys(study.references.values()):
            if cells[row] not in found and len(intervention_frame(study.of(row))):
                found[cells[row]] = study, row
    return found


def save(cell: str, study: Study, row: str, folder: Path) -> list[Path]:
    """The figures of one subject as PNG and PDF, the same bytes on every rebuild."""
    found = study.gates(row), intervention_frame(study.of(row))
    with matplotlib.rc_context(STYLE):
        return [
            path
            for name, which, figure in draw(*found)
            for path in write(entitle(figure, name, study, row, which), folder, f"{cell}-{name}")
        ]


def draw(runs: dict[int, Gates], frame: pd.DataFrame) -> Iterator[tuple[str, str, Figure]]:
    """(kind, of which runs, figure). Those by class are of the first seed that has such gates.

    Args:
        runs: seed -> what its gates did.
        frame: as from `intervention_frame`; where it is empty, no gate was replaced.
    """
    by_class = {seed: gates for seed, gates in runs.items() if has_classes(gates)}
    for seed, gates in list(by_class.items())[:1]:
        yield "figure6", f"seed {seed}", figure6(gates)
        yield "figure7", f"seed {seed}", figure7(gates)
    if runs:
        yield "specificity", f"n = {len(runs)}", specificity(list(runs.values()))
    walks = {seed: gates for seed, gates in runs.items() if gates.walk is not None}
    for seed, gates in list(walks.items())[:1]:
        yield "walk", f"seed {seed}", walk(gates)
    if len(frame):
        images = " or ".join(f"{n:,}" for n in sorted(frame.n_images.unique()))
        which = f"n = {frame.seed.nunique()}, {images} images"
        yield "interventions", which, interventions(frame)


def has_classes(gates: Gates) -> bool:
    return all(len(block.channels) for block in gates.blocks.values())


def entitle(figure: Figure, name: str, study: Study, row: str, which: str) -> Figure:
    """The title of a figure of the gates: what, of which network, and what it must not prove."""
    text = f"{TITLES[name]} · {row}, {where(study)}, {which} · {marks(study)}"
    figure.suptitle(text, fontsize=9.5)
    return figure
