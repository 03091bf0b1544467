"""Simulates what `--decide` gets wrong and what it costs: its own rule, on drawn numbers."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.statistics.comparisons import word
from analysis.statistics.contrasts import Comparison
from analysis.statistics.pool import Pool
from analysis.statistics.seeds import Plan, seeds_for_difference
from analysis.statistics.stopping import OPEN, seeds_needed
from benchmarks.simulated import CELLS, CONTROL, KINDS, MARGIN, ROWS, SHIFTS, SPREAD, Draw, cells
from experiments.study.study import FEWEST

MOST = 30
EQUAL = KINDS["equal spreads"]
FAMILIES = {  # what is compared, and the margin of likeness
    "one comparison that is never alike": (CONTROL[:1], 0.0),
    "the three of `control`": (CONTROL, MARGIN),
}
Allocate = Callable[[Iterable[Comparison], Mapping[str, int], int], dict[str, int]]


@dataclass(frozen=True)
class End:
    """Holds how a simulated study ended.

    ever   the comparisons that were called better or worse at some look
    words  comparison -> its last word
    seeds  row -> its seeds
    """

    ever: frozenset[str]
    words: Mapping[str, str]
    seeds: Mapping[str, int]


def simulate(
    random: np.random.Generator,
    comparisons: Sequence[Comparison],
    draw: Draw,
    margin: float = MARGIN,
    shift: float = 0.0,
    allocate: Allocate = seeds_needed,
) -> End:
    """Runs `--decide` on drawn numbers.

    Args:
        margin: of likeness; with 0 nothing is called alike.
        shift: how many points all other rows lie below the reference.
        allocate: says how many seeds a row gets next, as `seeds_needed` does.
    """
    draws = draw(random, MOST)
    counts, ever = dict.fromkeys(ROWS, FEWEST), set()
    while True:
        some = [*counts.values(), *[FEWEST] * (len(draws) - len(ROWS))]
        pool = Pool(found := cells(draws, some, shift), frozenset(found))
        words = {one.name: word(pool, one.weights(), margin) for one in comparisons}
        ever |= {name for name, found in words.items() if found.startswith(("better", "worse"))}
        needed = allocate([c for c in comparisons if words[c.name] in OPEN], counts, MOST)
        if not needed:
            return End(frozenset(ever), words, counts)
        counts |= needed


def one_more(
    undecided: Iterable[Comparison], counts: Mapping[str, int], most: int
) -> dict[str, int]:
    """Returns the plain allocation, to compare with: one seed more for each row of a comparison."""
    needed: dict[str, int] = {}
    for one in undecided:
        seeds = min(min(counts[row] for row in one.labels) + 1, most)
        needed |= {row: max(needed.get(row, 0), seeds) for row in one.labels}
    return {row: seeds for row, seeds in needed.items() if seeds > counts[row]}


def many(seed: int, studies: int, *which) -> list[End]:
    """Simulates so many studies, from a random seed."""
    random = np.random.default_rng(seed)
    return [simulate(random, *which) for _ in range(studies)]


def share(ends: Sequence[End], names: Sequence[str]) -> float:
    """Returns the share of comparisons of these names called better or worse at some look."""
    return float(np.mean([name in end.ever for end in ends for name in names]))


def error_rows(studies: int) -> list[list[str]]:
    """Counts false verdicts where nothing differs: a row a kind of spreads, a column a family."""
    return [
        [
            kind,
            *(
                f"{100 * share(many(seed, studies, family, draw, margin), names(family)):.1f} %"
                for family, margin in FAMILIES.values()
            ),
        ]
        for seed, (kind, draw) in enumerate(KINDS.items())
    ]


def names(comparisons: Sequence[Comparison]) -> list[str]:
    return [one.name for one in comparisons]


def cost_rows(studies: int) -> list[list[str]]:
    """Counts seeds that one comparison takes where rows differ, beside a fixed number."""
    return [[f"{shift:g}", *cost(shift, studies)] for shift in SHIFTS]


def cost(shift: float, studies: int) -> list[str]:
    """Returns [found, not decided, mean seeds a row, seeds at the 90th percentile, fixed n]."""
    comparison = CONTROL[0]
    ends = many(1, studies, (comparison,), EQUAL, MARGIN, shift)
    found = np.mean([end.words[comparison.name].startswith("better") for end in ends])
    undecided = np.mean([end.words[comparison.name] in OPEN for end in ends])
    seeds = np.array([end.seeds["SE"] for end in ends])
    fixed = seeds_for_difference(shift, Plan(SPREAD, CELLS), min(float(found), 1 - 1 / studies))
    return [f"{100 * found:.1f} %", f"{100 * undecided:.1f} %", f"{seeds.mean():.1f}",
            f"{np.quantile(seeds, 0.9):.0f}", f"{fixed}"]  # fmt: skip


def allocation_rows(studies: int) -> list[list[str]]:
    """Counts for both allocations the runs of a study, and the decided comparisons of `control`."""
    rows = []
    for shift in (0.0, *reversed(SHIFTS)):
        line = [f"{shift:g}"]
        for allocate in (seeds_needed, one_more):
            ends = many(2, studies, CONTROL, EQUAL, MARGIN, shift, allocate)
            runs = np.mean([sum(end.seeds.values()) for end in ends])
            decided = np.mean([word not in OPEN for end in ends for word in end.words.values()])
            line += [f"{runs:.1f}", f"{100 * decided:.1f} %"]
        rows.append(line)
    return rows
