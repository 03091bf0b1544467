"""A place on a node of a Ray cluster where a run goes at a time. No torch here.

An actor is asked and answers: what has happened to its run since it was last asked, and the files
that have changed. The run itself is trained as on any machine, in a process of its own.
"""

import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.data.datasets import path_of
from experiments.launch.local import Event, Local
from experiments.launch.worker import Outcome
from experiments.records.config import RunConfig
from experiments.records.files import digest_of_file, write_atomically
from experiments.records.record import Record
from experiments.records.study_file import UNSETTLED, Arithmetic
from experiments.scratch import scratch

TURN = 1.0  # seconds of what happens in an answer
Files = dict[str, bytes | None]  # a run's files by name; None is one that is gone


@dataclass(frozen=True)
class Told:
    """An `Event` as it travels: without its record, which is another one at home."""

    kind: str
    step: int
    steps: int
    row: dict | None
    sentence: str
    outcome: Outcome | None
    host: str
    pid: int


@dataclass(frozen=True)
class News:
    """An answer: what has happened, and which files have changed."""

    told: list[Told]
    files: Files


class Seat:
    """Trains one run at a time, with its record in a folder of its own.

    Args:
        device: of the run.
        data_dir: where the data sets may lie on this node, too.
        patience, checkpoint_every: as of `Local`.
    """

    def __init__(
        self, device: str, data_dir: Path, patience: float, checkpoint_every: float
    ) -> None:
        self.device, self.data_dir = device, data_dir
        self.how = (patience, checkpoint_every)
        self.hands = ExitStack()  # give back the folder of the run that is under way
        self.local: Local | None = None
        self.events: Iterator[Event] = iter(())
        self.seen: dict[str, tuple[int, int]] = {}  # file -> as it was sent
        self.checked: dict[str, Path] = {}  # a data set's digest -> the folder of its file

    def begin(
        self,
        config: RunConfig,
        files: Files,
        code: bytes | None,
        digest: str,
        data: list[Any],
        arithmetic: Arithmetic = UNSETTLED,
    ) -> News:
        """Starts a run.

        Args:
            config: of the run.
            files: of its record so far.
            code: its own code, if it has some.
            digest: of the data set's file.
            data: a reference to the content of that file, which is fetched only where it is needed.
            arithmetic: of its study.
        """
        place = self.hands.enter_context(scratch())
        record = self.record = Record(place, config, arithmetic)
        record.path.mkdir(parents=True)
        for name, content in files.items():
            (record.path / name).write_bytes(content)
        if code is not None:
            record.code_path.parent.mkdir(exist_ok=True)
            record.code_path.write_bytes(code)
        if digest not in self.checked:
            self.checked[digest] = self.find(config.dataset, digest, lambda: fetch(data[0]))
        self.seen = {path.name: mark(path) for path in self.files()}
        self.local = Local([self.device], self.checked[digest], *self.how).__enter__()
        self.events = self.local.train([record])
        return News([], {})

    def advance(self) -> News:
        """Goes on for a moment, or longer where nothing is heard of the run."""
        told, until = [], time.monotonic() + TURN
        for event in self.events:
            facts = (event.step, event.steps, event.row, event.sentence, event.outcome)
            told.append(Told(event.kind, *facts, platform.node(), os.getpid()))
            if event.kind == "ended":
                return News(told, self.leave())
            if time.monotonic() > until:
                break
        return News(told, self.changes())

    def stop(self) -> News:
        """Lets the run write a checkpoint and ends it."""
        if self.local is not None:
            self.local.__exit__()
        return News([], self.leave())

    def leave(self) -> Files:
        """The last changes; nothing of the run stays on the node."""
        last, self.seen = self.changes(), {}
        self.hands.close()
        return last

    def find(self, name: str, digest: str, content: Callable[[], bytes]) -> Path:
        """The folder that holds this very file: DATA_DIR, or one that is filled once per node."""
        own = Path(tempfile.gettempdir()) / f"se-ablation-data-{os.getuid()}" / digest[:16]
        for folder in (self.data_dir, own):
            if (file := path_of(name, folder)).exists() and digest_of_file(file) == digest:
                return folder
        own.mkdir(parents=True, exist_ok=True)
        write_atomically(path_of(name, own), lambda file: file.write(content()))
        return own

    def files(self) -> list[Path]:
        paths = self.record.path.glob("*")  # none where the run has left
        return [p for p in paths if p.is_file() and p.name != "lock" and not p.name.startswith(".")]

    def changes(self) -> Files:
        """The files that are new, or not as they were sent, and those that are gone."""
        now = {}
        changed: Files = {}
        for path in self.files():
            with suppress(FileNotFoundError):  # it is written anew
                now[path.name] = mark(path)
                if self.seen.get(path.name) != now[path.name]:
                    changed[path.name] = path.read_bytes()
        changed |= dict.fromkeys(self.seen.keys() - now.keys())
        self.seen = now
        return changed


def fetch(reference: Any) -> Any:
    """What is behind a reference of Ray's: a node fetches it once."""
    import ray

    return ray.get(reference)


def mark(path: Path) -> tuple[int, int]:
    """Changes when a file is written."""
    facts = path.stat()
    return facts.st_mtime_ns, facts.st_size
