"""One page with all there is: RESULTS/report.html, which needs no other file."""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import pandas as pd

from analysis import cells, claims
from analysis import figures as drawn
from analysis.claims import Verdict
from analysis.comparisons import MARGINS
from analysis.records import Group, Study, by_group
from analysis.write import Table, tables_of, verdicts
from experiments.files import write_atomically

TEMPLATE = "report.html.jinja"


@dataclass(frozen=True)
class Picture:
    """A figure as it stands in the page.

    kind  of figure, which is the end of its file's name
    data  the PNG, base64
    """

    kind: str
    data: str


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
    forest: list[Picture]
    verdicts: list[Verdict]
    notes: list[str]
    margin: float
    sections: list[Section]
    provenance: pd.DataFrame


def write(studies: Sequence[Study], results: Path, figures: Iterable[Path]) -> Path:
    """Writes the page.

    Args:
        figures: those that belong in it, as `analysis.write.figures` returns them.
    """
    path = results / "report.html"
    page = render(studies, [figure for figure in figures if figure.suffix == ".png"])
    write_atomically(path, lambda file: file.write(page.encode()))
    return path


def render(studies: Sequence[Study], figures: list[Path]) -> str:
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    groups = by_group(studies)
    changed = [study for study in studies if study.asked["settings"]]
    chapters = [chapter(group, some, figures) for group, some in groups.items()]
    return environment.get_template(TEMPLATE).render(
        chapters=chapters,
        changed=[section(study, figures) for study in changed],
        warnings=[reason for study in studies for reason in study.damaged],
    )


def chapter(group: Group, studies: Sequence[Study], figures: list[Path]) -> Chapter:
    name = "-".join(group)
    gates = [
        Section(
            f"gates-{cell}",
            f"The gates of {row!r} ({study.asked['title']})",
            {},
            [],
            pictures(figures, cell),
        )
        for cell, (study, row) in cells.subjects(studies).items()
    ]
    return Chapter(
        group,
        [p for p in pictures(figures, "forest") if p.kind == f"forest-{name}"],
        verdicts(studies).get(group, []),
        claims.notes(group) if group[0] in MARGINS else [],
        MARGINS.get(group[0], 0.0),
        [section(study, figures) for study in studies] + gates,
        provenance(studies),
    )


def section(study: Study, figures: list[Path]) -> Section:
    asked = {
        "Asked": study.asked["about"],
        "Expected": study.asked["expected"],
        "Command": study.asked["command"],
    }
    found = tables_of(study)
    return Section(
        study.name,
        study.asked["title"],
        {key: text for key, text in asked.items() if text},
        list(found.values()),
        pictures(figures, study.name),
    )


def pictures(figures: list[Path], name: str) -> list[Picture]:
    """The figures of a study or cell: those whose file's name begins with it."""
    return [
        Picture(path.stem if name == "forest" else path.stem.removeprefix(f"{name}-"), encode(path))
        for path in figures
        if path.stem.startswith(f"{name}-")
        and (name == "forest" or path.stem.removeprefix(f"{name}-") in KINDS)
    ]


KINDS = {*drawn.FIGURES, *cells.TITLES}


def encode(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def provenance(studies: Sequence[Study]) -> pd.DataFrame:
    """Where the numbers come from: what the runs' env.json say, each value with its runs."""
    frames = [study.runs[study.runs.state.isin(["done", "diverged"])] for study in studies]
    runs = pd.concat(frames)
    runs = runs[~runs.path.duplicated()]
    if runs.empty:
        return pd.DataFrame(columns=["what", "value"])
    rows = [("runs", f"{len(runs):,}")]
    if "env.seconds" in runs:
        rows.append(("training time", f"{runs['env.seconds'].sum() / 3600:.1f} hours of one run"))
    if "env.started" in runs and len(days := runs["env.started"].dropna().str[:10]):
        rows.append(("trained", f"{days.min()} to {days.max()}"))
    names = ("data", "commit", "python", "torch", "torchvision", "processor", "device", "precision")
    for name in names:
        if f"env.{name}" in runs:
            counts = runs[f"env.{name}"].dropna().astype(str).value_counts(sort=False)
            texts = [f"{v} ({n} runs)" if len(counts) > 1 else v for v, n in counts.items()]
            rows.append((name, ", ".join(texts)))
    return pd.DataFrame(rows, columns=["what", "value"])
