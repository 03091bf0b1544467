"""Refuses two grids whose studies would have one name, and so one file and one table."""

import os
import shlex
from collections.abc import Iterable
from pathlib import Path

from experiments.records.parsing import ConfigError
from experiments.records.studies import read_study
from experiments.records.study_file import StudyFile
from experiments.study.grid import list_grids
from experiments.study.study import StudyDesign


def refuse_clashes(studies: Iterable[StudyDesign], results: Path) -> None:
    """Raises ConfigError where a study has the name of another grid's, given with it or before.

    Or where its own file would not be read again, as of a row without a name.
    """
    known: dict[str, Path] = {}
    for study in studies:
        study.record()  # raises it
        ours, path = _grid_file(study.source), results / "studies" / f"{study.name}.json"
        others = [known.setdefault(study.name, ours)]
        if path.exists():
            others += _grid_files_of(read_study(path), results)
        for other in others:
            if os.path.isfile(other) and not os.path.samefile(other, ours):
                raise ConfigError(
                    f"{ours} and {other} have one name, and their studies one table: "
                    "rename one of the files"
                )


def _grid_files_of(before: StudyFile, results: Path) -> list[Path]:
    """Finds the grid file of a study that was asked for before; [] where it cannot be told.

    One of an older version has no `grid_file`: its command names it, from the working folder of
    then, which most often is that of now.
    """
    if before.grid_file is not None:
        return [Path(os.path.normpath(results.resolve() / before.grid_file))]
    try:
        words = shlex.split(before.command)
        if words[0] == "make":
            return [_grid_file(words[1].removeprefix("ablation-"))]
        return [_grid_file(words[words.index("run") + 1])]
    except (ValueError, IndexError):
        return []


def _grid_file(name: str) -> Path:
    return list_grids().get(name, Path(name))
