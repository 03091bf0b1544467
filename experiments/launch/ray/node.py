"""Trains one run at a time on a node of a Ray cluster. No torch here.

An actor is asked and answers: what has happened to its run since it was last asked, and the files
that have changed. The run itself is trained as on any machine, in a process of its own.
"""

import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.data.datasets import path_of
from experiments.launch.events import Ended, Event
from experiments.launch.local import Local
from experiments.launch.ray.files import Changes, Files
from experiments.processes.scratch import scratch
from experiments.records.config import RunConfig
from experiments.records.files import digest_of_file, write_atomically
from experiments.records.record import Record
from experiments.records.study_file import UNSETTLED, Arithmetic

TURN = 1.0  # seconds of what happens in a report


@dataclass(frozen=True)
class Report:
    """Says what has happened to a run, and which of its files have changed.

    events     with the run's record on the node, which is another one for the driver
    host, pid  of the actor
    """

    events: list[Event] = field(default_factory=list)
    files: Files = field(default_factory=dict)
    host: str = field(default_factory=platform.node)
    pid: int = field(default_factory=os.getpid)


class Actor:
    """Trains one run at a time, with its record in a folder of its own.

    The data sets may lie in `data_dir` on this node, too.
    """

    def __init__(
        self, device: str, data_dir: Path, patience: float, checkpoint_every: float
    ) -> None:
        self.device, self.data_dir = device, data_dir
        self.settings = (patience, checkpoint_every)
        self.place = ExitStack()  # deletes the folder of the run that is under way
        self.local: Local | None = None
        self.events: Iterator[Event] = iter(())
        self.changes: Changes  # of that run
        self.checked: dict[str, Path] = {}  # a data set's digest -> the folder of its file

    def start(
        self,
        config: RunConfig,
        files: Mapping[str, bytes],
        code: bytes | None,
        digest: str,
        data: list[Any],
        arithmetic: Arithmetic = UNSETTLED,
    ) -> Report:
        """Starts a run, of whose record there are some files already, in its study's arithmetic.

        `digest` is that of the data set's file, and `data` holds a reference to its content, which
        is fetched only where it is needed.
        """
        record = Record(self.place.enter_context(scratch()), config, arithmetic)
        record.path.mkdir(parents=True)
        for name, content in files.items():
            (record.path / name).write_bytes(content)
        if code is not None:
            record.code_path.parent.mkdir(exist_ok=True)
            record.code_path.write_bytes(code)
        if digest not in self.checked:
            self.checked[digest] = self.find(config.dataset, digest, lambda: _fetch(data[0]))
        self.changes = Changes(record.path)
        self.local = Local([self.device], self.checked[digest], *self.settings).__enter__()
        self.events = self.local.train([record])
        return Report()

    def advance(self) -> Report:
        """Goes on for a moment, or longer where nothing is heard of the run."""
        events, until = [], time.monotonic() + TURN
        for event in self.events:
            events.append(event)
            if isinstance(event, Ended):
                return Report(events, self._leave())
            if time.monotonic() > until:
                break
        return Report(events, self.changes.take())

    def stop(self) -> Report:
        """Lets the run write a checkpoint and ends it."""
        if self.local is not None:
            self.local.__exit__()
        return Report(files=self._leave())

    def _leave(self) -> Files:
        """Returns the last changes; nothing of the run stays on the node."""
        last = self.changes.take()
        self.changes.seen = {}  # or another report would say that all of them are gone
        self.place.close()
        return last

    def find(self, name: str, digest: str, content: Callable[[], bytes]) -> Path:
        """Returns the folder of this very file: DATA_DIR, or one that is filled once per node."""
        own = Path(tempfile.gettempdir()) / f"se-ablation-data-{os.getuid()}" / digest[:16]
        for folder in (self.data_dir, own):
            if (file := path_of(name, folder)).exists() and digest_of_file(file) == digest:
                return folder
        own.mkdir(parents=True, exist_ok=True)
        write_atomically(path_of(name, own), lambda file: file.write(content()))
        return own


def _fetch(reference: Any) -> Any:
    """Returns what is behind a reference of Ray's: a node fetches it once."""
    import ray

    return ray.get(reference)
