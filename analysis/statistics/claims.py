"""The paper's claims as statements that records confirm, contradict, or leave undecided.

A claim has parts, each a comparison. It is confirmed where all of its parts are, each with its 95 %
interval: an intersection-union test, which needs no correction. It is contradicted where one of
its k parts is, with an interval of 1 - 0.05 / k.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import yaml

from analysis.load import Study, by_group, pool_of
from analysis.statistics.comparisons import CHANCE, MARGINS, is_judged, shown
from analysis.statistics.contrasts import CIFAR, Comparison, check_rows
from analysis.statistics.pool import Pool
from analysis.statistics.stats import LEVEL, PRIOR, Difference
from experiments.records.parsing import Strict, checked, parse
from experiments.records.study_file import Group
from senet.config import choose, stage_of

Word = Literal["confirmed", "contradicted", "not decided"]
PATH = Path(__file__).parents[1] / "claims.yaml"
OURS = "ours"  # the source of what the paper does not say

# -- what is compared: (study, row) -> one number a run --------------------------------------


def curve(third: int) -> Callable[[Study, str], list[float]]:
    """Held-out error in %, mean over a third of the epochs: 0 is the first."""

    def measure(study: Study, row: str) -> list[float]:
        if "val_error" not in study.curves:
            return []
        of_row = study.curves[study.curves.row == row].dropna(subset="val_error")
        parts = [
            np.array_split(of_row[of_row.seed == seed].val_error.to_numpy(), 3)[third]
            for seed in study.of(row).seed
        ]
        return [float(part.mean()) for part in parts if len(part)]

    return measure


def late_rise(study: Study, row: str) -> list[float]:
    """Points that the error rises by when the last stage's gates are their means over images."""
    found = [run for run in study.of(row).interventions if isinstance(run, dict)]
    return [
        list(run["stages"].values())[-1]["mean"] - run["intact"]
        for run in found
        if run.get("stages")
    ]


def column(name: str) -> Callable[[Study, str], list[float]]:
    return lambda study, row: [float(value) for value in study.of(row)[name].dropna()]


def specificity(study: Study, row: str) -> list[float]:
    """Points of variance over images that classes explain of the last stage's gates, beyond what
    they explain of what these gates look at, minus the same of the first stage."""

    def beyond(shares: dict[str, dict[str, float]], stage: str) -> float:
        names = [name for name in shares["gates"] if stage_of(name) == stage]
        return float(np.mean([shares["gates"][n] - shares["squeezed"][n] for n in names]))

    found = [s for s in study.of(row).get("class_shares", []) if isinstance(s, dict) and s]
    ends = [(s, sorted({stage_of(name) for name in s["gates"]})) for s in found]
    return [100 * (beyond(s, stages[-1]) - beyond(s, stages[0])) for s, stages in ends]


MEASURES: dict[str, tuple[str, Callable[[Study, str], list[float]]]] = {
    "error": ("test error (points)", column("test_error")),
    "early": ("held-out error in the first third of the epochs (points)", curve(0)),
    "middle": ("held-out error in the second third (points)", curve(1)),
    "late": ("held-out error in the last third (points)", curve(2)),
    "parameters": ("parameters (times)", column("parameters")),
    "multiply_adds": ("multiply-adds (times)", column("multiply_adds")),
    "specificity": (
        "share of variance between classes, gates beyond what they look at, last stage minus first "
        "(points)",
        specificity,
    ),
    "late rise": ("error with the last stage's gates at their mean (points)", late_rise),
}
COUNTED = ("parameters", "multiply_adds")  # quotients, the same for every seed: no interval


class Part(Comparison):
    """One comparison of a claim, with what is expected of it.

    expects   lower or higher; alike, no higher or no lower, within the margin; at most `limit`
              times, or more than it
    measure   a row of MEASURES; where `minus` is empty its mean is compared with 0
    dataset   the only one that has these rows, or null
    """

    expects: Literal["lower", "higher", "alike", "no higher", "no lower", "at most", "more than"]
    measure: str = "error"
    limit: float = 1.0
    dataset: str | None = None

    @property
    def what(self) -> str:
        """What is compared, with the measure where that is not the error."""
        return self.name if self.measure == "error" else f"{self.name}, {MEASURES[self.measure][0]}"

    def wanted(self, margin: float) -> str:
        """What was expected, in words."""
        return {
            "alike": f"alike, within {margin / self.steps:.3g}"
            + (" a doubling" if self.by else ""),
            "no higher": f"no higher, within {margin:g}",
            "no lower": f"no lower, within {margin:g}",
            "at most": f"at most {self.limit:g} times" if self.limit != 1 else "no more",
            "more than": f"more than {self.limit:g} times" if self.limit != 1 else "more",
        }.get(self.expects, self.expects)

    def study(self, by_grid: dict[str, Study], dataset: str) -> Study | None:
        """The study that has its rows."""
        return by_grid.get(dataset if self.grid == CIFAR else self.grid)


class Claim(Strict):
    """One statement, by its number in our list, and where the paper makes it; `ours` if we do."""

    number: str
    says: str
    source: str
    parts: tuple[Part, ...]

    @property
    def is_ours(self) -> bool:
        return self.source == OURS


class Claims(Strict):
    """claims.yaml."""

    claims: tuple[Claim, ...]


@cache
def list_claims(path: Path | None = None) -> tuple[Claim, ...]:
    """Reads and checks claims.yaml. Raises ConfigError on a row that no grid has."""
    path = path or PATH
    claims = parse(Claims, {"claims": yaml.safe_load(path.read_bytes())}, path.name).claims
    for claim in claims:
        for part in claim.parts:
            check_rows(part, path.name, part.dataset)
            checked(choose, f"{path.name}: measure", part.measure, MEASURES)
    return claims


# -- what the records say of it ---------------------------------------------------------------


@dataclass(frozen=True)
class Finding:
    """What became of a part: a word, and the figures behind it in words."""

    part: Part
    word: Word
    evidence: str


@dataclass(frozen=True)
class Verdict:
    claim: Claim
    group: Group
    word: Word
    findings: tuple[Finding, ...]


def judge(studies: Sequence[Study]) -> list[Verdict]:
    """Every claim on every data set, network and recipe that has records of numbers that hold.

    Demonstrations, synthetic data and studies with changed settings feed none.
    """
    usable = [study for study in studies if is_judged(study)]
    verdicts = []
    for group, members in by_group(usable).items():
        by_grid = {study.asked.grid: study for study in members}
        pools = Pools(members)
        for claim in list_claims():
            parts = [part for part in claim.parts if part.dataset in (None, group[0])]
            if not any(part.study(by_grid, group[0]) for part in parts):
                continue
            found = tuple(check(part, by_grid, group[0], len(parts), pools) for part in parts)
            words = {finding.word for finding in found}
            word = "contradicted" if "contradicted" in words else "not decided"
            verdicts.append(
                Verdict(claim, group, "confirmed" if words == {"confirmed"} else word, found)
            )
    return verdicts


class Pools(dict[str, Pool]):
    """Measure -> what was measured of it in all cells of some studies; made when it is asked for.

    Of the test error it is the pool that the studies have, which no choice of studies changes.
    """

    def __init__(self, studies: Sequence[Study]) -> None:
        self.studies = studies

    def __missing__(self, measure: str) -> Pool:
        is_error = measure == "error" and self.studies[0].shared is not None
        found = pool_of(self.studies, MEASURES[measure][1])
        self[measure] = self.studies[0].pool if is_error else found
        return self[measure]


def check(part: Part, by_grid: dict[str, Study], dataset: str, parts: int, pools: Pools) -> Finding:
    """One part of a claim that has so many."""
    study = part.study(by_grid, dataset)
    if study is None or not set(part.labels) <= set(study.rows):
        return Finding(part, "not decided", f"{part.what}: no result")
    weights, margin = part.of_cells(study.cells), MARGINS[dataset] / part.steps
    values = pools[part.measure].values
    if not all(values[cell] for cell in weights):
        return Finding(part, "not decided", f"{part.what}: no result")
    if part.measure in COUNTED:
        quotient = values[study.cells[part.rows[0]]][0] / values[study.cells[part.minus[0]]][0]
        text = f"{part.rows[0]} over {part.minus[0]}, {MEASURES[part.measure][0]}: {quotient:.3f}"
        exact = Difference(quotient, quotient, quotient)
        return Finding(part, decide(part, exact, exact, margin, False), text)
    pool = pools[part.measure]
    prior = PRIOR if part.minus or part.by else 0.0  # of a rise in the same runs Student's interval
    found = pool.contrast(weights, prior=prior)
    wide = pool.contrast(weights, level=1 - (1 - LEVEL) / parts, prior=prior)
    word = decide(part, found, wide, margin, pool.is_alike(weights, margin))
    text = evidence(part, study, found, [len(values[cell]) for cell in weights])
    if lost := sum(map(study.lost, part.labels)):
        return Finding(part, "not decided", f"{text}; {lost} runs were lost")
    if len(study.precisions(*part.labels)) > 1:
        return Finding(part, "not decided", f"{text}; their precisions differ")
    return Finding(part, word, text)


def decide(part: Part, found: Difference, wide: Difference, margin: float, is_alike: bool) -> Word:
    """A comparison as a word: confirmed by its 95 % interval, contradicted by the wider one."""
    yes, no = {
        "lower": (found.high < 0, wide.low > 0),
        "higher": (found.low > 0, wide.high < 0),
        "alike": (is_alike, wide.low > margin or wide.high < -margin),
        "no higher": (found.high < margin, wide.low > margin),
        "no lower": (found.low > -margin, wide.high < -margin),
        "at most": (found.high <= part.limit, wide.low > part.limit),
        "more than": (found.low > part.limit, wide.high <= part.limit),
    }[part.expects]
    return "confirmed" if yes else "contradicted" if no else "not decided"


def evidence(part: Part, study: Study, found: Difference, counts: list[int]) -> str:
    """`r = 2 minus r = 16: +0.05 [-0.10, +0.20], n = 5 and 5 (paper +0.01)`."""
    text = f"{part.what}: {shown(found)}, n = {counted(counts)}"
    rows, paper = part.weights(), study.paper.top1
    published = sum(weight * paper.get(row, math.nan) for row, weight in rows.items())
    if part.measure == "error" and not math.isnan(published):
        text += f" (paper {published:+z.2f})"
    return text


def counted(counts: list[int]) -> str:
    """`3`, `3 and 5`, or `3 each` of more than two."""
    if len(counts) > 2 and len(set(counts)) == 1:
        return f"{counts[0]} each"
    return " and ".join(map(str, counts))


def numbers(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """A row a part of a claim."""
    rows = [
        (*v.group, v.claim.number, v.claim.says, v.claim.source, v.word, f.part.expects, f.word,
         f.evidence)
        for v in verdicts
        for f in v.findings
    ]  # fmt: skip
    columns = ["dataset", "network", "recipe", "number", "claim", "source", "verdict", "expected"]
    return pd.DataFrame(rows, columns=[*columns, "part", "evidence"])


def cells(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """A row a part for reading; what is said of the whole claim stands in its first one."""
    rows = []
    for v in verdicts:
        whole = [v.claim.says, v.claim.source, v.word]
        for f in v.findings:
            rows.append((*whole, said(v, f), f.part.wanted(MARGINS[v.group[0]])))
            whole = [""] * 3
    columns = ["the paper's claim", "where", "verdict", "measured, and the paper's", "expected"]
    return pd.DataFrame(rows, columns=columns)


def said(verdict: Verdict, finding: Finding) -> str:
    """The figures behind a part, and its own word where that is not the claim's."""
    own = "" if finding.word == verdict.word else f": {finding.word}"
    return f"{finding.evidence}{own}"


def text(verdicts: Sequence[Verdict]) -> str:
    """For the terminal: a line a claim, and one for each of its parts."""
    lines = []
    for v in verdicts:
        lines.append(f"{v.word.upper():13}{v.claim.number}: {v.claim.says} ({v.claim.source})")
        for f in v.findings:
            wanted = f.part.wanted(MARGINS[v.group[0]])
            lines.append(f"{'':13}    {f.evidence}; expected {wanted}: {f.word}")
    return "\n".join(lines)


def notes(group: Group) -> list[str]:
    margin = MARGINS[group[0]]
    return [
        f"Data {group[0]}, network {group[1]}, recipe {group[2]}. Differences are in points of "
        "test error unless a part says otherwise, each with its 95 % interval, which is the same "
        "in every table.",
        "A claim is confirmed where each of its parts is, and contradicted where one of its k "
        f"parts is at a level of 1 - {CHANCE:g} / k. Likeness is confirmed by two one-sided tests "
        f"within {margin:g} points, set beforehand, and contradicted by an interval beyond them.",
        "Demonstrations, synthetic data and changed settings feed no claim.",
    ]
