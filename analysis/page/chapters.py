"""Gathers what the page shows of a group of studies: chapters, and a section for each study."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.figures.kinds import KINDS, MAIN, OF_A_GROUP, TITLES
from analysis.figures.subjects import subjects
from analysis.page import captions, explore, gate_captions, pictures
from analysis.page.answer import NAMES, found, sentences
from analysis.page.captions import Caption
from analysis.page.limits import Limit, limits
from analysis.page.opening import opening
from analysis.page.pictures import Picture
from analysis.statistics.comparisons import MARGINS, is_judged
from analysis.statistics.verdicts import Verdict
from analysis.study import Study
from analysis.tables import claims
from analysis.write import Known, Table, tables_of, verdicts
from experiments.records.states import FINISHED
from experiments.records.study_file import Group

GATE_FIGURES = ("figure6", "specificity", "interventions")  # of those of gates, which are pictures
LINKED = ("curves", "cost", "tuning")  # figures of a study of which the page has but links


@dataclass(frozen=True)
class Section:
    """Holds what the page shows of a study.

    main      its one figure
    charts    what the page can draw of it, its main figure first
    seen      chart -> what is seen in it
    others    further figures, in folds
    links     kind of figure -> its files beside the page
    by_epoch  the curves as numbers
    notes     what has to be known of this study alone
    """

    anchor: str
    title: str
    asked: dict[str, str]
    tables: list[Table]
    main: Picture | None
    charts: list[str]
    seen: dict[str, str]
    others: list[Picture]
    links: dict[str, list[str]]
    by_epoch: pd.DataFrame
    notes: list[str]


@dataclass(frozen=True)
class Chapter:
    """Holds what the page shows of one data set, network and recipe.

    outcomes  links to the figure of the secondary outcomes
    common    notes that all of its studies share
    linked    title -> what follows from a further figure of the gates, and links to it
    """

    group: Group
    title: str
    answer: list[str]
    opening: pd.DataFrame
    forest: Picture | None
    outcomes: list[str]
    verdicts: list[Verdict]
    notes: list[str]
    common: list[str]
    margin: float
    sections: list[Section]
    gates: list[Picture]
    linked: dict[str, tuple[str, list[str]]]
    explorer: bool
    limits: list[Limit]
    provenance: pd.DataFrame


def chapter(
    group: Group,
    studies: Sequence[Study],
    figures: dict[str, Path],
    known: Known,
    gates: Sequence[dict[str, Any]],
    pictured: Sequence[str] = GATE_FIGURES,
) -> Chapter:
    """Gathers what the page shows of a group.

    Args:
        known: tables that were computed before, as for `tables_of`.
        gates: of networks of any group, for the explorer.
        pictured: the figures of gates that are pictures; of the others there are links.
    """
    judged = verdicts(studies).get(group, [])
    all_notes = [set(tables_of(study, known)[study.name][2]) for study in studies]
    common = set.intersection(*all_notes) if len(studies) > 1 else set()
    forest, outcomes = (figures.get(f"{kind}-{'-'.join(group)}") for kind in OF_A_GROUP)
    dataset, network, recipe = group
    networks = "several networks" if network == "all" else network
    cells = {cell for study in studies for cell in study.cells.values()}
    return Chapter(
        group=group,
        title=f"{NAMES.get(dataset, dataset)}, {networks}, {recipe}",
        answer=sentences(group, studies, judged) if any(map(is_judged, studies)) else [],
        opening=opening(studies),
        forest=pictures.read("forest", forest, captions.forest(studies)) if forest else None,
        outcomes=pictures.links(outcomes) if outcomes else [],
        verdicts=judged,
        notes=claims.notes(group) if dataset in MARGINS else [],
        common=[
            note for note in tables_of(studies[0], known)[studies[0].name][2] if note in common
        ],
        margin=MARGINS.get(dataset, 0.0),
        sections=[section(study, figures, known, common, judged) for study in studies],
        gates=_gate_pictures(studies, figures, pictured),
        linked={
            f"{TITLES[kind]}: {row}": (words(kind, study, row).text, pictures.links(path))
            for kind, study, row, path in _figures_of_gates(studies, figures)
            if kind not in pictured
        },
        explorer=bool(pictured) and any(network["cell"] in cells for network in gates),
        limits=limits(group, studies, judged),
        provenance=provenance(studies),
    )


def section(
    study: Study,
    figures: dict[str, Path],
    known: Known,
    common: set[str],
    judged: Sequence[Verdict] = (),
) -> Section:
    """Gathers what the page shows of a study.

    Args:
        common: notes that stand elsewhere on the page.
        judged: the verdicts on the claims of its group.
    """
    asked = {
        "Asked": study.asked.about,
        "Expected": study.asked.expected,
        "Found": found(study, verdicts=judged),
        "Command": study.asked.command,
    }
    paths = {kind: figures.get(f"{study.name}-{kind}") for kind in KINDS}
    there = {kind: path for kind, path in paths.items() if path}
    drawn = {
        kind: pictures.read(kind, path, captions.of_study(kind, study))
        for kind, path in there.items()
        if kind not in LINKED
    }
    main = next((drawn.pop(kind) for kind in MAIN if kind in drawn), None)
    tables = list(tables_of(study, known).values())
    charts = [kind for kind in ("errors", "ratio", "cost") if kind in there]
    return Section(
        anchor=study.name,
        title=study.asked.title,
        asked={key: text for key, text in asked.items() if text},
        tables=tables,
        main=main,
        charts=charts if main and main.kind in charts else [],
        seen=captions.seen(study),
        others=list(drawn.values()),
        links={kind: pictures.links(path) for kind, path in there.items()},
        by_epoch=explore.by_epoch(study),
        notes=[note for note in tables[0][2] if note not in common],
    )


def has_gates(studies: Sequence[Study], figures: dict[str, Path]) -> bool:
    """Tells whether there are figures of the gates of a group."""
    return any(f"{cell}-{kind}" in figures for cell in subjects(studies) for kind in GATE_FIGURES)


def _gate_pictures(
    studies: Sequence[Study], figures: dict[str, Path], kinds: Sequence[str]
) -> list[Picture]:
    """Returns the figures of gates of these kinds, for each network whose gates are drawn."""
    return [
        pictures.read(kind, path, words(kind, study, row), f"{TITLES[kind]}: {row}")
        for kind, study, row, path in _figures_of_gates(studies, figures)
        if kind in kinds
    ]


def _figures_of_gates(
    studies: Sequence[Study], figures: dict[str, Path]
) -> Iterator[tuple[str, Study, str, Path]]:
    """Yields kind, study, row and path of each figure of gates that is drawn."""
    for cell, (study, row) in subjects(studies).items():
        for kind in TITLES:
            if path := figures.get(f"{cell}-{kind}"):
                yield kind, study, row, path


def words(kind: str, study: Study, row: str) -> Caption:
    return gate_captions.of_gates(kind, study, row, study.gate(row))


def provenance(studies: Sequence[Study]) -> pd.DataFrame:
    """Lists where the numbers come from: what the runs' env.json say, each value with its runs."""
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
