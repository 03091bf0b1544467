"""Sets which colour, dashes and mark each row has, the same in every figure.

Grey is for the controls, blue for SE as in the paper, orange for the paper's own numbers. Other
rows take what is left, in the order of the table. Nothing is told by colour alone. It does
not import matplotlib: the page takes its colours from here, too.

The colours were searched for by computer: on white and on dark grounds each two of them stay apart,
also for readers without red or green cones (tests/analysis/figures/test_looks.py says how far).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.study import Study
from experiments.study.grid import CONSTANT, PLAIN

# Name in the page's style sheet -> colour on white, and on a dark ground.
COLORS = {
    "plain": ("#333333", "#d5d9dc"), "half": ("#8c8c8c", "#8b949a"), "se": ("#0173b2", "#58b4ec"),
    "paper": ("#c07a00", "#f0b04a"), "v0": ("#077c4e", "#94c493"), "v1": ("#b5132c", "#9e5c4e"),
    "v2": ("#690271", "#974abb"), "v3": ("#9e9554", "#e6f29d"), "v4": ("#344200", "#6a7303"),
    "v5": ("#5862e2", "#6894ff"), "v6": ("#854f78", "#8a5e96"),
}  # fmt: skip
INK, PAPER = COLORS["plain"][0], COLORS["paper"][0]  # of a difference; of what the paper prints
VARIED = [name for name in COLORS if name.startswith("v")]  # these mean nothing by themselves


@dataclass(frozen=True)
class Style:
    """Holds how a row is drawn.

    key     of its colour in COLORS
    dashes  of a line: lengths of strokes and gaps in points; () for a whole line
    marker  as matplotlib calls it
    """

    key: str
    dashes: tuple[float, ...]
    marker: str

    @property
    def color(self) -> str:
        """Returns its colour on white."""
        return COLORS[self.key][0]

    @property
    def line(self) -> str | tuple[float, tuple[float, ...]]:
        """Returns the dashes as matplotlib takes them."""
        return (0, self.dashes) if self.dashes else "-"


CONTROLS = {
    PLAIN: Style("plain", (5, 2), "s"),
    CONSTANT: Style("half", (1.5, 1.5), "P"),
}
SE = Style("se", (), "D")
MARKERS = "o^v<>"
DASHES = ((), (6, 1.5, 1.5, 1.5), (9, 2), (3, 1), (1, 1), (6, 1, 1, 1, 1, 1))


def looks(study: Study) -> dict[str, Style]:
    """Maps each row to its look: rows differ in colour while colours last, then in dashes too."""
    reference = study.reference if study.reference != PLAIN else None
    fixed = CONTROLS | ({reference: SE} if reference else {})
    others = [row for row in study.rows if row not in fixed]
    return {row: fixed.get(row) or nth(others.index(row)) for row in study.rows}


def nth(number: int) -> Style:
    """Returns the look of a row by its number, counted among rows without a fixed look."""
    lap, color = divmod(number, len(VARIED))
    dashes = DASHES[lap % len(DASHES)]
    return Style(VARIED[color], dashes, MARKERS[(number + lap) % len(MARKERS)])


def series_looks(names: Sequence[str]) -> dict[str, Style]:
    """Maps each network that has a row at several lengths of training to its look."""
    fixed = CONTROLS | {"SE": SE}
    others = [name for name in names if name not in fixed]
    return {name: fixed.get(name) or nth(others.index(name)) for name in names}
