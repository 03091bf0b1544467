"""Writes docs/STATISTICS.md: what the verdicts get wrong and cost, in simulated studies.

python -m benchmarks.verdicts [STUDIES]
"""

import math
import sys
from pathlib import Path

from tabulate import tabulate

from analysis.statistics.stats import LEVEL
from benchmarks import fixed, stopping
from benchmarks.simulated import CELLS, MARGIN, SPREAD

PAGE = Path(__file__).parents[1] / "docs" / "STATISTICS.md"
TEXT = Path(__file__).with_name("verdicts.md")
STUDIES = 1000


def page(studies: int) -> str:
    costs = ["points", "found", "not decided", "mean seeds a row", "in nine of ten at most",
             "fixed seeds a row, equal power"]  # fmt: skip
    priors = ["spreads", *(f"d0 = {prior:g}" for prior in fixed.PRIORS)]
    both = ["points", "runs: square root", "decided", "runs: one more each", "decided"]
    return TEXT.read_text(encoding="utf-8").format(
        fixed=table(fixed.error_rows(studies), fixed.HEAD),
        priors=table(fixed.prior_rows(studies), priors),
        watched=table(stopping.error_rows(studies), ["spreads", *stopping.FAMILIES]),
        costs=table(stopping.cost_rows(studies), costs),
        allocations=table(stopping.allocation_rows(studies), both),
        studies=studies,
        cells=CELLS,
        most=stopping.MOST,
        spread=SPREAD,
        margin=MARGIN,
        sampling=100 * sampling(studies),
    )


def table(rows: list[list[str]], head) -> str:
    sides = ["left", *["right"] * (len(head) - 1)]
    return tabulate(rows, list(head), "pipe", disable_numparse=True, colalign=sides)


def sampling(studies: int) -> float:
    """Returns how far a simulated share of 5 % may lie from the true one (95 %)."""
    return 1.96 * math.sqrt(LEVEL * (1 - LEVEL) / studies)


def main(studies: int = STUDIES) -> None:
    PAGE.write_text(page(studies), encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
