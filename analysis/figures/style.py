"""How every figure looks, what stands in its title, and how it is written.

Figures are made without pyplot: whoever imports this keeps the backend of a notebook.
"""

from functools import partial
from pathlib import Path

import seaborn as sns
from matplotlib.figure import Figure

from analysis.load import CONSTANT, PLAIN, Study
from analysis.tables.study import title
from experiments.records.files import write_atomically

PALETTE = sns.color_palette("colorblind")
OURS, PAPER = PALETTE[0], PALETTE[1]
# Signs as well as colours: figures are printed in grey, too.
MARKS = list(zip(PALETTE, "os^DvP", strict=False))
CONTROLS = {PLAIN: ("0.15", "--"), CONSTANT: ("0.55", ":")}
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
    "text.parse_math": False,  # a label with a dollar sign stays what it is
}
# No dates, no versions: the same bytes on every rebuild.
METADATA = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Producer": None}}


def seeds_text(study: Study) -> str:
    counts = sorted({len(study.of(row)) for row in study.rows})
    return "n = " + (f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}")


def marks(study: Study) -> str:
    """What a figure must not be taken for."""
    asked = study.asked
    found = [f"recipe {asked.recipe}"]
    found += ["SYNTHETIC DATA"] if asked.dataset == "synthetic" else []
    found += ["a demonstration"] if asked.demonstration else []
    return ", ".join(found)


def where(study: Study) -> str:
    network = study.asked.network
    return f"{'' if network == 'all' else f'{network} on '}{study.asked.dataset}"


def entitled(figure: Figure, study: Study, text: str | None = None) -> Figure:
    """The figure with its title, the study's own unless there is another."""
    figure.suptitle(f"{text or title(study)} · {marks(study)}", fontsize=11)
    return figure


def write(figure: Figure, folder: Path, name: str) -> list[Path]:
    """A figure as PNG and PDF."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{suffix}" for suffix in METADATA]
    figure.get_layout_engine().execute(figure)
    figure.set_layout_engine("none")  # it is laid out once, not twice for each file
    for path, metadata in zip(paths, METADATA.values(), strict=True):
        save = partial(figure.savefig, format=path.suffix[1:], metadata=metadata)
        write_atomically(path, save)
    return paths
