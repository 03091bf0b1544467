"""Writes everything that is made of records: RESULTS/tables and RESULTS/figures."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis.figures.drawing import Drawing, draw
from analysis.figures.subjects import subjects
from analysis.groups import by_group
from analysis.statistics import effects as crossed
from analysis.statistics import interventions as replaced
from analysis.statistics import lengths, secondary
from analysis.statistics.verdicts import Verdict, judge
from analysis.study import Study
from analysis.tables import claims as claimed
from analysis.tables import study as tabled
from analysis.tables.notes import notes
from experiments.records.files import write_text
from experiments.records.study_file import Group

Table = tuple[str, pd.DataFrame, list[str], pd.DataFrame]  # title, as text, notes, as numbers
Known = dict[str, dict[str, Table]]  # name of a study -> its tables


def tables_of(study: Study, known: Known | None = None) -> dict[str, Table]:
    """Returns name of a file -> a table of a study.

    Args:
        known: the tables of studies that are there are not computed again, and new ones are added.
    """
    known = {} if known is None else known
    if study.name not in known:
        known[study.name] = compute_tables(study)
    return known[study.name]


def compute_tables(study: Study) -> dict[str, Table]:
    found = {
        study.name: (
            tabled.title(study),
            tabled.cells(study),
            notes(study),
            tabled.numbers(study),
        )
    }
    if "ece" in secondary.measured(study):
        found[f"{study.name}-secondary"] = (
            f"{study.asked.title}: secondary outcomes", secondary.cells(study),
            secondary.notes(study), secondary.numbers(study),
        )  # fmt: skip
    if len(differences := lengths.numbers(study)):
        found[f"{study.name}-slope"] = (
            f"{study.asked.title}: by length", lengths.cells(study), lengths.NOTES, differences
        )  # fmt: skip
    if len(effects := crossed.effects(study)):
        text = crossed.notes(study, effects)
        found[f"{study.name}-effects"] = (
            f"{study.asked.title}: effects", crossed.cells(effects), text, effects
        )  # fmt: skip
    if len(rises := replaced.rises(study)):
        found[f"{study.name}-interventions"] = (
            f"{study.asked.title}: what is lost with other gates", replaced.cells(rises),
            replaced.notes(study, rises), rises,
        )  # fmt: skip
    return found


def texts(studies: Sequence[Study], known: Known | None = None) -> list[str]:
    """Returns every study's first table for the terminal."""
    first = [tables_of(study, known)[study.name] for study in studies]
    return ["\n" + tabled.block(title, shown, lines) for title, shown, lines, _ in first]


def tables(studies: Sequence[Study], results: Path, known: Known | None = None) -> list[Path]:
    found = {n: table for study in studies for n, table in tables_of(study, known).items()}
    return write_tables(found, results)


def write_tables(found: dict[str, Table], results: Path) -> list[Path]:
    folder, paths = results / "tables", []
    if found:
        folder.mkdir(parents=True, exist_ok=True)
    for name, (title, shown, lines, numbers) in found.items():
        contents = {
            "md": tabled.markdown(title, shown, lines),
            "tex": tabled.latex(title, shown, lines, name),
            "csv": tabled.csv(numbers),
        }
        for suffix, content in contents.items():
            paths.append(folder / f"{name}.{suffix}")
            write_text(paths[-1], content)
    return paths


def claims(studies: Sequence[Study], results: Path) -> tuple[list[Path], str]:
    """Writes the verdicts as files, and returns their paths and the verdicts as text."""
    texts = [
        "\n".join(["", claimed.text(some), "", *claimed.notes(group)])
        for group, some in verdicts(studies).items()
    ]
    nothing = "no claim is judged: demonstrations and CIFAR-10 mini feed none"
    return write_tables(claims_of(studies), results), "\n".join(texts) or nothing


def verdicts(studies: Sequence[Study]) -> dict[Group, list[Verdict]]:
    found: dict[Group, list[Verdict]] = {}
    for verdict in judge(studies):
        found.setdefault(verdict.group, []).append(verdict)
    return found


def claims_of(studies: Sequence[Study]) -> dict[str, Table]:
    """Returns name of a file -> the verdicts on one data set, network and recipe."""
    return {
        f"claims-{'-'.join(group)}": (
            "What the records say of the paper's claims", claimed.cells(some),
            claimed.notes(group), claimed.numbers(some),
        )
        for group, some in verdicts(studies).items()
    }  # fmt: skip


def figures(
    studies: Sequence[Study], results: Path, neighbours: Sequence[Study] = ()
) -> list[Path]:
    """Draws the figures that are not there or whose records have changed.

    Args:
        neighbours: other studies, which have a place in the forest plots that `studies` are in, and
            after which networks that they share may be called.

    Returns:
        The files of all figures of `studies`.
    """
    folder = results / "figures"
    together = [*studies, *neighbours]
    names, groups = subjects(together), by_group(together)
    drawings = [Drawing(study.name, [study], draw_study, (study, folder)) for study in studies]
    for cell in subjects(studies):
        study, row = names[cell]
        drawings.append(Drawing(cell, [study], draw_gates, (cell, study, row, folder)))
    for group in by_group(studies):
        name, some = f"forest-{'-'.join(group)}", groups[group]
        drawings.append(Drawing(name, some, draw_forest, (some, folder, name)))
        name = f"outcomes-{'-'.join(group)}"
        drawings.append(Drawing(name, some, draw_outcomes, (some, folder, name)))
    return draw(drawings, folder)


# matplotlib takes a second to import: only where something is drawn.


def draw_study(study: Study, folder: Path) -> list[Path]:
    from analysis.figures.study import save

    return save(study, folder)


def draw_gates(cell: str, study: Study, row: str, folder: Path) -> list[Path]:
    from analysis.figures.gates import save

    return save(cell, study, row, folder)


def draw_forest(studies: Sequence[Study], folder: Path, name: str) -> list[Path]:
    from analysis.figures.compared import lines
    from analysis.figures.forest import save

    return save(studies, folder, name) if lines(studies) else []


def draw_outcomes(studies: Sequence[Study], folder: Path, name: str) -> list[Path]:
    from analysis.figures.outcomes import save

    return save(studies, folder, name) if secondary.compared_in(studies) else []


def summary(studies: Sequence[Study], results: Path) -> str:
    """Says in words what was written: a list of files would hide the tables that were printed."""
    names = ", ".join(study.name for study in studies) if len(studies) < 4 else "all studies"
    return f"tables and figures of {names} in {results / 'tables'} and {results / 'figures'}"
