"""Draws each figure once, and again only where its records or the code that draws it changed.

RESULTS/figures/.drawn.json notes what each figure was made of, and a checksum of its file. It may
be deleted at any time, and then all figures are drawn again.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from analysis.study import Study
from experiments.processes.pool import in_processes
from experiments.records.files import digest_of_file, read_sealed, write_sealed
from experiments.records.parsing import ConfigError, Strict, parse
from experiments.records.study_file import Name

NOTES = ".drawn.json"
WORTH_IT = 4  # drawings for each process: it takes three seconds to start
ROOT = Path(__file__).parents[2]
SOURCES = ("analysis", "experiments", "senet")  # with the declared comparisons and the grids
LIBRARIES = ("matplotlib", "numpy", "pandas", "scipy", "seaborn")


@dataclass(frozen=True)
class Drawing:
    """Describes some figures that one function call draws.

    name      of the drawing, one in its folder
    studies   whose records are in it
    function  draws them: function(*arguments) returns the paths of its files
    """

    name: str
    studies: Sequence[Study]
    function: Callable[..., list[Path]]
    arguments: tuple

    @property
    def source(self) -> str:
        """Returns a digest of what the figures are made of: records, code and libraries."""
        parts = [code(), *(study.digest for study in self.studies)]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:32]


class Drawn(Strict):
    """Notes what a drawing was made of, and its files: name -> checksum."""

    source: str
    files: dict[Name, str]


@cache
def code() -> str:
    """Returns a digest of all that decides what is drawn: code, declarations and libraries."""
    digest = hashlib.sha256(" ".join(map(version, LIBRARIES)).encode())
    for folder in SOURCES:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".py", ".yaml"):
                digest.update(path.read_bytes())
    return digest.hexdigest()


def draw(drawings: Iterable[Drawing], folder: Path) -> list[Path]:
    """Draws what is missing or has changed; uses all cores where there are many drawings.

    Returns the files of all drawings, also of those that were there.
    """
    drawings = list(drawings)
    notes = _read_notes(folder)
    changed = [one for one in drawings if not is_there(one, notes.get(one.name), folder)]
    for drawing, paths in zip(changed, _draw_all(changed), strict=True):
        files = {path.name: digest_of_file(path) for path in paths}
        notes[drawing.name] = Drawn(source=drawing.source, files=files)
    if changed:
        write_sealed(folder / NOTES, {name: note.model_dump() for name, note in notes.items()})
    return [folder / name for one in drawings for name in notes[one.name].files]


def is_there(drawing: Drawing, note: Drawn | None, folder: Path) -> bool:
    """Tells whether a drawing was made from the same source, and its files are unchanged."""
    return (
        note is not None
        and note.source == drawing.source
        and all(
            (folder / name).is_file() and digest_of_file(folder / name) == digest
            for name, digest in note.files.items()
        )
    )


def _draw_all(drawings: Sequence[Drawing]) -> list[list[Path]]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    workers = min(cores, len(drawings) // WORTH_IT)
    if workers < 2:
        return [one.function(*one.arguments) for one in drawings]
    with in_processes([(one.function, *one.arguments) for one in drawings], workers) as tasks:
        return [task.result() for task in tasks]


def _read_notes(folder: Path) -> dict[str, Drawn]:
    """Returns the notes by drawing; none where their file is missing, or is not what we write."""
    try:
        return {name: parse(Drawn, note) for name, note in read_sealed(folder / NOTES).items()}
    except ConfigError:
        return {}
