"""Makes the rows that say what SE is worth, with which the README and the page open."""

import math
from collections.abc import Sequence

import pandas as pd

from analysis.groups import FIRST, in_the_papers_order
from analysis.statistics.comparisons import difference_text, says_something
from analysis.statistics.lengths import longest, series
from analysis.study import Study
from experiments.study.grid import CONSTANT, PLAIN

ROWS = {  # the rows of the opening, and what they are
    PLAIN: "the plain network",
    "no SE begun at 1/2": "the plain network, its branches begun at 1/2",
    CONSTANT: "every gate fixed at 1/2",
    "static gate": "a gate learned for each channel, the same for every image",
    "squeeze of another image": "the gates that belong to another image",
    "SE": "Squeeze-and-Excitation",
}


def first_of(studies: Sequence[Study]) -> Study | None:
    """Picks the study that the answer begins with.

    It is the first of FIRST in which a declared comparison has a number, else the first that is
    begun.
    """
    found = [s for s in studies if s.asked.grid in FIRST and any(map(s.errors, s.rows))]
    telling = [study for study in found if says_something(study)]
    return min(telling or found, key=in_the_papers_order, default=None)


def rows_of(study: Study) -> dict[str, str]:
    """Maps each network to its row.

    Of a study across lengths of training that is the longest one that has results.
    """
    last, networks = longest(study), series(study)
    named = {name: row for name, rows in networks.items() for row in rows.values() if row in last}
    return named or {row: row for row in study.rows}


def in_markdown(studies: Sequence[Study]) -> str:
    """Writes the opening's rows as a table in Markdown; "" where no such study is begun."""
    table = opening(studies)
    if table.empty:
        return ""
    lines = [table.columns, ["---", "--:", "--:"], *table.values.tolist()]
    bars = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join(bars).replace("| --- | --: | --: |", "|---|--:|--:|")


def opening(studies: Sequence[Study]) -> pd.DataFrame:
    """Returns the opening's rows as text, one per network; none where no such study is begun.

    Of a study across lengths of training they are of the longest one that has results.
    """
    if (study := first_of(studies)) is None:
        return pd.DataFrame()
    named = rows_of(study)
    plain = named[PLAIN]
    how = "" if plain == PLAIN else f" ({plain.removeprefix(PLAIN).strip(' ,')})"
    columns = [f"network{how}", "test error (%)", "minus the plain network (points)"]
    rows = []
    for name, what in ROWS.items():
        if (row := named.get(name)) is None:
            continue
        mean, half = study.pool.mean(study.cells[row])
        error = f"{mean:.2f}" + ("" if math.isnan(half) else f" ± {half:.2f}")
        error = "–" if math.isnan(mean) else error
        against = study.pool.difference(study.cells[row], study.cells[plain])
        rows.append((what, error, "–" if row == plain else difference_text(against)))
    return pd.DataFrame(rows, columns=columns)
