"""Writes the finding in plain sentences, and the verdicts in one table, both from the records."""

import math
from collections.abc import Callable, Sequence

from analysis.groups import FIRST, by_group
from analysis.page.opening import first_of
from analysis.statistics.claims import Part, list_claims
from analysis.statistics.comparisons import (
    MARGINS,
    Answer,
    answers,
    by_chance,
    difference_text,
    is_judged,
    says_something,
)
from analysis.statistics.contrasts import read_contrasts, standing
from analysis.statistics.interventions import everywhere, written
from analysis.statistics.verdicts import Verdict
from analysis.study import Study
from analysis.tables.claims import said
from experiments.data.datasets import DATASETS
from experiments.records.states import REFUSED, State
from experiments.records.study_file import Group

NAMES = {name: source.title for name, source in DATASETS.items() if source.title}
CONTROL = "control"


def headline(studies: Sequence[Study]) -> Group | None:
    """Picks the group that the answer is about: the confirmatory or the exploratory one.

    It is the confirmatory one as soon as a comparison that is declared for it has a number. Where
    neither has a finished run it is the first that has; None where none is judged.
    """
    groups = by_group([study for study in studies if is_judged(study)])
    declared = read_contrasts().groups
    done = [group for group in groups if runs(groups[group], State.DONE)]
    if not any(map(says_something, groups.get(declared.confirmatory, []))):
        done = [group for group in done if group != declared.confirmatory]
    for group in (declared.confirmatory, declared.exploratory, *done):
        if group in done:
            return group
    return next(iter(groups), None)


def runs(studies: Sequence[Study], *states: str) -> set:
    """Returns the folders of the runs in these states, of all states where none is named."""
    frames = [s.runs[s.runs.state.isin(states)] if states else s.runs for s in studies]
    return {path for frame in frames for path in frame.path}


def sentences(group: Group, studies: Sequence[Study], verdicts: Sequence[Verdict]) -> list[str]:
    """Says what was found, what became of the claims and, where it is so, that runs are missing.

    The studies are those of the group, in the paper's order.
    """
    dataset, network, recipe = group
    ours = "several networks" if network == "all" else f"`{network}`"
    where = f"On {NAMES.get(dataset, dataset)} with {ours} and the recipe `{recipe}`"
    first = first_of(studies) or studies[0]
    finding = found(first, every=first.asked.grid not in FIRST)
    start = finding if finding.startswith(("SE", "`")) else finding[0].lower() + finding[1:]
    text = [f"{where}: {start}", *standing(group)]
    return [*text, of_claims(verdicts), *unfinished(studies)]


def found(study: Study, every: bool = False, verdicts: Sequence[Verdict] = ()) -> str:
    """Says in plain sentences what a study found, from its records.

    Args:
        every: as for `answers`; where nothing else is said, they are all taken anyway.
        verdicts: on claims; those with a part in this study come first, as they are what it asks.
    """
    if not is_judged(study):
        return "Nothing that holds: demonstrations and CIFAR-10 mini are not judged."
    claims = [f"{v.brief}." for v in verdicts if any(map(_part_of(study), v.claim.parts))]
    declared = answers(study, every) or ([] if claims else answers(study, every=True))
    known = [one for one in declared if not math.isnan(one.found.estimate)]
    texts = [sentence(study, one) for one in known]
    if not any(map(len, map(study.errors, study.rows))):
        return "No run is finished yet."
    rest = "" if study.asked.grid == CONTROL else by_chance(study, is_named=True)
    said = [*claims, *texts, *([rest] if rest else []), *dependence(study)]
    return " ".join(said) or "No two networks that are compared have a result yet."


def _part_of(study: Study) -> Callable[[Part], bool]:
    """Returns what tells whether a part of a claim is of this study."""
    asked = study.asked
    return lambda part: part.study({asked.grid: study}, asked.dataset) is study


def sentence(study: Study, one: Answer) -> str:
    """Says what a comparison found.

    `With SE the test error is 1.30 points lower than with no SE (-1.30 [-2.26, -0.35]).`
    """
    who, than = one.comparison.who, one.comparison.than
    measured, by = difference_text(one.found), abs(one.found.estimate)
    word, margin = one.verdict.split(":")[0].split(",")[0], MARGINS.get(study.asked.dataset, 0)
    rest = one.verdict.partition(word)[2].lstrip(":, ")
    more = f"; {rest}" if rest else ""
    if one.comparison.over and one.comparison.minus:
        images = f"from {one.comparison.ends} images seen"
        text = {
            "better": f"{images}, {who} gains {by:.2f} points on {than} with each doubling",
            "worse": f"{images}, {who} loses {by:.2f} points to {than} with each doubling",
            "alike": f"{images}, the distance of {who} to {than} changes by less than {margin:g} "
            "points",
        }.get(word, f"{images}, it is not decided whether {who} gains on {than}")
    elif one.comparison.over:
        text = {
            "better": f"{who} lowers the error by {by:.2f} points",
            "worse": f"{who} raises the error by {by:.2f} points",
            "alike": f"over all of r the error changes by less than {margin:g} points",
        }.get(word, f"whether {who} changes the error is not decided")
    elif "diverged" in rest:
        more_lost, fewer = (who, than) if word == "worse" else (than, who)
        text = f"with {more_lost} more runs diverge than with {fewer}"
    else:
        text = {
            "better": f"with {who} the test error is {by:.2f} points lower than with {than}",
            "worse": f"with {who} the test error is {by:.2f} points higher than with {than}",
            "alike": f"with {who} and with {than} the test error is the same within {margin:g} "
            "points",
        }.get(word, undecided(one))
    return f"{text[0].upper()}{text[1:]} ({measured}{more})."


def undecided(one: Answer) -> str:
    """Says what a comparison without a decision leaves open."""
    who, than, found = one.comparison.who, one.comparison.than, one.found
    text = f"it is not decided which has the lower error, {who} or {than}"
    if math.isnan(found.low) or not found.low < 0 < found.high:
        return text
    return (
        f"{text}: with {who} it may be up to {-found.low:.2f} points lower or up to "
        f"{found.high:.2f} points higher"
    )


def dependence(study: Study) -> list[str]:
    """Says what the trained network needs of its gates, which is not what its training gained."""
    if study.asked.grid != CONTROL or "SE" not in study.rows:
        return []
    found = {one.Index: one for one in everywhere(study, "SE").itertuples()}
    return [
        f"{yes if one.rise > one.half_width else undecided}: with {gates} the error changes by "
        f"{written(one.rise, one.half_width)} points ({one.images:,} test images)."
        for how, (yes, undecided, gates) in REPLACED.items()
        if (one := found.get(how))
    ]


REPLACED = {  # gates -> what is said if they raise the error, if that is open; their name
    "another": (
        "A trained SE network depends on which image its gates come from",
        "Whether a trained SE network depends on which image its gates come from is not decided",
        "those of another",
    ),
    "mean": (
        "Their mean over all images would not do",
        "Whether their mean over all images would do is not decided",
        "it",
    ),
}


def of_claims(verdicts: Sequence[Verdict]) -> str:
    """Counts the paper's statements by verdict, and names our own apart from them."""
    known = [v for v in verdicts if v.word in WORDS]
    if not known:
        return "No claim of the paper is judged by these runs."
    paper = [v for v in known if not v.claim.is_ours]
    total = sum(not claim.is_ours for claim in list_claims())
    text = (
        f"Of {total} statements of the paper these runs bear on {len(paper)}: "
        f"{', '.join(f'{sum(v.word == word for v in paper)} {word}' for word in WORDS)}."
    )
    ours = [f"{QUOTED.format(v.claim.says)}, {v.word}" for v in known if v.claim.is_ours]
    return f"{text} Of our own: {'; '.join(ours)}." if ours else text


QUOTED = "“{}”"
WORDS = ("confirmed", "contradicted", "not decided")  # of a claim that the runs bear on


def unfinished(studies: Sequence[Study]) -> list[str]:
    """Says how many runs have no result that can be averaged, and why; [] where all have one."""
    asked, done = runs(studies), runs(studies, State.DONE)
    if asked == done:
        return []
    others = [(state, len(runs(studies, state) - done)) for state in NOT_DONE]
    counts = ", ".join(f"{n} {state}" for state, n in others if n)
    return [f"The study is not finished: {len(done)} of {len(asked)} runs are done ({counts})."]


NOT_DONE = (State.MISSING, State.DIVERGED, *REFUSED)


def words(verdicts: Sequence[Verdict]) -> str:
    """Writes one line of Markdown per claim: what it says, and the verdict; "" for none."""
    marks = [f" ({v.claim.source})" if v.claim.is_ours else "" for v in verdicts]
    return "\n".join(
        f"- {v.claim.says}{mark}: {word(v)}" for v, mark in zip(verdicts, marks, strict=True)
    )


def word(verdict: Verdict) -> str:
    is_decided = verdict.word in ("confirmed", "contradicted")
    return f"**{verdict.word}**" if is_decided else verdict.word


def table(verdicts: Sequence[Verdict]) -> str:
    """Writes a Markdown table, one row per claim: its words, verdict, comparisons; "" for none.

    A comparison's own verdict follows it where it is not that of the claim.
    """
    lines = ["| claim | verdict | measured, and the paper's |", "|---|---|---|"]
    for v in verdicts:
        evidence = "<br>".join(said(v, finding) for finding in v.findings)
        lines.append(f"| {v.claim.says} ({v.claim.source}) | {word(v)} | {evidence} |")
    return "\n".join(lines) if verdicts else ""
