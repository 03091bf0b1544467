"""One page with all there is: RESULTS/report.html, which needs no other file."""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
import pandas as pd

from analysis.figures.kinds import BEHIND, CAPTION, KINDS
from analysis.figures.subjects import subjects
from analysis.load import Study, by_group, in_the_papers_order
from analysis.page.answer import found, sentences
from analysis.page.limits import Limit, limits
from analysis.statistics import claims
from analysis.statistics.claims import Verdict
from analysis.statistics.comparisons import MARGINS
from analysis.write import Known, Table, tables_of, verdicts
from experiments.records.files import write_atomically
from experiments.records.states import FINISHED
from experiments.records.study_file import Group

if TYPE_CHECKING:
    from analysis.page.progress import UnderWay

NAME = "report.html"
TEMPLATE = "report.html.jinja"
REFRESH = 5  # seconds after which a browser reads the page of a grid that is under way again


@dataclass(frozen=True)
class Picture:
    """A figure as it stands in the page.

    kind           of figure, which is the end of its file's name
    data           the PNG, base64
    width, height  in pixels: a browser keeps its place, so that a refresh does not move the page
    """

    kind: str
    data: str
    width: int
    height: int


@dataclass(frozen=True)
class Section:
    """A study, or the gates of one network."""

    anchor: str
    title: str
    asked: dict[str, str]
    tables: list[Table]
    pictures: list[Picture]


@dataclass(frozen=True)
class Chapter:
    """All of one data set, network and recipe."""

    group: Group
    answer: list[str]
    forest: list[Picture]
    outcomes: list[Picture]
    verdicts: list[Verdict]
    notes: list[str]
    margin: float
    sections: list[Section]
    limits: list[Limit]
    provenance: pd.DataFrame


def write(
    studies: Sequence[Study],
    results: Path,
    figures: Iterable[Path],
    known: Known | None = None,
    under_way: "UnderWay | None" = None,
) -> Path:
    """Writes the page.

    Args:
        figures: those that belong in it, as `analysis.write.figures` returns them.
        known: tables that were computed before, as for `tables_of`.
        under_way: what stands above all else while a grid runs.
    """
    path = results / NAME
    page = render(studies, figures, known, under_way)
    write_atomically(path, lambda file: file.write(page.encode()))
    return path


def render(
    studies: Sequence[Study],
    figures: Iterable[Path],
    known: Known | None = None,
    under_way: "UnderWay | None" = None,
) -> str:
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    there = {path.stem: path for path in figures if path.suffix == ".png"}
    known = {} if known is None else known
    changed = [s for s in sorted(studies, key=in_the_papers_order) if s.asked.settings]
    return environment.get_template(TEMPLATE).render(
        under_way=under_way,
        refresh=REFRESH,
        chapters=[chapter(g, some, there, known) for g, some in by_group(studies).items()],
        changed=[section(study, there, known) for study in changed],
        forest_caption=CAPTION,
        outcomes_caption=BEHIND,
        warnings=dict.fromkeys(reason for study in studies for reason in study.damaged),
    )


def chapter(
    group: Group, studies: Sequence[Study], figures: dict[str, Path], known: Known
) -> Chapter:
    gates = [
        Section(
            f"gates-{cell}",
            f"The gates of {row!r} ({study.asked.title})",
            {},
            [],
            pictures(figures, cell),
        )
        for cell, (study, row) in subjects(studies).items()
    ]
    judged = verdicts(studies).get(group, [])

    def whole(kind: str) -> list[Picture]:
        path = figures.get(f"{kind}-{'-'.join(group)}")
        return [picture(kind, path.read_bytes())] if path else []

    return Chapter(
        group,
        sentences(group, studies, judged) if judged else [],
        whole("forest"),
        whole("outcomes"),
        judged,
        claims.notes(group) if group[0] in MARGINS else [],
        MARGINS.get(group[0], 0.0),
        [section(study, figures, known) for study in studies] + gates,
        limits(group, studies, judged),
        provenance(studies),
    )


def section(study: Study, figures: dict[str, Path], known: Known) -> Section:
    asked = {
        "Asked": study.asked.about,
        "Expected": study.asked.expected,
        "Found": found(study),
        "Command": study.asked.command,
    }
    return Section(
        study.name,
        study.asked.title,
        {key: text for key, text in asked.items() if text},
        list(tables_of(study, known).values()),
        pictures(figures, study.name),
    )


def pictures(figures: dict[str, Path], name: str) -> list[Picture]:
    """The figures of a study or cell.

    Args:
        figures: by the names of their files, `<study or cell>-<kind>`.
    """
    paths = {kind: figures.get(f"{name}-{kind}") for kind in KINDS}
    return [picture(kind, path.read_bytes()) for kind, path in paths.items() if path]


def picture(kind: str, png: bytes) -> Picture:
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    return Picture(kind, base64.b64encode(png).decode(), width, height)


def figures_there(studies: Sequence[Study], results: Path) -> list[Path]:
    """The figures of these studies, of their gates and groups, that were drawn before."""
    groups = by_group(studies)
    names = [f"{study.name}-{kind}" for study in studies for kind in KINDS]
    names += [f"{cell}-{kind}" for cell in subjects(studies) for kind in KINDS]
    names += [f"{kind}-{'-'.join(group)}" for group in groups for kind in ("forest", "outcomes")]
    paths = [results / "figures" / f"{name}.png" for name in names]
    return [path for path in paths if path.exists()]


def provenance(studies: Sequence[Study]) -> pd.DataFrame:
    """Where the numbers come from: what the runs' env.json say, each value with its runs."""
    frames = [study.runs[study.runs.state.isin(FINISHED)] for study in studies]
    runs = pd.concat(frames)
    runs = runs[~runs.path.duplicated()]
    if runs.empty:
        return pd.DataFrame(columns=["what", "value"])
    rows = [("runs", f"{len(runs):,}")]
    if "env.seconds" in runs:
        rows.append(
            ("training time", f"{runs['env.seconds'].sum() / 3600:.1f} hours, all runs added up")
        )
    if "env.started" in runs and len(days := runs["env.started"].dropna().str[:10]):
        rows.append(("trained", f"{days.min()} to {days.max()}"))
    names = ("data", "commit", "python", "torch", "torchvision", "processor", "device")
    names += ("precision", "step")
    for name in names:
        if f"env.{name}" in runs:
            counts = runs[f"env.{name}"].dropna().astype(str).value_counts(sort=False)
            texts = [f"{v} ({n} runs)" if len(counts) > 1 else v for v, n in counts.items()]
            rows.append((name, ", ".join(texts)))
    return pd.DataFrame(rows, columns=["what", "value"])
