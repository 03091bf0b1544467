"""Each row of a study against its reference: the difference, its interval, and a verdict."""

import math

from analysis.records import Study
from analysis.stats import Difference, alike, compare, difference

# Points of test error within which two networks count as alike, by data set: stated before any run.
MARGINS = {"cifar10": 0.5, "cifar100": 1.0}
MOST = 20  # rows that one reference is compared with


def against_reference(study: Study) -> dict[str, Difference]:
    """Row -> its test error minus that of its reference in points, by Dunnett's test.

    The rows that share a reference are one family. One of more than MOST is not compared: its
    table has the effects of what was varied instead.
    """
    families: dict[str, list[str]] = {}
    for row, reference in study.references.items():
        families.setdefault(reference, []).append(row)
    found: dict[str, Difference] = {}
    for reference, rows in families.items():
        if len(rows) <= MOST:
            found |= compare({r: study.errors(r) for r in rows}, study.errors(reference))
    return found


def verdict(study: Study, row: str, found: Difference) -> str:
    """In a word: what these runs say of a row against its reference.

    "better" and "worse" need Dunnett's interval, which takes all rows to spread alike, and Welch's,
    which does not; "alike" needs two one-sided tests within MARGINS. A demonstration, synthetic
    data and single seeds say nothing, "".
    """
    is_judged = study.asked["dataset"] in MARGINS and not study.asked["demonstration"]
    if math.isnan(found.low) or not is_judged:
        return ""
    reference = study.references[row]
    if study.lost(row) or study.lost(reference):
        return "not decided: runs were lost"
    if len(study.precisions(row, reference)) > 1:
        return "not decided: precisions differ"
    margin = MARGINS[study.asked["dataset"]]
    is_alike = alike(study.errors(row), study.errors(reference), margin)
    welch = difference(study.errors(row), study.errors(reference))
    excludes, agrees = (x.low > 0 or x.high < 0 for x in (found, welch))
    if is_alike and not (excludes and agrees):
        return "alike"
    if not excludes:
        return "not decided"
    if not agrees:
        return "not decided by Welch"
    word = "worse" if found.estimate > 0 else "better"
    return f"{word}, within the margin" if is_alike else word
