"""What Slurm says of five runs in the jobs of one array: its answers are given, files are real."""

from pathlib import Path

import pytest
from conftest import tiny

from experiments.launch.cluster import SlurmSettings
from experiments.launch.slurm import driver as slurm
from experiments.launch.slurm import squeue
from experiments.launch.slurm.driver import Slurm
from experiments.launch.slurm.squeue import Job
from experiments.records.files import write_json
from experiments.records.record import Record

NAME = "se-0123456789ab"


class Cluster:
    """Five runs in the jobs of one array, and what Slurm says of them; None where it is silent."""

    def __init__(self, results: Path) -> None:
        self.records = [Record(results, tiny(seed=seed)) for seed in range(5)]
        self.jobs: list[tuple[str, str]] | None = [("RUNNING", "None")] * 5
        self.heard: list[str] = []
        self.folder = squeue.folder_of(results)
        (self.folder / NAME).mkdir(parents=True)
        self.note([[record] for record in self.records])
        self.driver, self.other = self.new_driver(results), self.new_driver(results)

    def new_driver(self, results: Path) -> Slurm:
        return Slurm(SlurmSettings(), ["cpu"], results, results, 60, 60, {}, self.say)

    def note(self, packs: list[list[Record]]) -> None:
        """Writes which runs the array's jobs have."""
        jobs = [[record.name for record in pack] for pack in packs]
        write_json(self.folder / f"{NAME}.json", {"jobs": jobs})

    def say(self, text: str, **_: str) -> None:
        self.heard.append(text)

    def ask(self) -> squeue.Queue | None:
        if self.jobs is None:
            return None
        return {(NAME, k): Job(f"7_{k}", *facts) for k, facts in enumerate(self.jobs)}

    def cancel(self, numbers: list[str]) -> None:
        indices = {"7_[0-4]": range(5), "7_1": [1], "7_[0-1]": range(2)}
        for number in indices[" ".join(numbers)]:
            self.jobs[number] = ("CANCELLED", "None")


@pytest.fixture
def cluster(tmp_path, monkeypatch) -> Cluster:
    found = Cluster(tmp_path)
    monkeypatch.setattr(squeue, "ask", found.ask)
    monkeypatch.setattr(squeue, "cancel", found.cancel)
    for name, value in {"LOOK_EVERY": 0.01, "PAUSE": (0.0, 0.0), "LATE": 0.0}.items():
        monkeypatch.setattr(slurm, name, value)
    return found
