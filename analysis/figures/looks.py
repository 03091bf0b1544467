"""Sets which colour, dashes and mark each row has, the same in every figure.

Grey is for the controls, blue for SE as in the paper, orange for the paper's own numbers. Other
rows take what is left, in the order of the table. Nothing is told by colour alone. It does
not import matplotlib: the page takes its colours from here, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.study import Study
from experiments.study.grid import CONSTANT, PLAIN

INK, PAPER = "#333333", "#de8f05"  # of a measured difference, and of what the paper prints


@dataclass(frozen=True)
class Style:
    """Holds how a row is drawn.

    key     its name in the page's style sheet
    color   on white
    dashes  of a line: lengths of strokes and gaps in points; () for a whole line
    marker  as matplotlib calls it
    """

    key: str
    color: str
    dashes: tuple[float, ...]
    marker: str

    @property
    def line(self) -> str | tuple[float, tuple[float, ...]]:
        """Returns the dashes as matplotlib takes them."""
        return (0, self.dashes) if self.dashes else "-"


CONTROLS = {
    PLAIN: Style("plain", "#333333", (5, 2), "s"),
    CONSTANT: Style("half", "#8c8c8c", (1.5, 1.5), "P"),
}
SE = Style("se", "#0173b2", (), "D")
# Of seaborn's palette "colorblind" what is left, and two more.
COLORS = ("#029e73", "#d55e00", "#cc78bc", "#56b4e9", "#ca9161", "#6a3d9a", "#8a8a00")
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
    color, lap = number % len(COLORS), number // len(COLORS)
    dashes = DASHES[lap % len(DASHES)]
    return Style(f"v{color}", COLORS[color], dashes, MARKERS[(number + lap) % len(MARKERS)])


def series_looks(names: Sequence[str]) -> dict[str, Style]:
    """Maps each network that has a row at several lengths of training to its look."""
    fixed = CONTROLS | {"SE": SE}
    others = [name for name in names if name not in fixed]
    return {name: fixed.get(name) or nth(others.index(name)) for name in names}
