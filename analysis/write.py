"""Everything that is made of records, as files: RESULTS/tables and RESULTS/figures."""

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pandas as pd

from analysis import claims as claimed
from analysis import effects as crossed
from analysis import interventions as replaced
from analysis import tables as tabled
from analysis.notes import notes
from analysis.records import Group, Study, by_group

WORTH_IT = 4  # studies for each process: it takes three seconds to start

Table = tuple[str, pd.DataFrame, list[str], pd.DataFrame]  # title, as text, notes, as numbers
Known = dict[str, dict[str, Table]]  # name of a study -> its tables: Dunnett's test takes its time


def tables_of(study: Study, known: Known | None = None) -> dict[str, Table]:
    """Name of a file -> a table of a study.

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


def texts(studies: Sequence[Study], known: Known | None = None) -> list[str]:
    """Every study's first table for the terminal."""
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


def figures(
    studies: Sequence[Study], results: Path, neighbours: Sequence[Study] = ()
) -> list[Path]:
    """Draws all figures; many studies on all cores.

    Args:
        neighbours: other studies, which have a place in the forest plots that `studies` are in, and
            after which networks that they share may be called.
    """
    from analysis import cells, forest  # matplotlib takes a second, and tables do without it
    from analysis import figures as drawn

    folder = results / "figures"
    jobs: list[tuple] = [(drawn.save, study, folder) for study in studies]
    together = [*studies, *neighbours]
    names, groups = cells.subjects(together), by_group(together)
    jobs += [(cells.save, cell, *names[cell], folder) for cell in cells.subjects(studies)]
    for group in by_group(studies):
        if forest.lines(some := groups[group]):
            jobs.append((forest.save, some, folder, f"forest-{'-'.join(group)}"))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    workers = min(cores, len(jobs) // WORTH_IT)
    if workers < 2:
        return [path for function, *arguments in jobs for path in function(*arguments)]
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        tasks = [pool.submit(*job) for job in jobs]
        return [path for task in tasks for path in task.result()]


def summary(studies: Sequence[Study], results: Path) -> str:
    """What was written, in words: a list of files would hide the tables that were printed."""
    names = ", ".join(study.name for study in studies) if len(studies) < 4 else "all studies"
    return f"tables and figures of {names} in {results / 'tables'} and {results / 'figures'}"
