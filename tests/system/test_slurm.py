"""Runs as jobs of a real Slurm: to the table, whatever happens to the jobs and the driver."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import faults
import pytest
import slurm_daemons
from command_line import bare, call, start, table_of
from conftest import ROOT, tiny, tiny_words, write_grid
from waiting import wait_for

from experiments.commands.look import look_at_runs
from experiments.commands.status import status_lines
from experiments.launch.cluster import SlurmSettings
from experiments.launch.events import Ended, Progressed
from experiments.launch.slurm import squeue
from experiments.launch.slurm.driver import Slurm
from experiments.records.lock import holder
from experiments.records.parsing import ConfigError
from experiments.records.record import Record, load_record
from experiments.records.results import read_result
from experiments.records.states import state
from experiments.records.studies import read_studies
from experiments.train.train import train

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
    yield {**slurm, **results, "LAUNCHER": "slurm", "CLUSTER": str(settings)}
    for command in (["squeue", "--long", "--array"], ["sinfo", "--list-reasons"]):
        print(slurm_daemons.run(slurm, *command))  # shown where the test has failed


def training(results: Path) -> dict[Path, str]:
    """Run folders that are being trained, and their jobs."""
    jobs = squeue.view(results)
    return {
        path.parent: jobs[path.parent].id
        for path in results.glob("runs/*/*/lock")
        if (signs := holder(path.parent))
        and signs.step > 0
        and jobs.get(path.parent, squeue.GONE).is_live
    }


def disturb(command: list[str], path: Path, job: str) -> None:
    """Does this to a job, by its own number: scancel would wait for others of its array.

    It would try for a minute and a half to signal a job that is queued again meanwhile: it ends
    with the run.
    """
    jobs = slurm_daemons.run({}, "squeue", "--array", "--noheader", "--format=%F_%K %A")
    number = dict(line.split() for line in jobs.splitlines())[job]
    assert number != job.partition("_")[0]  # the array's, as its last job has: it means all of them
    with subprocess.Popen([*command, number]) as process:
        wait_for(lambda: process.poll() is not None or holder(path) is None)
        process.kill()


def row(path: Path) -> str:
    se = load_record(path).config.se
    return f"{se.gate}, {se.ratio}"


# What happens to jobs while they train: a user's scancel, an administrator's requeue, what Slurm
# sends before the time limit, and a preemption with a time of grace.
WAYS = {
    "cancelled": ["scancel"],
    "requeued": ["scontrol", "requeue"],
    "out of time": ["scancel", "--signal=USR2"],
    "preempted": ["scancel", "--signal=TERM"],
}


def test_five_runs_come_to_their_table_whatever_happens_to_their_jobs(tmp_path, there, data_dir):
    results, words, disturbed = Path(there["RESULTS"]), tiny_words(epochs=6), {}
    cells = faults.cells("held", 2, 4, 8, 16), faults.cells("raises", 4)
    grid = faults.write_grid(tmp_path, "held, 4", [], *cells)
    driver = start("run", grid, *words, **there)
    for way, command in WAYS.items():

        def other() -> tuple[Path, str] | None:
            found = training(results).items()
            ours = [(path, job) for path, job in found if path not in disturbed.values()]
            return next((run for run in ours if row(run[0]).startswith("held")), None)

        path, job = wait_for(other)
        if way == "cancelled":
            slurm_daemons.run({}, *command, job)  # as a user does it
        else:
            disturb(command, path, job)
        disturbed[way] = path
    wait_for(lambda: list(results.glob("runs/*raises*/*/error.txt")))
    (tmp_path / "mended").touch()  # all of it is over soon
    output, errors = driver.communicate()
    assert driver.returncode == 1, output + errors
    assert "sent: 5 runs as job" in output and "FAILED   raises, 4, seed 0" in output
    assert "was cancelled, with a checkpoint" in output
    found = {row(path): path for path in results.glob("runs/*/seed*")}
    states = {name: state(path) for name, path in found.items()}
    cancelled = row(disturbed["cancelled"])
    expected = dict.fromkeys(found, "done") | {"raises, 4": "failed", cancelled: "cancelled"}
    assert len(found) == 5 and states == expected
    assert "ZeroDivisionError: division by zero" in (found["raises, 4"] / "error.txt").read_text()

    shown = call("status", **there).stdout
    assert "5 runs: 1 cancelled, 3 done, 1 failed" in shown
    assert f"cancelled    {disturbed['cancelled'].parent.name}/seed0: after" in shown

    again = call("retry", grid, *words, **there)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "3 of 5 runs are there, 2 to train" in again.stdout
    rows = list(csv.DictReader(table_of(results, ".csv").open()))
    assert len(rows) == 5 and all(0 <= float(row["test_error"]) < 100 for row in rows)
    for way, path in disturbed.items():  # each went on from a checkpoint, once
        resumed = json.loads((path / "env.json").read_text())["resumed"]
        assert len(resumed) == 1 and resumed[0]["step"] > 0, way
    for way in ("requeued", "cancelled"):  # and ends in the same bits as one that nobody disturbed
        ours = load_record(disturbed[way])
        theirs = Record(tmp_path / "alone", ours.config)
        shutil.copytree(results / "code", tmp_path / "alone" / "code", dirs_exist_ok=True)
        train(ours.config, theirs, data_dir)
        for name in ("metrics.jsonl", "summary.json", "predictions.npz"):
            assert (ours.path / name).read_bytes() == (theirs.path / name).read_bytes(), way


def test_the_driver_may_go_and_come_back_and_sends_nothing_twice(tmp_path, there):
    grid = faults.write_grid(tmp_path, "waits, 4", [], faults.cells("waits", 4, 8, 16))
    results, words = Path(there["RESULTS"]), [grid, *tiny_words()]
    before = arrays()
    driver = start("run", *words, **there)
    wait_for(lambda: training(results))
    driver.kill()
    driver.communicate()
    jobs = squeue.view(results)
    seen = [look_at_runs(study, results, jobs=jobs) for study in read_studies(results)]
    lines = status_lines(seen, results, jobs=jobs)
    job = (arrays() - before).pop()
    assert any(re.match(f"pending .* runs in job {job}", line) for line in lines), lines
    assert any(re.match(f"running .* step .*, job {job}_\\d", line) for line in lines), lines

    began, seen = time.time(), []
    driver = start("run", *words, **there)
    while "already" not in (line := driver.stdout.readline()):
        seen.append(line)
    page = results / "report.html"  # once it is there, all that the driver starts has been started
    wait_for(lambda: page.exists() and page.stat().st_mtime > began)
    os.killpg(driver.pid, signal.SIGINT)
    output, errors = driver.communicate()
    assert driver.returncode == 130 and errors == "", output + errors
    assert re.search(rf"\d runs stay with Slurm: `scancel '?{job}_\S+` ends them", output)

    (tmp_path / "mended").touch()
    last = call("run", *words, **there)
    assert last.returncode == 0, last.stdout + last.stderr
    assert "sent:" not in "".join(seen) + output + last.stdout
    found = list(results.glob("runs/*/seed*"))
    assert len(found) == 3 and arrays() - before == {job}
    for path in found:
        assert read_result(path).summary["state"] == "done"
        assert (path / "timings.jsonl").read_text().count("started") == 1
    assert not list(results.glob("slurm/se-*"))  # nothing is kept of what is done


@pytest.mark.skipif(find_spec("ray") is None, reason="no ray: `make cluster-tools` installs it")
def test_a_job_can_hold_a_ray_cluster(tmp_path, there):
    words = [write_grid(tmp_path), *tiny_words(), "--workers", "2"]
    log, script = tmp_path / "log", ROOT / "experiments" / "clusters" / "ray.sbatch"
    asked = ["--nodes=1", "--cpus-per-task=2", "--mem=2000", f"--output={log}"]
    del there["LAUNCHER"], there["CLUSTER"]
    command = ["sbatch", "--wait", *asked, str(script), *words]
    (home := tmp_path / "home").mkdir()  # no token of an earlier Ray is there
    environment = bare() | there | {"HOME": str(home)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True)
    assert done.returncode == 0, log.read_text()
    assert not list(ROOT.glob(".ray-*"))  # and the token goes with its job
    assert log.read_text().count("\ndone     ") == 2
    assert len(list(tmp_path.glob("results/runs/*/seed0/summary.json"))) == 2


def arrays() -> set[str]:
    """The numbers of all jobs that Slurm knows."""
    return set(slurm_daemons.run({}, "squeue", "--states=all", "-h", "--format=%F").split())


def test_a_wrong_partition_is_one_sentence_and_leaves_nothing(tmp_path, there, data_dir):
    settings, record = SlurmSettings(memory=1, partition="gpux"), Record(tmp_path, tiny())
    launcher = Slurm(settings, ["cpu"], tmp_path, data_dir, 60, 60, {record: 1.0}, print)
    with pytest.raises(ConfigError, match=r"Slurm refused the jobs: .*nvalid partition"), launcher:
        list(launcher.train([record]))
    assert not list(tmp_path.glob("slurm/se-*")) and record.state == "planned"


def test_a_job_that_is_held_is_named_and_trains_once_it_is_released(tmp_path, there, data_dir):
    record, said = Record(tmp_path, tiny()), []

    def say(text: str, **_: str) -> None:
        said.append(text)
        if advice := re.search("`(scontrol release .*)`", text):
            slurm_daemons.run({}, *advice[1].split())

    settings = SlurmSettings(cpus=1, memory=1, sbatch={"hold": True})
    with Slurm(settings, ["cpu"], tmp_path, data_dir, 60, 60, {record: 1.0}, say) as slurm:
        events = list(slurm.train([record]))
    assert ["held (JobHeldUser)" in text for text in said] == [False, True]
    assert isinstance(events[-1], Ended) and record.state == "done"


def test_a_slurm_that_does_not_answer_is_waited_for(tmp_path, there, data_dir, monkeypatch):
    record, said, settings = Record(tmp_path, tiny()), [], SlurmSettings(cpus=1, memory=1)
    path = os.environ["PATH"]  # where there is a squeue

    def say(text: str, **_: str) -> None:
        said.append(text)
        monkeypatch.setenv("PATH", str(tmp_path) if text.startswith("sent") else path)

    with Slurm(settings, ["cpu"], tmp_path, data_dir, 60, 60, {record: 1.0}, say) as slurm:
        assert isinstance(list(slurm.train([record]))[-1], Ended)
    _, *said = said
    assert said == ["Slurm does not answer `squeue`: waiting for it", "Slurm answers again"]
    assert record.state == "done"


def test_an_early_end_cancels_the_jobs_which_write_checkpoints(tmp_path, there, data_dir):
    """What a spent budget, and a grid that is hopeless, come to."""
    records = [Record(tmp_path, tiny(seed=k, recipe={"epochs": 4000})) for k in range(3)]
    expected, said = dict.fromkeys(records, 1.0), []
    settings = SlurmSettings(cpus=2, memory=1, warning=30)
    with Slurm(settings, ["cpu"] * 2, tmp_path, data_dir, 60, 60, expected, said.append) as slurm:
        for event in slurm.train(records):
            if isinstance(event, Progressed) and event.record == records[1]:
                break
    assert said[-1].startswith("stopping: scancel") and said[0].startswith("sent: 3 runs as job")
    assert [record.state for record in records] == ["interrupted", "interrupted", "planned"]
    assert all(record.checkpoint.exists() for record in records[:2])
    jobs = squeue.view(tmp_path)
    assert {jobs[record.path].state for record in records} == {"CANCELLED"}
