"""Whose gates are drawn: those of every row with SE that others are compared with.

No matplotlib here, nor in what imports this: a second call of a finished study draws nothing.
"""

from collections.abc import Sequence

from analysis.load import Study, in_the_papers_order
from analysis.statistics.interventions import intervention_frame
from analysis.statistics.lengths import longest


def subjects(studies: Sequence[Study]) -> dict[str, tuple[Study, str]]:
    """Cell -> (a study, its row), of the rows that look at their input and are references."""
    found: dict[str, tuple[Study, str]] = {}
    for study in sorted(studies, key=in_the_papers_order):
        cells = {row.label: row.cell for row in study.asked.rows}
        last = longest(study)
        for row in dict.fromkeys(study.references.values()):
            if row in last and cells[row] not in found and len(intervention_frame(study.of(row))):
                found[cells[row]] = study, row
    return found
