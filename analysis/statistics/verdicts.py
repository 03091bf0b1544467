"""Judges the paper's claims by the records: confirmed, contradicted, not decided, or no record.

A claim has parts, each a comparison. It is confirmed where all of its parts are, each with its 95 %
interval: an intersection-union test, which needs no correction. It is contradicted where one of
its k parts is, with an interval of 1 - 0.05 / k. It has no record where no run has recorded what
its parts compare.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

from analysis.groups import by_group
from analysis.schema import Word
from analysis.statistics.claims import Claim, Part, list_claims
from analysis.statistics.comparisons import MARGINS, difference_text, is_judged
from analysis.statistics.measures import COUNTED, MEASURES
from analysis.statistics.pool import Pool
from analysis.statistics.stats import LEVEL, PRIOR, Difference
from analysis.study import Study, pool_of
from experiments.records.states import State
from experiments.records.study_file import Group


@dataclass(frozen=True)
class Finding:
    """Holds what was found for one part of a claim.

    found   the difference with its 95 % interval, or the quotient of a cost; None for no result
    counts  the seeds of each row that is compared
    paper   the paper's difference in points; NaN where it has none
    about   why it is not decided, where that is not for its interval
    """

    part: Part
    word: Word
    found: Difference | None = None
    counts: tuple[int, ...] = ()
    paper: float = math.nan
    about: str = ""

    @property
    def numbers(self) -> str:
        """Returns what was found as text: `+0.05 [-0.10, +0.20]`, or `1.103` of a cost."""
        if self.found is None:
            return "no result"
        is_cost = self.part.measure in COUNTED
        return f"{self.found.estimate:.3f}" if is_cost else difference_text(self.found)

    @property
    def evidence(self) -> str:
        """Returns text: `r = 2 minus r = 16: +0.05 [-0.10, +0.20], n = 5 and 5 (paper +0.01)`."""
        part = self.part
        if self.found is None:
            return f"{part.what}: {self.numbers}"
        if part.measure in COUNTED:
            what = f"{part.rows[0]} over {part.minus[0]}, {MEASURES[part.measure][0]}"
            return f"{what}: {self.numbers}"
        text = f"{part.what}: {self.numbers}, n = {counted(self.counts)}"
        if not math.isnan(self.paper):
            text += f" (paper {self.paper:+z.2f})"
        return f"{text}; {self.about}" if self.about else text


@dataclass(frozen=True)
class Verdict:
    claim: Claim
    group: Group
    word: Word
    findings: tuple[Finding, ...]

    @property
    def brief(self) -> str:
        """Returns text: `Softmax is a poor gate: confirmed, +22.86 [+21.98, +23.74]`."""
        text, (first, *others) = f"{self.claim.says}: {self.word}", self.findings
        if self.word == "no record":
            return text
        if others:
            confirmed = sum(finding.word == "confirmed" for finding in self.findings)
            return f"{text}, {confirmed} of {len(self.findings)} parts confirmed"
        unit = " times" if first.part.measure in COUNTED else " a doubling" * bool(first.part.over)
        return f"{text}, {first.numbers}{unit}"


def judge(studies: Sequence[Study]) -> list[Verdict]:
    """Judges every claim on every data set, network and recipe whose records can be judged.

    Demonstrations, CIFAR-10 mini and studies with changed settings feed none.
    """
    usable = [study for study in studies if is_judged(study)]
    verdicts = []
    for group, members in by_group(usable).items():
        by_grid = {study.asked.grid: study for study in members}
        pools = cache(partial(_pool_by, members))
        for claim in list_claims():
            parts = [part for part in claim.parts if part.dataset in (None, group[0])]
            if not any(part.study(by_grid, group[0]) for part in parts):
                continue
            found = tuple(check(part, by_grid, group[0], len(parts), pools) for part in parts)
            verdicts.append(Verdict(claim, group, _of_parts(found), found))
    return verdicts


def _of_parts(findings: Sequence[Finding]) -> Word:
    """Returns the verdict on a claim from those on its parts."""
    words: set[Word] = {finding.word for finding in findings}
    if len(words) == 1:
        return words.pop()
    return "contradicted" if "contradicted" in words else "not decided"


def _pool_by(studies: Sequence[Study], measure: str) -> Pool:
    """Makes the pool of a measure; of the error the studies' own, which no choice changes."""
    if measure == "error" and studies[0].shared is not None:
        return studies[0].pool
    return pool_of(studies, MEASURES[measure][1])


def check(
    part: Part,
    by_grid: dict[str, Study],
    dataset: str,
    parts: int,
    pools: Callable[[str], Pool],
) -> Finding:
    """Judges one part of a claim that has so many."""
    study = part.study(by_grid, dataset)
    if study is None or not set(part.labels) <= set(study.rows):
        return Finding(part, "no record")
    weights, margin = part.of_cells(study.cells), MARGINS[dataset] / part.steps
    pool = pools(part.measure)
    if not all(pool.values[cell] for cell in weights):
        return Finding(part, "no record")
    counts = tuple(len(pool.values[cell]) for cell in weights)
    if part.measure in COUNTED:
        row, other = (pool.values[study.cells[one[0]]][0] for one in (part.rows, part.minus))
        exact = Difference(row / other, row / other, row / other)
        return Finding(part, decide(part, exact, exact, margin, False), exact, counts)
    is_difference = bool(part.minus or part.over)
    prior = PRIOR if is_difference else 0.0  # of a rise in the same runs Student's interval
    found = pool.contrast(weights, prior=prior)
    wide = pool.contrast(weights, level=1 - (1 - LEVEL) / parts, prior=prior)
    about = _obstacle(part, study)
    word = decide(part, found, wide, margin, pool.is_alike(weights, margin))
    return Finding(part, "not decided" if about else word, found, counts,
                   published(part, study), about)  # fmt: skip


def _obstacle(part: Part, study: Study) -> str:
    """Says why the runs of a part decide nothing, whatever their interval; "" where they may."""
    lost = [state for row in part.labels for state in study.states(row) if state != State.DONE]
    if lost:
        return f"{len(lost)} runs {'are missing' if set(lost) == {State.MISSING} else 'were lost'}"
    return "their precisions differ" if len(study.precisions(*part.labels)) > 1 else ""


def published(part: Part, study: Study) -> float:
    """Returns the paper's difference in points; NaN where it has none."""
    if part.measure != "error":
        return math.nan
    paper = study.paper.top1
    return sum(weight * paper.get(row, math.nan) for row, weight in part.weights().items())


def decide(part: Part, found: Difference, wide: Difference, margin: float, is_alike: bool) -> Word:
    """Turns a comparison into a word: its 95 % interval confirms, the wider one contradicts."""
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


def counted(counts: Sequence[int]) -> str:
    """Returns counts as text: `3`, `3 and 5`, or `3 each` of more than two."""
    if len(counts) > 2 and len(set(counts)) == 1:
        return f"{counts[0]} each"
    return " and ".join(map(str, counts))
