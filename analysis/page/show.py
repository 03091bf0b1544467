"""Writes tables and figures, prints the tables and renews the report, as `run` does at its end."""

import sys
from collections.abc import Sequence
from pathlib import Path

from analysis import write
from analysis.page import report
from analysis.read import divide_studies
from analysis.study import Study


def show(results: Path, names: Sequence[str] = ()) -> bool:
    """Writes tables and figures, prints the tables, and writes the report of all studies.

    The names are of studies or of grids; no name means all. Returns whether every record could be
    trusted; those that could not were left out, and are named.
    """
    found, others = divide_studies(results, names, lost := [])
    known = {}
    write.tables(found, results, known)
    drawn = write.figures(found, results, others)
    print(*write.texts(found, known), sep="\n", flush=True)  # whatever may become of the page
    figures = [*drawn, *report.figures_there(others, results)]
    path = report.write([*found, *others], results, figures, known)
    print(f"wrote {write.summary(found, results)}, and {path}", flush=True)
    return not name_damaged(found, lost)


def name_damaged(studies: Sequence[Study], lost: Sequence[str]) -> list[str]:
    """Prints which records cannot be trusted and were left out, and returns why.

    `lost` has a sentence on each study whose file cannot be read.
    """
    reasons = dict.fromkeys([*lost, *(reason for study in studies for reason in study.damaged)])
    for reason in reasons:
        print(f"damaged, left out: {reason}", file=sys.stderr)
    return list(reasons)
