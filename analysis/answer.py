"""The answer in two sentences, and the verdicts in one table: computed, whatever came out."""

import math
from collections.abc import Sequence

from analysis.claims import Verdict, list_claims
from analysis.comparisons import MARGINS, against_reference, verdict
from analysis.records import CONSTANT, PLAIN, Group, Study, by_group
from analysis.stats import Difference

NAMES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}
# What is said of SE where a row is better or worse than SE, and where SE itself is the row.
WELCH = {"not decided by Welch": "not decided: Welch's interval holds zero"}
OF_OTHER = {"better": "higher", "worse": "lower"} | WELCH
OF_SE = {"better": "lower", "worse": "higher"} | WELCH


def headline(studies: Sequence[Study]) -> Group | None:
    """The data set, network and recipe with most finished runs, of those that prove something."""
    judged = [s for s in studies if not s.asked["demonstration"] and s.asked["dataset"] in MARGINS]
    groups = by_group(judged)
    return max(groups, key=lambda group: len(runs(groups[group], "done")), default=None)


def runs(studies: Sequence[Study], *states: str) -> set:
    """The folders of the runs in these states, of all states where none is named."""
    frames = [s.runs[s.runs.state.isin(states)] if states else s.runs for s in studies]
    return {path for frame in frames for path in frame.path}


def sentences(group: Group, studies: Sequence[Study], verdicts: Sequence[Verdict]) -> list[str]:
    """What SE is worth, what became of the claims and, where it is so, that runs are missing.

    Args:
        group: what they are of.
        studies: its studies, in the paper's order.
        verdicts: on the claims that these studies bear on.
    """
    return [difference_of_se(group, studies), of_claims(verdicts), *unfinished(studies)]


def difference_of_se(group: Group, studies: Sequence[Study]) -> str:
    dataset, network, recipe = group
    where = f"{NAMES.get(dataset, dataset)} (recipe `{recipe}`)"
    with_plain = [study for study in studies if PLAIN in study.references]
    if not with_plain:  # several networks, each with and without SE
        study = next((s for s in studies if s.references), studies[0])
        found = against_reference(study)
        parts = [
            f"of `{study.references[row]}` by {points(study, row, found[row], OF_SE)}"
            for row in found
            if not math.isnan(found[row].estimate)
        ] or ["by an amount that no run has told yet"]
        return f"On {where}, SE changes the test error {enumerated(parts)}."
    study = with_plain[0]  # whose intervals the forest plot shows
    found, se = against_reference(study), study.references[PLAIN]
    errors = {row: study.of(row).test_error.mean() for row in (se, PLAIN)}
    if any(map(math.isnan, errors.values())):
        return f"With `{network}` on {where}, SE and the plain network have no result yet."
    text = (
        f"With `{network}` on {where}, SE ends at {errors[se]:.2f} % test error where the plain "
        f"network ends at {errors[PLAIN]:.2f} %, "
        f"a difference of {points(study, PLAIN, reverse(found[PLAIN]), OF_OTHER)}"
    )
    if CONSTANT in found and not math.isnan(found[CONSTANT].estimate):
        against = points(study, CONSTANT, reverse(found[CONSTANT]), OF_OTHER)
        text += (
            f"; from the same network with every gate fixed at 1/2, which does not look at the "
            f"image, it differs by {against}"
        )
    return f"{text}."


def reverse(found: Difference) -> Difference:
    """The same the other way round."""
    return Difference(-found.estimate, -found.high, -found.low, found.p)


def points(study: Study, row: str, found: Difference, words: dict[str, str]) -> str:
    """`-1.20 points [-1.80, -0.60] (lower; n = 3 and 3)`: SE minus what it is compared with."""
    text, reference = f"{found.estimate:+z.2f} points", study.references[row]
    if not math.isnan(found.low):
        text += f" [{found.low:+z.2f}, {found.high:+z.2f}]"
    sides = (row, reference) if words is OF_SE else (reference, row)
    seeds = " and ".join(f"{len(study.errors(side))}" for side in sides)
    word, _, rest = verdict(study, row, against_reference(study)[row]).partition(", ")
    word = words.get(word, word) or "no interval, nothing is decided"
    return f"{text} ({word}{', ' + rest if rest else ''}; n = {seeds})"


def of_claims(verdicts: Sequence[Verdict]) -> str:
    if not verdicts:
        return "No claim of the paper is judged by these runs."
    said = {word: [v.claim.says for v in verdicts if v.word == word] for word in WORDS}
    parts = [
        f"{len(claims)} {'is' if len(claims) == 1 else 'are'} {word}"
        + ("" if word == "not decided" else f" ({'; '.join(map(QUOTED.format, claims))})")
        for word, claims in said.items()
        if claims
    ]
    return (
        f"Of the {len(list_claims())} claims that were written down before any run, these runs "
        f"bear on {len(verdicts)}: {enumerated(parts)}."
    )


QUOTED = "“{}”"
WORDS = ("confirmed", "contradicted", "not decided")


def enumerated(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def unfinished(studies: Sequence[Study]) -> list[str]:
    """A sentence where a run that was asked for has no result that can be averaged."""
    asked, done = runs(studies), runs(studies, "done")
    if asked == done:
        return []
    others = [(state, len(runs(studies, state) - done)) for state in NOT_DONE]
    counts = ", ".join(f"{n} {state}" for state, n in others if n)
    return [f"The study is not finished: {len(done)} of {len(asked)} runs are done ({counts})."]


NOT_DONE = ("missing", "diverged", "failed", "damaged", "other data")


def table(verdicts: Sequence[Verdict]) -> str:
    """In Markdown, a row a claim: what it says, the word, the comparisons behind it; "" for none.

    A comparison's own word follows it where it is not that of the claim.
    """
    lines = ["| the paper's claim | verdict | measured, and the paper's |", "|---|---|---|"]
    for v in verdicts:
        word = v.word if v.word == "not decided" else f"**{v.word}**"
        evidence = [
            f.evidence if f.word == v.word else f"{f.evidence}: {f.word}" for f in v.findings
        ]
        lines.append(f"| {v.claim.says} ({v.claim.source}) | {word} | {'<br>'.join(evidence)} |")
    return "\n".join(lines) if verdicts else ""
