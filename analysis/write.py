"""Everything that is made of records, as files: RESULTS/tables and RESULTS/figures."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis import claims as claimed
from analysis import effects as crossed
from analysis import interventions as replaced
from analysis import tables as tabled
from analysis.notes import notes
from analysis.records import Group, Study, by_group

Table = tuple[str, pd.DataFrame, list[str], pd.DataFrame]  # title, as text, notes, as numbers


def tables_of(study: Study) -> dict[str, Table]:
    """Name of a file -> a table of a study."""
    found = {
        study.name: (
            tabled.title(study),
            tabled.cells(study),
            notes(study),
            tabled.numbers(study),
        )
    }
    if len(effects := crossed.effects(study)):
        text = crossed.notes(study, effects)
        found[f"{study.name}-effects"] = (
            f"{study.asked['title']}: effects", crossed.cells(effects), text, effects
        )  # fmt: skip
    if len(rises := replaced.rises(study)):
        found[f"{study.name}-interventions"] = (
            f"{study.asked['title']}: what is lost with other gates", replaced.cells(rises),
            replaced.notes(study, rises), rises,
        )  # fmt: skip
    return found


def texts(studies: Sequence[Study]) -> list[str]:
    """Every study's first table for the terminal."""
    return [
        "\n" + tabled.block(tabled.title(study), tabled.cells(study), notes(study))
        for study in studies
    ]


def tables(studies: Sequence[Study], results: Path) -> list[Path]:
    found = {name: table for study in studies for name, table in tables_of(study).items()}
    return write_tables(found, results)


def write_tables(found: dict[str, Table], results: Path) -> list[Path]:
    folder, paths = results / "tables", []
    if found:
        folder.mkdir(parents=True, exist_ok=True)
    for name, (title, shown, lines, numbers) in found.items():
        contents = {k: write(title, shown, lines) for k, write in tabled.WRITERS.items()}
        for suffix, content in (contents | {"csv": tabled.csv(numbers)}).items():
            paths.append(folder / f"{name}.{suffix}")
            paths[-1].write_text(content)
    return paths


def claims(studies: Sequence[Study], results: Path) -> tuple[list[Path], str]:
    """The verdicts as files, and as text."""
    texts = [
        "\n".join(["", claimed.text(some), "", *claimed.notes(group)])
        for group, some in verdicts(studies).items()
    ]
    nothing = "no claim is judged: demonstrations and synthetic data feed none"
    return write_tables(claims_of(studies), results), "\n".join(texts) or nothing


def verdicts(studies: Sequence[Study]) -> dict[Group, list[claimed.Verdict]]:
    found: dict[Group, list[claimed.Verdict]] = {}
    for verdict in claimed.judge(studies):
        found.setdefault(verdict.group, []).append(verdict)
    return found


def claims_of(studies: Sequence[Study]) -> dict[str, Table]:
    """Name of a file -> the verdicts on one data set, network and recipe."""
    return {
        f"claims-{'-'.join(group)}": (
            "What the records say of the paper's claims", claimed.cells(some),
            claimed.notes(group), claimed.numbers(some),
        )
        for group, some in verdicts(studies).items()
    }  # fmt: skip


def figures(studies: Sequence[Study], results: Path) -> list[Path]:
    import matplotlib  # takes a second, and tables do without it

    from analysis import cells
    from analysis import figures as drawn
    from analysis.forest import forest, lines
    from analysis.style import STYLE
    from analysis.style import write as write_figure

    folder = results / "figures"
    paths = [path for study in studies for path in drawn.save(study, folder)]
    paths += cells.save(studies, folder)
    with matplotlib.rc_context(STYLE):
        for group, some in by_group(studies).items():
            if lines(some):
                paths += write_figure(forest(some), folder, f"forest-{'-'.join(group)}")
    return paths


def summary(studies: Sequence[Study], results: Path) -> str:
    """What was written, in words: a list of files would hide the tables that were printed."""
    names = ", ".join(study.name for study in studies) if len(studies) < 4 else "all studies"
    return f"tables and figures of {names} in {results / 'tables'} and {results / 'figures'}"
