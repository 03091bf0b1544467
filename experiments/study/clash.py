"""Refuses two grids whose studies would have one name, and so one file and one table."""

import shlex
from collections.abc import Iterable
from pathlib import Path

from experiments.records.parsing import ConfigError
from experiments.records.studies import read_study
from experiments.study.grid import list_grids
from experiments.study.study import Study


def refuse_clashes(studies: Iterable[Study], results: Path) -> None:
    """Raises ConfigError where a study has the name of another grid's, given with it or before.

    Or where its own file would not be read again, as of a row without a name.
    """
    known: dict[str, Path] = {}
    for study in studies:
        study.record()  # raises it
        ours, path = _grid_file(study.source), results / "studies" / f"{study.name}.json"
        others = [known.setdefault(study.name, ours)]
        if path.exists():
            others += _asked_by(read_study(path).command)
        for other in others:
            if other.exists() and not other.samefile(ours):
                raise ConfigError(
                    f"{ours} and {other} have one name, and their studies one table: "
                    "rename one of the files"
                )


def _asked_by(command: str) -> list[Path]:
    """Finds the grid file of a study's command; [] where it cannot be told."""
    try:
        words = shlex.split(command)
        if words[0] == "make":
            return [_grid_file(words[1].removeprefix("ablation-"))]
        return [_grid_file(words[words.index("run") + 1])]
    except (ValueError, IndexError):
        return []


def _grid_file(name: str) -> Path:
    return list_grids().get(name, Path(name))
