"""A study across lengths of training: which rows are one network, and what a doubling changes."""

import math

import pandas as pd

from analysis.load import Study
from analysis.statistics.comparisons import conclude, declared_in, is_judged, shown
from analysis.statistics.contrasts import Declared
from analysis.statistics.stats import Difference

UNITS = {"images": "images seen", "epochs": "epochs", "iterations": "iterations"}


def unit(study: Study) -> str:
    """Names the level that gives the length of each row's training; "" where all are as long."""
    for name in UNITS:
        found = {levels.get(name) for levels in study.levels.values()}
        if len(found) > 1 and None not in found:
            return name
    return ""


def series(study: Study) -> dict[str, dict[int, str]]:
    """Finds the rows of each network: network -> length -> row; {} where lengths do not vary.

    Rows are one network where their labels are alike up to the length.
    """
    found: dict[str, dict[int, str]] = {}
    if name := unit(study):
        for row, levels in study.levels.items():
            network = row.partition(levels[name])[0].rstrip(" ,(") or row
            found.setdefault(network, {})[int(levels[name].replace(",", ""))] = row
    return found


def longest(study: Study) -> list[str]:
    """Finds the rows of the longest trainings with a result; all where lengths do not vary."""
    networks = series(study).values()
    done = {length for rows in networks for length, row in rows.items() if study.errors(row)}
    if not done:
        return study.rows
    return [rows[max(done)] for rows in networks if max(done) in rows]


def slopes(study: Study) -> list[Declared]:
    """Finds the comparisons over lengths that are declared for a study, the widest first."""
    found = [one for one, _ in declared_in(study) if one.over and one.grid == study.asked.grid]
    return sorted(found, key=lambda one: -len(one.over))


def by_length(study: Study, one: Declared) -> dict[int, Difference]:
    """Returns, by length, the difference whose slope is declared."""
    return {
        length: study.pool.contrast(
            {study.cells[row]: weight for row, weight in one.weights_at(length).items()}
        )
        for length in one.over
    }


def numbers(study: Study) -> pd.DataFrame:
    """Returns the declared difference at each length, and its slopes; empty for none."""
    rows = []
    for number, one in enumerate(slopes(study)):
        if not number:
            for length, found in by_length(study, one).items():
                rows.append(
                    {"what": "difference", "shortest": length, "longest": length, "word": ""}
                    | vars(found)
                )
        weights = one.of_cells(study.cells)
        found = study.pool.contrast(weights)
        known = is_judged(study) and not math.isnan(found.estimate)
        word = conclude(study, weights, one.steps) if known else ""
        ends = {"shortest": one.over[0], "longest": one.over[-1]}
        rows.append({"what": "slope", **ends, "word": word} | vars(found))
    return pd.DataFrame(rows)


def cells(study: Study) -> pd.DataFrame:
    """Returns what `numbers` does as text."""
    one = slopes(study)[0]
    lines = []
    for row in numbers(study).itertuples():
        found = Difference(row.estimate, row.low, row.high)
        where = (
            f"{row.longest:,}"
            if row.what == "difference"
            else f"a doubling, {row.shortest:,} to {row.longest:,}"
        )
        lines.append((where, f"{shown(found)} {row.word}".rstrip()))
    return pd.DataFrame(lines, columns=[UNITS[unit(study)], f"{one.who} minus {one.than} (points)"])


NOTES = [
    "A row of a single length is the difference there; a doubling is the slope over these lengths, "
    "by least squares. The verdict belongs to the slope, which was declared."
]
