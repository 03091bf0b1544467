"""Tells whose gates are drawn: those of every row with SE that others are compared with.

Neither this nor what imports it imports matplotlib: a second call of a finished study draws
nothing.
"""

from collections.abc import Sequence

from analysis.groups import in_the_papers_order
from analysis.statistics.interventions import intervention_frame
from analysis.statistics.lengths import longest
from analysis.study import Study


def subjects(studies: Sequence[Study]) -> dict[str, tuple[Study, str]]:
    """Maps cell to (study, row) for references whose gates look at their input."""
    found: dict[str, tuple[Study, str]] = {}
    for study in sorted(studies, key=in_the_papers_order):
        cells = {row.label: row.cell for row in study.asked.rows}
        last = longest(study)
        for row in dict.fromkeys(study.references.values()):
            if row in last and cells[row] not in found and len(intervention_frame(study.of(row))):
                found[cells[row]] = study, row
    return found
