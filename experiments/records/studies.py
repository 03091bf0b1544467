"""Reads and writes the files of studies, RESULTS/studies/<name>.json."""

import os
from pathlib import Path
from typing import Any

from experiments.records.files import read_maybe_sealed, write_sealed
from experiments.records.lock import wait_for
from experiments.records.parsing import ConfigError, parse
from experiments.records.study_file import StudyFile, Tried


def read_study(path: Path) -> StudyFile:
    """Reads what was asked for. Raises ConfigError, which names the file.

    A file of an older version has no checksum: it is read, where all in it makes sense. No such
    version wrote `arithmetic`.
    """
    data = read_maybe_sealed(path, newer="arithmetic")
    study = parse(StudyFile, data, f"{path} was edited or damaged")
    if study.name != path.stem:
        raise ConfigError(f"{path} was edited or renamed: it describes {study.name!r}")
    return study


def read_studies(results: Path, lost: list[str] | None = None) -> list[StudyFile]:
    """Reads all that was asked for in RESULTS, by name.

    A file that cannot be read is left out, and `lost` gets a sentence on it. Raises ConfigError
    where there is no `lost`, or no file can be read.
    """
    studies, reasons = [], []
    for path in sorted((results / "studies").glob("*.json")):
        try:
            studies.append(read_study(path))
        except ConfigError as error:
            reasons.append(str(error))
    if reasons and (lost is None or not studies):
        raise ConfigError(reasons[0])
    if lost is not None:
        lost += reasons
    return studies


def write_study(results: Path, study: StudyFile) -> None:
    """Writes RESULTS/studies/<name>.json. What its file has already had is kept.

    One process at a time reads what is there and writes: none loses what another has added.
    """
    path = results / "studies" / f"{study.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with wait_for(path.parent):
        write_sealed(path, (joined(study, path) if path.exists() else study).plain())


def joined(study: StudyFile, path: Path) -> StudyFile:
    """Returns a study with the pilots, seeds, looks and arithmetic that its file has, too.

    Raises ConfigError where that was begun with another arithmetic, or for another grid's file.
    """
    before = read_study(path)
    places = [path.parents[1].resolve() / of.grid_file for of in (before, study) if of.grid_file]
    if len(places) == 2 and all(map(os.path.isfile, places)) and not os.path.samefile(*places):
        raise ConfigError(
            f"{path}: {before.grid_file} has begun it at the same moment, and "
            f"{study.grid_file} has the same name: rename one of the files"
        )
    first = before.arithmetic
    if first and (study.arithmetic or first) != first:
        raise ConfigError(
            f"{path}: another machine has begun this study at the same moment, with "
            f"{first.precision} and {first.step}: the same command joins it"
        )
    study = _as_far_tuned(study, before)
    more = {row.cell: row.seeds for row in before.rows if row.seeds}
    found: dict[str, Any] = {
        "seeds": max(study.seeds, before.seeds),
        "rows": tuple(
            row.model_copy(update={"seeds": max(row.seeds, more[row.cell])})
            if row.cell in more
            else row
            for row in study.rows
        ),
        "looks": before.looks + tuple(one for one in study.looks if one not in before.looks),
        "arithmetic": first or study.arithmetic,
    }
    known = {key: value for key, value in found.items() if value}
    return study.model_copy(update=(before.model_extra or {}) | known)


def _as_far_tuned(study: StudyFile, before: StudyFile) -> StudyFile:
    """Returns a study whose rows are tuned as far as in its file, each with the cell of then.

    Another command may have come further since this one has made the study. Where the file lacks
    pilots of a row, these are other ones, or there are values that it has not tried.
    """
    if study.tune is None or before.tune is None or study.tune.key != before.tune.key:
        return study
    old = before.tune.rows
    kept = {
        label: old[label]
        for label, row in study.tune.rows.items()
        if label in old and set(old[label].runs) >= set(row.runs) and _rank(old[label]) > _rank(row)
    }
    cells = {row.label: row.cell for row in before.rows if row.label in kept}
    rows = [row.model_copy(update={"cell": cells.get(row.label, row.cell)}) for row in study.rows]
    tune = study.tune.model_copy(update={"rows": study.tune.rows | kept})
    return study.model_copy(update={"rows": tuple(rows), "tune": tune})


def _rank(row: Tried) -> tuple[bool, int, int]:
    """Ranks how far a row is tuned: whether it is over, how many were tried, how many are known."""
    known = sum(error is not None for _, error in row.tried)
    return row.chosen is not None, len(row.tried), known
