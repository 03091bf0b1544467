"""The finding in plain sentences, and the verdicts in one table: computed, whatever came out."""

import math
from collections.abc import Sequence

from analysis.load import CONSTANT, FIRST, PLAIN, Group, Study, by_group, in_the_papers_order
from analysis.statistics.claims import Verdict, list_claims, said
from analysis.statistics.comparisons import (
    MARGINS,
    Answer,
    answers,
    by_chance,
    is_judged,
    shown,
    verdict,
)
from analysis.statistics.contrasts import read_contrasts
from analysis.statistics.interventions import rises
from analysis.statistics.lengths import longest, series
from experiments.records.states import REFUSED, State

NAMES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}
CONTROL = "control"
ROWS = {  # the rows of the opening, and what they are
    PLAIN: "the plain network",
    "no SE begun at 1/2": "the plain network, its branches begun at 1/2",
    CONSTANT: "every gate fixed at 1/2",
    "static gate": "a gate learned for each channel, the same for every image",
    "squeeze of another image": "the gates that belong to another image",
    "SE": "Squeeze-and-Excitation",
}


def headline(studies: Sequence[Study]) -> Group | None:
    """The group that is declared as the confirmatory one, as soon as a comparison that is declared
    for it has a number; before that the exploratory one.

    Where neither has a finished run it is the first that has; None where none proves anything.
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


def says_something(study: Study) -> bool:
    """Tells whether a comparison that is declared for a study has a number."""
    return any(not math.isnan(one.found.estimate) for one in answers(study))


def runs(studies: Sequence[Study], *states: str) -> set:
    """The folders of the runs in these states, of all states where none is named."""
    frames = [s.runs[s.runs.state.isin(states)] if states else s.runs for s in studies]
    return {path for frame in frames for path in frame.path}


def sentences(group: Group, studies: Sequence[Study], verdicts: Sequence[Verdict]) -> list[str]:
    """What was found first, what became of the claims and, where it is so, that runs are missing.

    Args:
        group: what they are of.
        studies: its studies, in the paper's order.
        verdicts: on the claims that these studies bear on.
    """
    dataset, network, recipe = group
    ours = "several networks" if network == "all" else f"`{network}`"
    where = f"On {NAMES.get(dataset, dataset)} with {ours} and the recipe `{recipe}`"
    first = first_of(studies) or studies[0]
    finding = found(first, every=first.asked.grid not in FIRST)
    start = finding if finding.startswith(("SE", "`")) else finding[0].lower() + finding[1:]
    text = [f"{where}: {start}", *status(group)]
    return [*text, of_claims(verdicts), *unfinished(studies)]


def status(group: Group) -> list[str]:
    """A sentence where the records were seen before the rule was made."""
    groups = read_contrasts().groups
    if group != groups.exploratory:
        return []
    return [f"This is exploratory: the rule was changed on {groups.changed}, after these records."]


def found(study: Study, every: bool = False) -> str:
    """What a study found, in plain sentences, from its records; `every` as for `answers`."""
    if not is_judged(study):
        return "Nothing that holds: demonstrations and synthetic data are not judged."
    declared = answers(study, every) or answers(study, every=True)
    known = [one for one in declared if not math.isnan(one.found.estimate)]
    texts = [sentence(study, one) for one in known]
    if not any(map(len, map(study.errors, study.rows))):
        return "No run is finished yet."
    rest = "" if study.asked.grid == CONTROL else by_chance(study, is_named=True)
    return " ".join([*texts, *([rest] if rest else []), *dependence(study)])


def sentence(study: Study, one: Answer) -> str:
    """`SE ends 1.30 points lower than the plain network (-1.30 [-2.26, -0.35]).`"""
    who, than = one.comparison.who, one.comparison.than
    measured, by = shown(one.found), abs(one.found.estimate)
    word, margin = one.verdict.split(":")[0].split(",")[0], MARGINS.get(study.asked.dataset, 0)
    rest = one.verdict.partition(word)[2].lstrip(":, ")
    more = f"; {rest}" if rest else ""
    if one.comparison.over:
        images = f"from {one.comparison.ends} images seen"
        text = {
            "better": f"{images}, {who} gains {by:.2f} points on {than} with each doubling",
            "worse": f"{images}, {who} loses {by:.2f} points to {than} with each doubling",
            "alike": f"{images}, the distance of {who} to {than} changes by less than {margin:g} "
            "points",
        }.get(word, f"{images}, it is not decided whether {who} gains on {than}")
    elif one.comparison.by:
        text = {
            "better": f"{who} lowers the error by {by:.2f} points",
            "worse": f"{who} raises the error by {by:.2f} points",
            "alike": f"over all of r the error changes by less than {margin:g} points",
        }.get(word, f"what {who} does to the error is not decided")
    else:
        text = {
            "better": f"{who} ends {by:.2f} points lower than {than}",
            "worse": f"{who} ends {by:.2f} points higher than {than}",
            "alike": f"{who} and {than} differ by less than {margin:g} points",
        }.get(word, undecided(one))
    return f"{text[0].upper()}{text[1:]} ({measured}{more})."


def undecided(one: Answer) -> str:
    """What an interval that holds 0 leaves open."""
    who, than, found = one.comparison.who, one.comparison.than, one.found
    text = f"between {who} and {than} no difference is decided"
    if math.isnan(found.low) or not found.low < 0 < found.high:
        return text
    return f"{text}: {who} may end {-found.low:.2f} points lower or {found.high:.2f} points higher"


def dependence(study: Study) -> list[str]:
    """What the trained network needs of its gates, which is not what its training gained."""
    table = rises(study)
    table = table[(table.row == "SE") & (table["where"] == "all") & (table.how == "mean")]
    if study.asked.grid != CONTROL or table.empty:
        return []
    rise, half = table.iloc[0].rise, table.iloc[0].half_width
    width = "" if math.isnan(half) else f" ± {half:.2f}"
    return [
        f"What a trained SE network depends on is another question: with its gates replaced by "
        f"their means over images its error changes by {rise:+z.2f}{width} points."
    ]


def first_of(studies: Sequence[Study]) -> Study | None:
    """The study that the answer begins with: of several that are begun the first of FIRST."""
    found = [s for s in studies if s.asked.grid in FIRST and any(map(s.errors, s.rows))]
    return min(found, key=in_the_papers_order, default=None)


def rows_of(study: Study) -> dict[str, str]:
    """Network -> its row: of a study across lengths that of the longest one that has results."""
    last, networks = longest(study), series(study)
    named = {name: row for name, rows in networks.items() for row in rows.values() if row in last}
    return named or {row: row for row in study.rows}


def opening(studies: Sequence[Study]) -> str:
    """The rows that say what SE is worth, in Markdown; "" where no such study is begun.

    Of a study across lengths of training those of the longest one that has results.
    """
    if (study := first_of(studies)) is None:
        return ""
    named = rows_of(study)
    plain = named[PLAIN]
    how = "" if plain == PLAIN else f" ({plain.removeprefix(PLAIN).strip(' ,')})"
    lines = [
        f"| network{how} | test error (%) | minus the plain network (points) |",
        "|---|--:|--:|",
    ]
    for name, what in ROWS.items():
        if (row := named.get(name)) is None:
            continue
        mean, half = study.pool.mean(study.cells[row])
        error = "–" if math.isnan(mean) else f"{mean:.2f} ± {half:.2f}"
        against = study.pool.difference(study.cells[row], study.cells[plain])
        word = "" if row == plain else verdict(study, row, plain)
        answered = "–" if row == plain else f"{shown(against)} {word}".rstrip()
        lines.append(f"| {what} | {error} | {answered} |")
    return "\n".join(lines)


def of_claims(verdicts: Sequence[Verdict]) -> str:
    """How many statements of the paper became what, and ours apart from them."""
    if not verdicts:
        return "No claim of the paper is judged by these runs."
    paper = [v for v in verdicts if not v.claim.is_ours]
    total = sum(not claim.is_ours for claim in list_claims())
    text = (
        f"Of {total} statements of the paper these runs bear on {len(paper)}: "
        f"{', '.join(f'{sum(v.word == word for v in paper)} {word}' for word in WORDS)}."
    )
    ours = [f"{QUOTED.format(v.claim.says)}, {v.word}" for v in verdicts if v.claim.is_ours]
    return f"{text} Of our own: {'; '.join(ours)}." if ours else text


QUOTED = "“{}”"
WORDS = ("confirmed", "contradicted", "not decided")


def enumerated(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def unfinished(studies: Sequence[Study]) -> list[str]:
    """A sentence where a run that was asked for has no result that can be averaged."""
    asked, done = runs(studies), runs(studies, State.DONE)
    if asked == done:
        return []
    others = [(state, len(runs(studies, state) - done)) for state in NOT_DONE]
    counts = ", ".join(f"{n} {state}" for state, n in others if n)
    return [f"The study is not finished: {len(done)} of {len(asked)} runs are done ({counts})."]


NOT_DONE = (State.MISSING, State.DIVERGED, *REFUSED)


def words(verdicts: Sequence[Verdict]) -> str:
    """In Markdown, a line a claim: what it says, and the word; "" for none."""
    return "\n".join(f"- {v.claim.says} ({v.claim.source}): {word(v)}" for v in verdicts)


def word(verdict: Verdict) -> str:
    return verdict.word if verdict.word == "not decided" else f"**{verdict.word}**"


def table(verdicts: Sequence[Verdict]) -> str:
    """In Markdown, a row a claim: what it says, the word, the comparisons behind it; "" for none.

    A comparison's own word follows it where it is not that of the claim.
    """
    lines = ["| the paper's claim | verdict | measured, and the paper's |", "|---|---|---|"]
    for v in verdicts:
        evidence = "<br>".join(said(v, finding) for finding in v.findings)
        lines.append(f"| {v.claim.says} ({v.claim.source}) | {word(v)} | {evidence} |")
    return "\n".join(lines) if verdicts else ""
