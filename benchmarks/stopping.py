"""What `--decide` gets wrong and what it costs, in simulated studies: writes docs/STOPPING.md.

    python -m benchmarks.stopping [STUDIES]

The rule itself is simulated, on numbers in the place of runs: 27 cells with three seeds each, as in
the records of the `short` recipe, of which the five rows of `control` are compared.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tabulate import tabulate

from analysis.comparisons import MARGINS, word
from analysis.contrasts import Comparison, read_contrasts
from analysis.pool import Pool
from analysis.stats import seeds_for_difference
from analysis.stopping import OPEN, seeds_needed
from experiments.study import FEWEST

PAGE = Path(__file__).parents[1] / "docs" / "STOPPING.md"
STUDIES = 1000
MOST = 30
SPREAD = 0.55  # points of test error, between seeds: of the records in results/published
MARGIN = MARGINS["cifar10"]
REFERENCE = "no SE"
SHIFTS = (1.3, 0.5)
ROWS = (REFERENCE, "SE", "gate fixed at 1/2", "static gate", "squeeze of another image")
OTHERS = 22  # cells that only the pool sees
CONTROL = tuple(one for one in read_contrasts().comparisons if one.grid == "control")
FAMILIES = {  # what is compared, and the margin of likeness
    "one comparison": (CONTROL[:1], MARGIN),
    "one, which is never alike": (CONTROL[:1], 0.0),
    "the three of `control`": (CONTROL, MARGIN),
}
SPREADS = {
    "equal spreads": np.ones(len(ROWS) + OTHERS),
    "spreads from 0.4 to 2": np.array([1.0, 0.4, 0.7, 1.4, 2.0, *np.geomspace(0.4, 2.0, OTHERS)]),
    "a reference that spreads 1.4 times as much": np.array([1.4, *np.ones(len(ROWS) - 1 + OTHERS)]),
}


@dataclass(frozen=True)
class End:
    """How a simulated study ended.

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
    spreads: np.ndarray,
    margin: float = MARGIN,
    shift: float = 0.0,
) -> End:
    """Runs `--decide` on normal numbers.

    Args:
        spreads: (27,) standard deviations in units of SPREAD: those of ROWS, then of the others.
        margin: of likeness; with 0 nothing is called alike.
        shift: how many points all other rows lie below the reference.
    """
    draws = random.normal(0, SPREAD * spreads[:, None], (len(spreads), MOST))
    draws[1:] -= shift
    names = [*ROWS, *map(str, range(OTHERS))]
    counts, ever = dict.fromkeys(ROWS, FEWEST), set()
    while True:
        cells = {
            name: draw[: counts.get(name, FEWEST)] for name, draw in zip(names, draws, strict=True)
        }
        pool = Pool(cells, frozenset(cells))
        words = {one.name: word(pool, one.weights(), margin) for one in comparisons}
        ever |= {name for name, found in words.items() if found.startswith(("better", "worse"))}
        needed = seeds_needed([c for c in comparisons if words[c.name] in OPEN], counts, MOST)
        if not needed:
            return End(frozenset(ever), words, counts)
        counts |= needed


def many(seed: int, studies: int, *which) -> list[End]:
    """Simulates so many studies, from a random seed."""
    random = np.random.default_rng(seed)
    return [simulate(random, *which) for _ in range(studies)]


def share(ends: Sequence[End], names: Sequence[str]) -> float:
    """Of all comparisons of these names, how many were called better or worse at some look."""
    return float(np.mean([name in end.ever for end in ends for name in names]))


def error_rows(studies: int) -> list[list[str]]:
    """False verdicts where nothing differs: a row a kind of spreads, a column a family."""
    return [
        [
            name,
            *(
                f"{100 * share(many(0, studies, family, spreads, margin), names(family)):.1f} %"
                for family, margin in FAMILIES.values()
            ),
        ]
        for name, spreads in SPREADS.items()
    ]


def names(comparisons: Sequence[Comparison]) -> list[str]:
    return [one.name for one in comparisons]


def cost_rows(studies: int) -> list[list[str]]:
    """Seeds that one comparison takes where there is a difference, beside a fixed number."""
    return [[f"{shift:g}", *cost(shift, studies)] for shift in SHIFTS]


def cost(shift: float, studies: int) -> list[str]:
    """[found, not decided, mean seeds a row, seeds at the 90th percentile, fixed n]."""
    comparison = CONTROL[0]
    ends = many(1, studies, (comparison,), SPREADS["equal spreads"], MARGIN, shift)
    found = np.mean([end.words[comparison.name].startswith("better") for end in ends])
    undecided = np.mean([end.words[comparison.name] in OPEN for end in ends])
    seeds = np.array([end.seeds["SE"] for end in ends])
    fixed = seeds_for_difference(shift, SPREAD, min(float(found), 1 - 1 / studies))
    return [f"{100 * found:.1f} %", f"{100 * undecided:.1f} %", f"{seeds.mean():.1f}",
            f"{np.quantile(seeds, 0.9):.0f}", f"{fixed}"]  # fmt: skip


def page(studies: int) -> str:
    """The whole page."""
    errors = tabulate(error_rows(studies), ["where nothing differs", *FAMILIES], "github")
    head = ["points", "found", "not decided", "mean seeds a row", "in nine of ten at most",
            "fixed seeds a row, equal power"]  # fmt: skip
    costs = tabulate(cost_rows(studies), head, "github", disable_numparse=True)
    sampling = 1.96 * (0.05 * 0.95 / studies) ** 0.5
    return PAGE_TEXT.format(
        errors=errors,
        costs=costs,
        studies=studies,
        most=MOST,
        spread=SPREAD,
        margin=MARGIN,
        sampling=100 * sampling,
    )


PAGE_TEXT = """# What `--decide` gets wrong, and what it costs

`make simulate` writes this page. {studies:,} studies a cell are simulated: 27 networks with three
seeds each, test errors drawn from a normal distribution with a standard deviation of {spread:g}
points (that of the records of the recipe `short`), looked at after every round from 3 to {most}
seeds, by the rule and the intervals that `run --decide` uses.

## False verdicts

The share of comparisons that are called better or worse **at any look** where no two networks
differ. At most 5 % is the aim; the simulation's own error is ± {sampling:.1f} %.

{errors}

## Seeds

One comparison, SE minus no SE, with a true difference and equal spreads. *Found* is the share of
studies that end with "better". A difference of {margin:g} points is the margin within which two
networks count as alike, and a study may end with that, too. The fixed number of seeds is that with
which a study that looks once, by the ordinary 95 % interval, finds the difference as often.

{costs}
"""


def main(studies: int = STUDIES) -> None:
    PAGE.write_text(page(studies))
    print(PAGE.read_text())


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
