"""Runs as jobs of a real Slurm: to the table, whatever happens to the jobs and the driver."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import faults
import pytest
import slurm_daemons
from conftest import call, start, tiny_words, wait_for, write_grid

from experiments import squeue
from experiments.lock import holder
from experiments.record import Record, load, read_result, state
from experiments.train import train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.cluster,
    pytest.mark.skipif(
        bool(slurm_daemons.reason_to_skip()), reason=slurm_daemons.reason_to_skip() or "-"
    ),
]

SETTINGS = "cpus: 1\nmemory: 1\ntime: 60\nwarning: 30\npack: {pack}\n"


@pytest.fixture(scope="module")
def slurm():
    with slurm_daemons.running() as environment:
        yield environment


@pytest.fixture
def there(slurm, tmp_path, data_dir, monkeypatch):
    """The environment of a driver."""
    settings = tmp_path / "slurm.yaml"
    settings.write_text(SETTINGS.format(pack=0))
    monkeypatch.setenv("SLURM_CONF", slurm["SLURM_CONF"])  # for our own look at the queue
    results = {"RESULTS": str(tmp_path / "results"), "DATA_DIR": str(data_dir)}
    return {**slurm, **results, "LAUNCHER": "slurm", "CLUSTER": str(settings)}


def training(results: Path) -> dict[Path, str]:
    """Run folders that are being trained, and their jobs."""
    jobs = squeue.view(results)
    return {
        path.parent: jobs[path.parent].id
        for path in results.glob("runs/*/*/lock")
        if (holder(path.parent) or {}).get("step", 0) > 2 and jobs[path.parent].is_live
    }


def hasten(results: Path) -> None:
    """Slurm lets a job wait for two minutes that is queued again."""
    for job in squeue.view(results).values():
        if job.state == "PENDING" and job.reason == "BeginTime":
            slurm_daemons.run({}, "scontrol", "update", f"JobId={job.id}", "StartTime=now")


def gate(path: Path) -> str:
    se = load(path).config.se
    return "plain" if se is None else se.gate


# What happens to jobs while they train: an administrator's requeue, what Slurm sends before the
# time limit, a preemption with a time of grace, and a user's scancel.
WAYS = {
    "requeued": ["scontrol", "requeue"],
    "out of time": ["scancel", "--signal=USR2"],
    "preempted": ["scancel", "--signal=TERM"],
    "cancelled": ["scancel"],
}


def test_eight_runs_come_to_their_table_whatever_happens_to_their_jobs(tmp_path, there, data_dir):
    results, words = Path(there["RESULTS"]), tiny_words(epochs=60)
    gates = ("raises", "tanh", "relu", "softmax", "hard_sigmoid", "softmax_c")
    grid = faults.write(tmp_path, *gates)
    driver, disturbed = start("run", grid, *words, **there), {}
    for way, command in WAYS.items():

        def other() -> tuple[Path, str] | None:
            hasten(results)
            found = training(results).items()
            ours = [(path, job) for path, job in found if path not in disturbed.values()]
            return next((run for run in ours if gate(run[0]) != "raises"), None)

        path, job = wait_for(other)
        slurm_daemons.run({}, *command, job)
        disturbed[way] = path
    while driver.poll() is None:
        hasten(results)
        time.sleep(1.0)
    output, errors = driver.communicate()
    assert driver.returncode == 1, output + errors
    assert "sent: 8 runs as job" in output and "FAILED   raises, seed 0" in output
    assert output.count("is in the queue again") == 3
    assert "was cancelled, with a checkpoint" in output
    found = {gate(path): path for path in results.glob("runs/*/seed*")}
    states = {name: state(path) for name, path in found.items()}
    cancelled = gate(disturbed["cancelled"])
    expected = dict.fromkeys(found, "done") | {"raises": "failed", cancelled: "cancelled"}
    assert len(found) == 8 and states == expected
    assert "ZeroDivisionError: division by zero" in (found["raises"] / "error.txt").read_text()

    shown = call("status", **there).stdout
    assert "8 runs: 1 cancelled, 6 done, 1 failed" in shown
    assert f"cancelled    {disturbed['cancelled'].parent.name}/seed0: after" in shown

    again = call("retry", grid, *words, **there, FAULTS="off")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "6 of 8 runs are there, 2 to train" in again.stdout
    table = next((results / "tables").glob("*.md")).read_text()
    assert table.count("| 1 ") >= 0 and "softmax_c" in table
    for way, path in disturbed.items():  # each went on from a checkpoint, once
        resumed = json.loads((path / "env.json").read_text())["resumed"]
        assert len(resumed) == 1 and resumed[0]["step"] > 0, way
    for way in ("requeued", "cancelled"):  # and ends in the same bits as one that nobody disturbed
        ours = load(disturbed[way])
        theirs = Record(tmp_path / "alone", ours.config)
        shutil.copytree(results / "code", tmp_path / "alone" / "code", dirs_exist_ok=True)
        train(ours.config, theirs, data_dir)
        for name in ("metrics.jsonl", "summary.json", "predictions.npz"):
            assert (ours.path / name).read_bytes() == (theirs.path / name).read_bytes(), way


def test_the_driver_may_go_and_come_back_and_sends_nothing_twice(tmp_path, there):
    results, words = Path(there["RESULTS"]), [write_grid(tmp_path), *tiny_words(epochs=60)]
    there = {**there, "SEEDS": "2"}
    driver = start("run", *words, **there)
    wait_for(lambda: training(results))
    os.killpg(driver.pid, signal.SIGINT)
    output, errors = driver.communicate(timeout=60)
    assert driver.returncode == 130 and errors == "", output + errors
    jobs = {job.array for job in squeue.view(results).values()}
    assert len(jobs) == 1 and f"4 runs stay with Slurm: `scancel {jobs.pop()}` ends them" in output
    shown = call("status", **there).stdout
    assert "pending, " in shown or "pending      " in shown
    assert "running" in shown and ", job " in shown

    driver = start("run", *words, **there)
    wait_for(lambda: "already" in driver.stdout.readline())
    driver.kill()
    driver.communicate()
    last = call("run", *words, **there)
    assert last.returncode == 0, last.stdout + last.stderr
    assert "sent:" not in last.stdout
    found = list(results.glob("runs/*/seed*"))
    assert len(found) == 4
    for path in found:
        assert read_result(path).summary["state"] == "done"
        assert (path / "timings.jsonl").read_text().count("started") == 1
    names = slurm_daemons.run({}, "squeue", "--states=all", "--array", "--noheader", "--format=%j")
    assert len(set(names.splitlines())) <= 3  # this one, and two of the other test
    assert not list(results.glob("slurm/se-*"))


def test_a_wrong_partition_is_one_sentence_and_leaves_no_job(tmp_path, there):
    Path(there["CLUSTER"]).write_text(SETTINGS.format(pack=30) + "partition: gpux\n")
    done = call("run", write_grid(tmp_path), *tiny_words(), **there)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Slurm refused the jobs: " in done.stderr and "invalid partition" in done.stderr.lower()
    assert not list(Path(there["RESULTS"]).glob("slurm/se-*"))
