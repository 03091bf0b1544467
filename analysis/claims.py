"""The paper's claims as statements that records confirm, contradict, or leave undecided.

A claim has parts, each a comparison that was fixed before any run. It is confirmed where all of its
parts are, and contradicted where one of them is. Parts share an error rate of 5 %: if nothing
differed at all, a claim would get a wrong verdict in at most 5 % of the studies.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import yaml

from analysis.comparisons import MARGINS
from analysis.records import Group, Study, by_group
from analysis.stats import Difference, alike, difference
from experiments.config import Strict, parse
from senet.config import stage_of

Word = Literal["confirmed", "contradicted", "not decided"]

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


def share_of(which: int) -> Callable[[Study, str], list[float]]:
    """Share of the gates' variance that lies between classes, median over a stage's channels."""

    def measure(study: Study, row: str) -> list[float]:
        shares = []
        for gates in study.gates(row).values():
            stages: dict[str, list[np.ndarray]] = {}
            for name, block in gates.blocks.items():
                stages.setdefault(stage_of(name), []).append(block.class_share())
            shares.append(float(np.median(np.concatenate(list(stages.values())[which]))))
        return shares

    return measure


def column(name: str) -> Callable[[Study, str], list[float]]:
    return lambda study, row: [float(value) for value in study.of(row)[name].dropna()]


def pace(study: Study, row: str) -> list[float]:
    """Seconds of a training image; nothing where the runs are of several machines."""
    return column("pace")(study, row) if study.is_of_one_machine else []


MEASURES: dict[str, tuple[str, Callable[[Study, str], list[float]]]] = {
    "error": ("test error (points)", column("test_error")),
    "early": ("held-out error in the first third of the epochs (points)", curve(0)),
    "middle": ("held-out error in the second third (points)", curve(1)),
    "late": ("held-out error in the last third (points)", curve(2)),
    "parameters": ("parameters (times)", column("parameters")),
    "multiply_adds": ("multiply-adds (times)", column("multiply_adds")),
    "pace": ("time of a training image (times)", pace),
    "late rise": ("error with the last stage's gates at their mean (points)", late_rise),
    "first share": ("class-specificity of the first stage", share_of(0)),
    "last share": ("class-specificity of the last stage", share_of(-1)),
}
COSTS = ("parameters", "multiply_adds", "pace")  # compared as quotients
COUNTED = ("parameters", "multiply_adds")  # the same for every seed: no interval is needed


class Part(Strict):
    """One comparison: row minus reference, or their quotient where costs are compared.

    grid      the study; "CIFAR" is that of Table 4 or 5
    expects   lower or higher than the reference; alike, or reaches it (no higher than it), within
              the margin; at most `limit` times, or more than it
    measure   a row of MEASURES
    against   what is measured in the same runs, instead of a reference: the comparison is paired;
              "nothing" is 0
    dataset   the only one that has these rows, or null
    """

    grid: str
    row: str
    reference: str
    expects: Literal["lower", "higher", "alike", "reaches", "at most", "more than"]
    measure: str = "error"
    against: str | None = None
    limit: float = 1.0
    dataset: str | None = None

    def wanted(self, margin: float) -> str:
        """What was expected, in words."""
        return {
            "alike": f"alike, within {margin:g}",
            "reaches": f"no higher, within {margin:g}",
            "at most": f"at most {self.limit:g} times",
            "more than": f"more than {self.limit:g} times",
        }.get(self.expects, self.expects)

    def study(self, by_grid: dict[str, Study], dataset: str) -> Study | None:
        """The study that has its rows."""
        return by_grid.get(dataset if self.grid == "CIFAR" else self.grid)


class Claim(Strict):
    """A statement of the paper, by its number in our list, and where the paper makes it."""

    number: str
    says: str
    source: str
    parts: tuple[Part, ...]


class Claims(Strict):
    """claims.yaml."""

    claims: tuple[Claim, ...]


def list_claims() -> tuple[Claim, ...]:
    path = Path(__file__).with_name("claims.yaml")
    return parse(Claims, {"claims": yaml.safe_load(path.read_text())}, path.name).claims


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
    usable = [s for s in studies if not s.asked["demonstration"] and s.asked["dataset"] in MARGINS]
    verdicts = []
    for group, members in by_group(usable).items():
        by_grid = {study.asked["grid"]: study for study in members}
        for claim in list_claims():
            parts = [part for part in claim.parts if part.dataset in (None, group[0])]
            if not any(part.study(by_grid, group[0]) for part in parts):
                continue
            found = tuple(check(part, by_grid, group[0], len(parts)) for part in parts)
            words = {finding.word for finding in found}
            word = "contradicted" if "contradicted" in words else "not decided"
            verdicts.append(
                Verdict(claim, group, "confirmed" if words == {"confirmed"} else word, found)
            )
    return verdicts


def check(part: Part, by_grid: dict[str, Study], dataset: str, parts: int) -> Finding:
    """One part of a claim that has so many."""
    study = part.study(by_grid, dataset)
    if study is None or not {part.row, part.reference} <= set(study.rows):
        return Finding(part, "not decided", f"{part.row} minus {part.reference}: no result")
    values = MEASURES[part.measure][1](study, part.row)
    if part.against:  # in the same runs: their differences, against 0
        if part.against != "nothing":
            early = MEASURES[part.against][1](study, part.row)
            values = [late - first for late, first in zip(values, early, strict=True)]
        others = [0.0] * len(values)
    else:
        others = MEASURES[part.measure][1](study, part.reference)
    if part.measure in COSTS:
        values, others = list(np.log(values)), list(np.log(others))
    found = difference(values, others, level=1 - 0.05 / parts)
    if part.measure in COUNTED and values and others:
        found = Difference(found.estimate, found.estimate, found.estimate)
    margin = MARGINS[dataset]
    word = decide(part, found, margin, alike(values, others, margin))
    text = evidence(part, study, found, values, others)
    if lost := sum(map(study.lost, {part.row, part.reference})):
        return Finding(part, "not decided", f"{text}; {lost} runs diverged or failed")
    if len(study.precisions(part.row, part.reference)) > 1:
        return Finding(part, "not decided", f"{text}; their precisions differ")
    return Finding(part, word, text)


def decide(part: Part, found: Difference, margin: float, is_alike: bool) -> Word:
    """A comparison with an interval, as a word; without an interval nothing is decided."""
    limit = math.log(part.limit)
    yes, no = {
        "lower": (found.high < 0, found.low > 0),
        "higher": (found.low > 0, found.high < 0),
        "alike": (is_alike, found.low > margin or found.high < -margin),
        "reaches": (found.high < margin, found.low > margin),
        "at most": (found.high <= limit, found.low > limit),
        "more than": (found.low > limit, found.high <= limit),
    }[part.expects]
    return "confirmed" if yes else "contradicted" if no else "not decided"


def evidence(part: Part, study: Study, found: Difference, values: list, others: list) -> str:
    """`r = 2 minus r = 16: +0.05 [-0.10, +0.20], n = 5 and 5 (paper +0.01)`."""
    is_cost = part.measure in COSTS
    what = "" if part.measure == "error" else f", {MEASURES[part.measure][0]}"
    if part.against == "nothing":
        who = f"{part.row}{what}"
    elif part.against:
        who = f"{part.row}, {MEASURES[part.measure][0]} minus that of the first"
    else:
        who = f"{part.row} {'over' if is_cost else 'minus'} {part.reference}{what}"
    if not values or not others:
        return f"{who}: no result"
    form = (lambda x: f"{math.exp(x):.3f}") if is_cost else (lambda x: f"{x:+z.2f}")
    text = f"{who}: {form(found.estimate)}"
    if part.measure not in COUNTED:
        if not math.isnan(found.low):
            text += f" [{form(found.low)}, {form(found.high)}]"
        text += f", n = {len(values)}" + ("" if part.against else f" and {len(others)}")
    paper = study.paper.top1
    published = paper.get(part.row, math.nan) - paper.get(part.reference, math.nan)
    if part.measure == "error" and not math.isnan(published):
        text += f" (paper {published:+z.2f})"
    return text


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
        whole = [v.claim.number, v.claim.says, v.claim.source, v.word]
        for f in v.findings:
            rows.append((*whole, f.evidence, f.part.wanted(MARGINS[v.group[0]]), f.word))
            whole = [""] * 4
    columns = ["", "the paper's claim", "where", "verdict", "comparison", "expected", "found"]
    return pd.DataFrame(rows, columns=columns)


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
        "test error unless a part says otherwise, with intervals (Welch) that share 5 % among the "
        "parts of a claim. Those of a table, Dunnett's, hold for all of its rows instead.",
        f"Likeness is confirmed by two one-sided tests within {margin:g} points, set beforehand, "
        "and contradicted by an interval beyond them. An interval that holds zero confirms no "
        "difference.",
        "Demonstrations, synthetic data and changed settings feed no claim.",
    ]
