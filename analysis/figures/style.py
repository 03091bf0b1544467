"""Sets how every figure looks and what its title says, and writes its files.

Figures are made without pyplot: whoever imports this keeps the backend of a notebook.
"""

from functools import partial
from pathlib import Path

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from analysis.figures import looks
from analysis.study import Study
from analysis.tables.study import title
from experiments.data.datasets import caveat
from experiments.records.files import write_atomically

# Of stages, channels and classes.
PALETTE = sns.color_palette([looks.COLORS[name][0] for name in looks.VARIED]).as_hex()
OURS, PAPER = looks.SE.color, looks.PAPER
# Signs as well as colours: figures are printed in grey, too.
MARKS = list(zip(PALETTE, "os^DvP", strict=False))
STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "legend.frameon": False,
    "pdf.compression": 0,  # the bytes do not depend on the system's zlib
    "pdf.fonttype": 42,  # text stays text
    "savefig.dpi": 160,
    "svg.fonttype": "none",  # text stays text here, too
    "svg.hashsalt": "the same ids on every rebuild",
    "text.parse_math": False,  # a label with a dollar sign stays what it is
}
# No dates, no versions: the same bytes on every rebuild.
METADATA = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
}


def seeds_text(study: Study) -> str:
    counts = sorted({len(study.of(row)) for row in study.rows})
    return "n = " + (f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}")


def marks(study: Study) -> str:
    """Says what limits a figure: its recipe, its data set, and that it is a demonstration."""
    asked = study.asked
    found = [f"recipe {asked.recipe}"]
    found += [caveat(asked.dataset).partition(":")[0]] if caveat(asked.dataset) else []
    found += ["a demonstration"] if asked.demonstration else []
    return ", ".join(found)


def where(study: Study) -> str:
    network = study.asked.network
    return f"{'' if network == 'all' else f'{network} on '}{study.asked.dataset}"


def entitled(figure: Figure, study: Study, text: str | None = None) -> Figure:
    """Returns the figure with a title: `text`, or else the study's own."""
    figure.suptitle(f"{text or title(study)} · {marks(study)}", fontsize=11, wrap=True)
    return figure


def write(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Writes a figure as PNG, PDF and SVG, and returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{suffix}" for suffix in METADATA]
    _lay_out(figure)
    for path, metadata in zip(paths, METADATA.values(), strict=True):
        save = partial(figure.savefig, format=path.suffix[1:], metadata=metadata)
        write_atomically(path, save)
    return paths


def _lay_out(figure: Figure) -> None:
    """Gives everything in a figure its place: once, not twice for each file.

    The last digits of what the layout's solver finds depend on addresses in memory. They go, as the
    ids in an SVG are made from them.
    """
    figure.get_layout_engine().execute(figure)
    figure.set_layout_engine("none")
    for part in figure.subfigs:
        part.bbox_relative.set_points(np.round(part.bbox_relative.get_points(), 6))
    for ax in figure.axes:
        points = ax.get_position(original=True).get_points()
        ax.set_position(Bbox(np.round(points, 6)))
