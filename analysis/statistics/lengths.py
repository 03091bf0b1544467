"""Compares lengths of training: which rows are one network, and what a doubling changes."""

import math
import re

import pandas as pd

from analysis.statistics.comparisons import declared_in, difference_text, is_judged, verdict_on
from analysis.statistics.contrasts import Declared
from analysis.statistics.stats import Difference
from analysis.study import Study

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

    Rows are one network where all that is varied is alike but the length. It is called by what
    stands before the length in their labels, which is for reading alone.
    """
    if not (name := unit(study)):
        return {}
    found: dict[tuple, dict[int, str]] = {}
    for row, levels in study.levels.items():
        network = tuple((key, value) for key, value in levels.items() if key != name)
        found.setdefault(network, {})[int(levels[name].replace(",", ""))] = row
    firsts = [next(iter(rows.values())) for rows in found.values()]
    names = [_before(row, study.levels[row][name]) for row in firsts]
    if len(set(names)) < len(names):
        names = firsts
    return dict(zip(names, found.values(), strict=True))


def _before(row: str, length: str) -> str:
    """Returns what stands before a length in a label; the label where that is nothing."""
    found = re.search(rf"(?<![\w,.]){re.escape(length)}(?![\w,.]*\d)", row)
    return (row[: found.start()].rstrip(" ,(") if found else "") or row


def longest(study: Study) -> list[str]:
    """Finds the rows of the longest trainings with a result; all where lengths do not vary.

    They are of the longest at which every network has one, where there is such a length.
    """
    networks = series(study).values()
    done = [{length for length, row in rows.items() if study.errors(row)} for rows in networks]
    lengths = set.intersection(*done) or set.union(*done) if done else set()
    if not lengths:
        return study.rows
    return [rows[max(lengths)] for rows in networks if max(lengths) in rows]


def slopes(study: Study) -> list[Declared]:
    """Finds the comparisons over lengths that are declared for a study, the widest first."""
    if not unit(study):
        return []
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
        word = verdict_on(study, weights, one.steps) if known else ""
        ends = {"shortest": one.over[0], "longest": one.over[-1]}
        rows.append({"what": "slope", **ends, "word": word} | vars(found))
    return pd.DataFrame(rows)


def as_text(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    """Returns the numbers as text."""
    one = slopes(study)[0]
    lines = []
    for row in table.to_dict("records"):
        found = Difference(row["estimate"], row["low"], row["high"])
        shortest, longest = f"{row['shortest']:,}", f"{row['longest']:,}"
        is_slope = row["what"] == "slope"
        where = f"a doubling, {shortest} to {longest}" if is_slope else longest
        lines.append((where, f"{difference_text(found)} {row['word']}".rstrip()))
    return pd.DataFrame(lines, columns=[UNITS[unit(study)], f"{one.who} minus {one.than} (points)"])


def notes(study: Study, table: pd.DataFrame) -> list[str]:
    return [
        "A row of a single length is the difference there; a doubling is the slope over these "
        "lengths, by least squares. The verdict belongs to the slope, which was declared."
    ]
