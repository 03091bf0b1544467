"""The benchmark of size with a real Slurm."""

import subprocess
import sys

import pytest
import slurm_daemons

from benchmarks import size
from benchmarks.records import ASKED
from experiments.data.prepare import prepare_any
from experiments.launch.slurm import squeue

pytestmark = [
    pytest.mark.slow,
    pytest.mark.cluster,
    pytest.mark.skipif(
        bool(slurm_daemons.reason_to_skip()), reason=slurm_daemons.reason_to_skip() or "-"
    ),
]


def test_planned_runs_are_sent_held_and_taken_back(tmp_path, monkeypatch):
    results, held, cancel = tmp_path / "planned", [], squeue.cancel

    def look(numbers: list[str]) -> None:
        held.extend(squeue.view(results).values())
        cancel(numbers)

    monkeypatch.setattr(squeue, "cancel", look)
    prepare_any(ASKED["dataset"], tmp_path, print)
    there = {"RESULTS": str(results), "DATA_DIR": str(tmp_path), "SEEDS": "1"}
    with slurm_daemons.running() as environment:
        monkeypatch.setenv("SLURM_CONF", environment["SLURM_CONF"])
        found = dict(size.measure_planned(size.ROW, size.COMMON | there, tmp_path / "held.yaml"))
        after = squeue.view(results).values()
        assert size.slurm_version().startswith("slurm")
    assert {(job.state, job.reason) for job in held} == {("PENDING", "JobHeldUser")}
    assert {job.state for job in after} == {"CANCELLED"} and len(held) == len(after) == size.ROW
    (sent, cpu, wall, memory), (_, *part, _) = found[size.RUN], found[size.SEND]
    assert sent == size.ROW and 0 < part[0] < cpu and 0 < part[1] < wall and memory > 50
    assert not list(results.glob("runs/*"))  # none of them began


def test_a_command_has_a_slurm_around_it():
    words = ["sh", "-c", "sinfo --noheader --format=%T; exit 3"]
    done = subprocess.run(
        [sys.executable, slurm_daemons.__file__, *words], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip()) == (3, "idle"), done.stderr
