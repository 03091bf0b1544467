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


def curve(study: Study, row: str) -> list[float]:
    """Held-out error in %, mean over all epochs."""
    if "val_error" not in study.curves:
        return []
    lines = study.curves[(study.curves.row == row) & study.curves.seed.isin(study.of(row).seed)]
    return list(lines.dropna(subset="val_error").groupby("seed").val_error.mean())


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
        for gates in study.gates(row):
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
    "curve": ("held-out error, mean over the epochs (points)", curve),
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
    against   what is measured of the reference, if that is something else; "nothing" is 0
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
            found = tuple(check(part, by_grid, group[0], len(parts)) for part in parts)
            words = {finding.word for finding in found}
            word = "contradicted" if "contradicted" in words else "not decided"
            verdicts.append(
                Verdict(claim, group, "confirmed" if words == {"confirmed"} else word, found)
            )
    return verdicts


def check(part: Part, by_grid: dict[str, Study], dataset: str, parts: int) -> Finding:
    """One part of a claim that has so many."""
    study = by_grid.get(dataset if part.grid == "CIFAR" else part.grid)
    if study is None or not {part.row, part.reference} <= set(study.rows):
        return Finding(part, "not decided", f"{part.row}: not trained")
    values = MEASURES[part.measure][1](study, part.row)
    others = (
        [0.0] * len(values)
        if part.against == "nothing"
        else MEASURES[part.against or part.measure][1](study, part.reference)
    )
    if part.measure in COSTS:
        values, others = list(np.log(values)), list(np.log(others))
    found = difference(values, others, level=1 - 0.05 / parts)
    if part.measure in COUNTED and values and others:
        found = Difference(found.estimate, found.estimate, found.estimate)
    margin = MARGINS[dataset]
    word = decide(part, found, margin, alike(values, others, margin))
    text = evidence(part, study, found, values, others)
    if lost := study.diverged(part.row) + study.diverged(part.reference):
        return Finding(part, "not decided", f"{text}; {lost} runs diverged")
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
    form = (lambda x: f"{math.exp(x):.3f}") if is_cost else (lambda x: f"{x:+.2f}")
    text = f"{who}: {form(found.estimate)}"
    if part.measure not in COUNTED:
        if not math.isnan(found.low):
            text += f" [{form(found.low)}, {form(found.high)}]"
        text += f", n = {len(values)}" + ("" if part.against else f" and {len(others)}")
    paper = study.paper.top1
    published = paper.get(part.row, math.nan) - paper.get(part.reference, math.nan)
    if part.measure == "error" and not math.isnan(published):
        text += f" (paper {published:+.2f})"
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
            rows.append((*whole, f.evidence, f.part.expects, f.word))
            whole = [""] * 4
    columns = ["", "the paper's claim", "where", "verdict", "comparison", "expected", "found"]
    return pd.DataFrame(rows, columns=columns)


def text(verdicts: Sequence[Verdict]) -> str:
    """For the terminal: a line a claim, and one for each of its parts."""
    lines = []
    for v in verdicts:
        lines.append(f"{v.word.upper():13}{v.claim.number}: {v.claim.says} ({v.claim.source})")
        for f in v.findings:
            lines.append(f"{'':13}    {f.evidence}; expected {f.part.expects}: {f.word}")
    return "\n".join(lines)


def notes(group: Group) -> list[str]:
    margin = MARGINS[group[0]]
    return [
        f"Data {group[0]}, network {group[1]}, recipe {group[2]}. Differences are in points of "
        "test error unless a part says otherwise, with intervals (Welch) that share 5 % among the "
        "parts of a claim.",
        f"Likeness is confirmed by two one-sided tests within {margin:g} points, set beforehand, "
        "and contradicted by an interval beyond them. An interval that holds zero confirms no "
        "difference.",
        "Demonstrations, synthetic data and changed settings feed no claim.",
    ]
