"""Computes parts of README.md and docs/findings.md: the answer, its figure, verdicts and limits.

They stand between markers, <!-- limits --> and <!-- end of limits -->, and are written by
`make paper` where the records are those of results/published.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis.figures.compared import lines
from analysis.figures.kinds import CAPTION
from analysis.groups import by_group
from analysis.page import answer, opening
from analysis.page.limits import Limit, brief, limits, seeds_in_words, trainings
from analysis.statistics.lengths import series
from analysis.statistics.verdicts import Verdict
from analysis.study import Study
from analysis.tables.claims import notes
from analysis.tables.study import TAG
from analysis.write import verdicts
from experiments.records.files import write_text
from experiments.records.parsing import ConfigError
from experiments.records.study_file import Group

ROOT = Path(__file__).resolve().parents[2]
README, FINDINGS = ROOT / "README.md", ROOT / "docs" / "findings.md"
HOME = Path("results/published")  # where the study lives
DEMO = """\
![Every variant's difference from its reference, with intervals and the paper's beside it]({to}forest-demo.png)

*The study is not finished: nothing is answered yet. This is what the ablations drew on CIFAR-10 with
their recipe for a laptop, `demo`, and one seed: a demonstration of how it works, from which nothing
can be ranked. Filled is ours, hollow the paper's (on ImageNet).*
"""  # noqa: E501


def is_published(results: Path) -> bool:
    """Tells whether RESULTS is where this checkout keeps its study."""
    return results.resolve() == ROOT / HOME


def parts(studies: Sequence[Study]) -> dict[Path, dict[str, str]]:
    """Maps page and name of a marker to the text there, from the studies of results/published."""
    group = answer.headline(studies)
    if group is None:
        nothing = "The study is not finished: nothing is published.\n"
        return {
            README: {"finding": DEMO.format(to="docs/"), "claims": nothing, "limits": nothing},
            FINDINGS: {"published": DEMO.format(to=""), "limits": nothing},
        }
    groups, judged = by_group(studies), {group: []} | verdicts(studies)
    members, said = groups[group], judged[group]
    others = [name for name in judged if name != group]
    findings = {
        "published": joined(
            " ".join(answer.sentences(group, members, said)),
            opening.in_markdown(members),
            *(pictures := picture(group, members, "../")),
            f"*{CAPTION}*" if any("/forest-" in one for one in pictures) else "",
            answer.table(said),
            " ".join(notes(group)),
            *(" ".join(answer.sentences(other, groups[other], judged[other])) for other in others),
        ),
        "limits": listed(limits(group, members, said)),
    }
    short = {
        "finding": joined(
            status(members),
            finding(group, members, said),
            opening.in_markdown(members),
            *picture(group, members, ""),
        ),
        "claims": joined(answer.words(said)),
        "limits": listed(brief(group, members)),
    }
    return {README: short, FINDINGS: findings}


def status(studies: Sequence[Study]) -> str:
    """Says in a line how the runs behind an answer were trained; "" where none is done."""
    done = pd.concat([study.done for study in studies])
    if done.empty:
        return ""
    devices = done["env.device"].where(done["env.device"] != "cpu", done["env.processor"])
    kinds = " and ".join(sorted(devices.dropna().unique()))
    return f"*Trained on {kinds}: {trainings(done)}, {seeds_in_words(studies)}.*"


def finding(group: Group, studies: Sequence[Study], verdicts: Sequence[Verdict]) -> str:
    """Says what was found, without the claims."""
    sentences = answer.sentences(group, studies, verdicts)
    return " ".join(text for text in sentences if text != answer.of_claims(verdicts))


def picture(group: Group, studies: Sequence[Study], up: str) -> list[str]:
    """Links the figures of the answer, each with a text that describes it.

    `up` leads from the page to this checkout.
    """
    across = [
        "![Error against the length of the training, and what differs at each length]"
        f"({up}{HOME}/figures/{study.name}-budget.png)"
        for study in studies
        if series(study) and len(study.done)
    ]
    forest = [
        "![Every variant's difference from its reference, with intervals and the paper's beside it]"
        f"({up}{HOME}/figures/forest-{'-'.join(group)}.png)"
    ]
    return across or (forest if lines(studies) else [])


def joined(*texts: str) -> str:
    """Joins paragraphs; HTML in a label is shown as plain text."""
    return TAG.sub("&lt;", "\n\n".join(text for text in texts if text) + "\n")


def listed(limits: Sequence[Limit]) -> str:
    return TAG.sub("&lt;", "".join(f"- **{about}.** {text}\n" for about, text in limits))


def filled(text: str, parts: dict[str, str]) -> str:
    """Replaces the parts of a text between its markers.

    Raises ConfigError where a marker is missing.
    """
    for name, part in parts.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.S)
        if len(pattern.findall(text)) != 1:
            raise ConfigError(f"the markers {begin.strip()} and {end.strip()} of a page are lost")
        text = pattern.sub(lambda _, new=begin + part + end: new, text)
    return text


def write(studies: Sequence[Study]) -> list[Path]:
    """Writes the computed parts of this checkout's pages."""
    for page, found in (pages := parts(studies)).items():
        write_text(page, filled(page.read_text(encoding="utf-8"), found))
    return list(pages)
