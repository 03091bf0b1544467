"""Groups the studies of one data set, network and recipe, orders them, and pools their cells."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from analysis.study import OUTCOMES, Study, pool_of, values_of
from experiments.records.study_file import Group

FIRST = ("budget", "control")  # the grids that the answer begins with


def by_group(studies: Iterable[Study]) -> dict[Group, list[Study]]:
    """Returns (data set, network, recipe) -> its studies, without those with changed settings."""
    groups: dict[Group, list[Study]] = {}
    for study in sorted(studies, key=in_the_papers_order):
        if not study.asked.settings:
            groups.setdefault(study.asked.group, []).append(study)
    return dict(sorted(groups.items()))


def in_the_papers_order(study: Study) -> tuple[float, str]:
    """Returns a key for sorting: what SE is judged against, then by table number, then the rest."""
    grid = study.asked.grid
    first = FIRST.index(grid) - len(FIRST) if grid in FIRST else math.inf
    return float(study.asked.table or first), study.name


def with_pools(studies: Sequence[Study]) -> list[Study]:
    """Returns the studies, each with the pool of its data set, network, recipe and settings."""
    members: dict[str, list[Study]] = {}
    for study in studies:
        members.setdefault(group_key(study), []).append(study)
    pools = {
        key: {outcome: pool_of(some, values_of(outcome)) for outcome in OUTCOMES}
        for key, some in members.items()
    }
    return [replace(study, shared=pools[group_key(study)]) for study in studies]


def group_key(study: Study) -> str:
    return json.dumps([*study.asked.group, study.asked.settings], sort_keys=True)
