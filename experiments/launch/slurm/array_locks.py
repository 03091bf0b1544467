"""Knows who needs the jobs of an array, so that no driver cancels what another one needs.

A driver holds a shared lock (flock) on the note of each array in which its runs are,
RESULTS/slurm/se-<id>.json. Who gets the whole lock is the only one. The kernel frees the locks of
a driver that has died.
"""

import fcntl
import os
from collections.abc import Collection, Iterable
from contextlib import suppress
from itertools import chain
from pathlib import Path
from shutil import rmtree

from experiments.launch.slurm.squeue import GONE, Queue, folder_of, sent
from experiments.records.states import UNFINISHED, state


class ArrayLocks:
    """Holds locks on the notes of arrays, and says which of their jobs nobody else needs.

    Runs are named as in the notes.
    """

    def __init__(self, results: Path) -> None:
        self.results, self.folder = results, folder_of(results)
        self.files: dict[str, int] = {}  # array's name -> its note, open and locked

    def hold(self, runs: Iterable[str]) -> None:
        """Locks the notes of arrays that have some of these runs, and gives the others back."""
        ours = set(runs)
        notes = sent(self.results) if ours else {}  # at our end one that is damaged is no matter
        found = {name for name, packs in notes.items() if not ours.isdisjoint(chain(*packs))}
        for name in self.files.keys() - found:
            os.close(self.files.pop(name))
        for name in found - self.files.keys():
            with suppress(FileNotFoundError):  # all is done, and another driver has forgotten it
                self.files[name] = file = _open(self.folder / f"{name}.json")
                with suppress(OSError):  # a disk without locks: nobody is ever the only one
                    fcntl.flock(file, fcntl.LOCK_SH)

    def divide(
        self, queue: Queue, jobs: Collection[str], asked: Collection[str]
    ) -> tuple[list[str], list[str]]:
        """Returns which of these jobs nobody else needs, and the others.

        Others need those of an array that another driver holds, and those with runs that are not
        over and that we were not asked for.
        """
        ours, others = [], []
        for name, packs in sent(self.results).items():
            for index, runs in enumerate(packs):
                job = queue.get((name, index), GONE)
                if job.id in jobs and job.is_live:
                    theirs = [run for run in runs if run not in asked and self._is_open(run)]
                    (others if theirs or not self._is_ours(name) else ours).append(job.id)
        return ours, others

    def _is_open(self, run: str) -> bool:
        return state(self.results / "runs" / run) in UNFINISHED

    def _is_ours(self, name: str) -> bool:
        """Tells whether no other driver holds an array that we hold."""
        try:
            fcntl.flock(self.files[name], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (KeyError, OSError):
            return False
        return True

    def forget(self) -> None:
        """Deletes what was kept of arrays whose runs are all finished."""
        for name, packs in sent(self.results).items():
            runs = (self.results / "runs" / run for run in chain(*packs))
            if all((run / "summary.json").exists() for run in runs):
                rmtree(self.folder / name, ignore_errors=True)
                (self.folder / f"{name}.json").unlink(missing_ok=True)


def _open(path: Path) -> int:
    """Opens a note for a lock: for the whole one over NFS it has to be writable."""
    try:
        return os.open(path, os.O_RDWR)
    except PermissionError:  # a colleague's
        return os.open(path, os.O_RDONLY)
