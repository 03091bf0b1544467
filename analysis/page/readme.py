"""The parts of the README that are computed: the answer, its figure and verdicts, its limits.

They stand between markers, <!-- published --> and <!-- end of published -->, and are written by
`make paper` where the records are those of results/published.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from analysis.figures.forest import lines
from analysis.figures.kinds import CAPTION
from analysis.load import Group, Study, by_group
from analysis.page import answer
from analysis.page.limits import limits
from analysis.statistics.claims import Verdict, notes
from analysis.statistics.lengths import series
from analysis.write import verdicts
from experiments.records.config import ConfigError
from experiments.records.files import write_text

ROOT = Path(__file__).resolve().parents[2]
Judged = dict[Group, list[Verdict]]
README, HOME = ROOT / "README.md", Path("results/published")  # where the study lives
DEMO = """\
![Every variant's difference from its reference, with intervals and the paper's beside it](docs/forest-demo.png)

*The study is not finished: nothing is answered yet. This is what the ablations drew on CIFAR-10 with
their recipe for a laptop, `demo`, and one seed: a demonstration of how it works, from which nothing
can be ranked. Filled is ours, hollow the paper's (on ImageNet).*
"""  # noqa: E501


def is_published(results: Path) -> bool:
    """Whether RESULTS is where this checkout keeps its study."""
    return results.resolve() == ROOT / HOME


def parts(studies: Sequence[Study]) -> dict[str, str]:
    """Name of a marker -> what stands between the two, from the studies of results/published."""
    group = answer.headline(studies)
    if group is None:
        return {"published": DEMO, "limits": "The study is not finished: nothing is published.\n"}
    groups, judged = by_group(studies), {group: []} | verdicts(studies)
    bounds = limits(group, groups[group], judged[group])
    return {
        "published": opening(group, groups, judged),
        "limits": "".join(f"- **{about}.** {text}\n" for about, text in bounds),
    }


def opening(group: Group, groups: dict[Group, list[Study]], judged: Judged) -> str:
    """The answer, the forest plot, the verdicts, the other answers, and where the rest is."""

    def answered(group: Group) -> str:
        return " ".join(answer.sentences(group, groups[group], judged[group]))

    forest = [
        "![Every variant's difference from its reference, with intervals and the paper's beside it]"
        f"({HOME}/figures/forest-{'-'.join(group)}.png)",
        f"*{CAPTION}*",
    ]
    across = [
        "![Error against the length of the training, and what differs at each length]"
        f"({HOME}/figures/{study.name}-budget.png)"
        for study in groups[group]
        if series(study) and len(study.done)
    ]
    texts = [
        answered(group),
        answer.opening(groups[group]),
        *(across or (forest if lines(groups[group]) else [])),
        answer.table(judged[group]),
        " ".join(notes(group)),
        *(answered(other) for other in judged if other != group),
        f"All of it: [the report]({HOME}/report.html), a page to download; "
        f"[the tables]({HOME}/tables); [one row a run]({HOME}/runs.csv) and "
        f"[what its columns hold]({HOME}/runs.md).",
    ]
    return "\n\n".join(text for text in texts if text) + "\n"


def filled(text: str, parts: dict[str, str]) -> str:
    """A text with other parts between its markers. Raises ConfigError where a marker is missing."""
    for name, part in parts.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.S)
        if len(pattern.findall(text)) != 1:
            raise ConfigError(f"README.md: the markers {begin.strip()} and {end.strip()} are lost")
        text = pattern.sub(lambda _, new=begin + part + end: new, text)
    return text


def write(studies: Sequence[Study]) -> Path:
    """Writes the README of this checkout."""
    write_text(README, filled(README.read_text(encoding="utf-8"), parts(studies)))
    return README
