"""Writes everything that is made of records: RESULTS/tables and RESULTS/figures."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.figures.drawing import Drawing, draw
from analysis.figures.kinds import OF_A_GROUP
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
# Further tables of a study: end of the name, end of the title, its numbers, what writes them out.
FURTHER = (
    ("secondary", "secondary outcomes", secondary.numbers, secondary),
    ("slope", "by length", lengths.numbers, lengths),
    ("effects", "effects", crossed.effects, crossed),
    ("interventions", "what is lost with other gates", replaced.rises, replaced),
)


def tables_of(study: Study, known: Known | None = None) -> dict[str, Table]:
    """Returns name of a file -> a table of a study.

    The tables of studies in `known` are not computed again, and new ones are added there.
    """
    known = {} if known is None else known
    if study.name not in known:
        known[study.name] = _compute_tables(study)
    return known[study.name]


def _compute_tables(study: Study) -> dict[str, Table]:
    first = tabled.title(study), tabled.as_text(study), notes(study), tabled.numbers(study)
    found: dict[str, Table] = {study.name: first}
    for end, of, numbers, module in FURTHER:
        if len(table := numbers(study)):
            shown, lines = module.as_text(study, table), module.notes(study, table)
            found[f"{study.name}-{end}"] = f"{study.asked.title}: {of}", shown, lines, table
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
    found, texts, title = {}, [], "What the records say of the paper's claims"
    for group, some in verdicts(studies).items():
        name, lines = f"claims-{'-'.join(group)}", claimed.notes(group)
        found[name] = title, claimed.as_text(some), lines, claimed.numbers(some)
        texts.append("\n".join(["", claimed.text(some), "", *lines]))
    nothing = "no claim is judged: demonstrations and CIFAR-10 mini feed none"
    return write_tables(found, results), "\n".join(texts) or nothing


def verdicts(studies: Sequence[Study]) -> dict[Group, list[Verdict]]:
    found: dict[Group, list[Verdict]] = {}
    for verdict in judge(studies):
        found.setdefault(verdict.group, []).append(verdict)
    return found


def figures(
    studies: Sequence[Study], results: Path, neighbours: Sequence[Study] = ()
) -> list[Path]:
    """Draws the figures of `studies` that are missing or whose records changed; returns all files.

    `neighbours` are other studies, which have a place in the forest plots that `studies` are in,
    and after which networks that they share may be called.
    """
    folder = results / "figures"
    together = [*studies, *neighbours]
    names, groups = subjects(together), by_group(together)
    drawings = [Drawing(study.name, [study], save, ("study", study, folder)) for study in studies]
    for cell in subjects(studies):
        study, row = names[cell]
        drawings.append(Drawing(cell, [study], save, ("gates", cell, study, row, folder)))
    for group in by_group(studies):
        for kind in OF_A_GROUP:
            name, some = f"{kind}-{'-'.join(group)}", groups[group]
            drawings.append(Drawing(name, some, save, (kind, some, folder, name)))
    return draw(drawings, folder)


def save(module: str, *arguments: Any) -> list[Path]:
    """Draws by a module of analysis.figures; it imports matplotlib here, which takes a second."""
    return import_module(f"analysis.figures.{module}").save(*arguments)


def summary(studies: Sequence[Study], results: Path) -> str:
    """Says in words what was written: a list of files would hide the tables that were printed."""
    names = ", ".join(study.name for study in studies) if len(studies) < 4 else "all studies"
    return f"tables and figures of {names} in {results / 'tables'} and {results / 'figures'}"
