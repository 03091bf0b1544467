"""The figures of one network's gates: of every row with SE that others are compared with."""

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from analysis.activations import figure6, figure7, specificity
from analysis.interventions import intervention_frame, interventions
from analysis.records import Study, in_the_papers_order
from analysis.style import STYLE, marks, where, write
from analysis.walk import walk
from experiments.gates import Gates

# What needs the gates by class, which some seeds do not have, and the walk is drawn of seed 0.
FIGURES: dict[str, Callable[[Sequence[Gates]], Figure]] = {
    "figure6": lambda runs: figure6(runs[0]),
    "figure7": lambda runs: figure7(runs[0]),
    "specificity": specificity,
    "walk": lambda runs: walk(runs[0]),
}
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
            looks = study.of(row).interventions
            if any(isinstance(run, dict) and run for run in looks):
                found.setdefault(cells[row], (study, row))
    return found


def save(cell: str, study: Study, row: str, folder: Path) -> list[Path]:
    """The figures of one subject as PNG and PDF, the same bytes on every rebuild."""
    runs, frame = study.gates(row), intervention_frame(study.of(row))
    seeds, paths = list(study.of(row).seed), []
    with matplotlib.rc_context(STYLE):
        for name, draw in FIGURES.items():
            if name == "walk" and runs[0].walk is None:
                continue
            which = f"n = {len(runs)}" if name == "specificity" else f"seed {seeds[0]}"
            figure = draw(runs)
            entitle(figure, name, study, row, which)
            paths += write(figure, folder, f"{cell}-{name}")
        figure = interventions(frame)
        images = " or ".join(f"{n:,}" for n in sorted(frame.n_images.unique()))
        entitle(figure, "interventions", study, row, f"n = {len(runs)}, {images} images")
        paths += write(figure, folder, f"{cell}-interventions")
    return paths


def entitle(figure: Figure, name: str, study: Study, row: str, which: str) -> None:
    """The title of a figure of the gates: what, of which network, and what it must not prove."""
    text = f"{TITLES[name]} · {row}, {where(study)}, {which} · {marks(study)}"
    figure.suptitle(text, fontsize=9.5)
