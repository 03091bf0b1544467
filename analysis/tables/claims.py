"""Turns verdicts on claims into tables, and into text for the terminal."""

import math
from collections.abc import Sequence

import pandas as pd

from analysis import schema
from analysis.statistics.comparisons import CHANCE, MARGINS
from analysis.statistics.verdicts import Finding, Verdict
from experiments.records.study_file import Group


def numbers(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """Returns the verdicts as a table of numbers and words, a row a part of a claim."""
    rows = [
        (*v.group, v.claim.number, v.claim.says, v.claim.source, v.word, f.part.expects, f.word,
         f.evidence)
        for v in verdicts
        for f in v.findings
    ]  # fmt: skip
    columns = ["dataset", "network", "recipe", "number", "claim", "source", "verdict", "expected"]
    return pd.DataFrame(rows, columns=[*columns, "part", "evidence"])


def as_text(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """Returns the verdicts as text, a row a part; the first one tells of the whole claim, too."""
    rows = []
    for v in verdicts:
        whole = [v.claim.says, v.claim.source, v.word]
        for f in v.findings:
            rows.append((*whole, said(v, f), f.part.wanted(MARGINS[v.group[0]])))
            whole = [""] * 3
    columns = ["the paper's claim", "where", "verdict", "measured, and the paper's", "expected"]
    return pd.DataFrame(rows, columns=columns)


def said(verdict: Verdict, finding: Finding) -> str:
    """Returns the figures behind a part, and its own word where that is not the claim's."""
    is_known = finding.word in (verdict.word, "no record")  # "no result" says the same
    own = "" if is_known else f": {finding.word}"
    return f"{finding.evidence}{own}"


def text(verdicts: Sequence[Verdict]) -> str:
    """Returns the verdicts as text for the terminal: a line a claim, and one for each part."""
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
        "Demonstrations, CIFAR-10 mini and changed settings feed no claim.",
    ]


def printed(verdicts: Sequence[Verdict]) -> schema.Claims:
    """Returns the verdicts as `--json` prints them."""
    groups = dict.fromkeys(v.group for v in verdicts)
    return schema.Claims(
        groups=tuple(
            schema.JudgedGroup(
                dataset=group[0],
                network=group[1],
                recipe=group[2],
                claims=tuple(_printed_claim(v) for v in verdicts if v.group == group),
            )
            for group in groups
        )
    )


def _printed_claim(verdict: Verdict) -> schema.JudgedClaim:
    claim = verdict.claim
    parts = tuple(map(_printed_part, verdict.findings))
    return schema.JudgedClaim(number=claim.number, says=claim.says, source=claim.source,
                              verdict=verdict.word, parts=parts)  # fmt: skip


def _printed_part(finding: Finding) -> schema.JudgedPart:
    part, found = finding.part, finding.found
    return schema.JudgedPart(
        name=part.name,
        measure=part.measure,
        expects=part.expects,
        verdict=finding.word,
        estimate=known(found.estimate) if found else None,
        low=known(found.low) if found else None,
        high=known(found.high) if found else None,
        seeds=finding.counts,
        paper=known(finding.paper),
        about=finding.about if found else "no result",
    )


def known(number: float) -> float | None:
    return None if math.isnan(number) else number
