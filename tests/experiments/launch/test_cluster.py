"""What launchers send to a cluster, and what they make of its answers. None is needed here."""

import json
import os
import signal
import threading
import time
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest
from command_line import wrong
from conftest import tiny, tiny_study
from hypothesis import given
from hypothesis import strategies as st

from experiments.commands.look import look_at_runs
from experiments.commands.status import status_lines
from experiments.launch.cluster import SlurmSettings
from experiments.launch.slurm import job, squeue
from experiments.launch.slurm.job import Pack, split_into_jobs
from experiments.launch.slurm.squeue import GONE, Job
from experiments.launch.slurm.submit import submit_array
from experiments.plan import torch_process
from experiments.records.files import read_json, write_json
from experiments.records.parsing import ConfigError
from experiments.records.record import Record
from experiments.records.states import CANCELLED
from experiments.records.studies import write_study


@given(
    costs=st.lists(st.floats(0, 5000), max_size=40),
    at_once=st.integers(1, 8),
    seconds=st.floats(0, 3600),
)
def test_packs_keep_the_order_and_are_as_long_as_they_may_be(costs, at_once, seconds):
    expected = dict(enumerate(costs))
    packs = split_into_jobs(list(expected), expected, at_once, seconds)
    assert [record for some in packs for record in some] == list(expected)

    def length(some):
        return sum(expected[record] for record in some) / at_once

    for some in packs:
        assert len(some) == 1 or length(some) <= seconds + 1e-6
    for some, then in pairwise(packs):
        assert length([*some, then[0]]) > seconds - 1e-6  # one more would have been too many


A, B = "se-0123456789ab", "se-ba9876543210"


def test_squeues_answer_is_read_and_jobs_of_others_are_not_ours():
    text = f"12|3|RUNNING|None|{A}\n13|N/A|PENDING|Resources|{B}\n14|0|RUNNING|None|other\n\n7|1\n"
    assert squeue.read(text) == {
        (A, 3): Job("12_3", "RUNNING", "None"),
        (B, 0): Job("13", "PENDING", "Resources"),
    }


def test_a_machine_without_squeue_does_not_answer(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert squeue.ask() is None and squeue.state_of("12") == ""


def test_an_array_that_another_driver_forgets_meanwhile_is_left_out(monkeypatch, tmp_path):
    folder = squeue.folder_of(tmp_path)
    folder.mkdir()
    for name in (A, B):
        write_json(folder / f"{name}.json", {"jobs": [["x/seed0"]]})

    def read(file: Path, *keys: str) -> dict:
        if file.stem == A:
            file.unlink()
        return read_json(file, *keys)

    monkeypatch.setattr(squeue, "read_json", read)
    assert squeue.sent(tmp_path) == {B: [["x/seed0"]]}


@pytest.mark.parametrize(
    "text", ["{", '{"jobs": 5}', '{"jobs": [5]}', '{"jobs": [["../x"]]}', "[" * 9999, "[]", "{}"]
)
def test_a_damaged_note_is_told_once_and_passed_over(capsys, tmp_path, text):
    folder = squeue.folder_of(tmp_path)
    folder.mkdir()
    write_json(folder / f"{A}.json", {"jobs": [["x/seed0"]]})
    (folder / f"{B}.json").write_text(text)
    for _ in range(2):
        assert squeue.sent(tmp_path) == {A: [["x/seed0"]]}
        assert squeue.jobs_of(tmp_path, {(A, 0): Job("1", "RUNNING")}).keys() == {
            tmp_path / "runs" / "x" / "seed0"
        }
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"{folder / B}.json" in said and "passed over" in said


@pytest.mark.skipif(find_spec("submitit") is None, reason="no submitit: `make cluster-tools`")
def test_ctrl_c_while_jobs_are_sent_waits_until_slurm_has_them(monkeypatch, tmp_path):
    import submitit

    done = []

    class Executor:
        def __init__(self, folder: Path, **_) -> None: ...

        def update_parameters(self, **_) -> None: ...

        def submit_array(self, packs: list) -> list:
            os.kill(os.getpid(), signal.SIGINT)  # another thread gets it, as this one blocks it
            time.sleep(0.05)
            return done.append(packs) or []

    monkeypatch.setattr(submitit, "SlurmExecutor", Executor)
    squeue.folder_of(tmp_path).mkdir()
    is_over = threading.Event()
    threading.Thread(target=is_over.wait).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            submit_array(squeue.folder_of(tmp_path), SlurmSettings(), [])
    finally:
        is_over.set()
    assert done == [[]] and len(squeue.sent(tmp_path)) == 1


@pytest.mark.skipif(find_spec("submitit") is None, reason="no submitit: `make cluster-tools`")
def test_a_refusal_without_a_word_is_one_sentence(monkeypatch, tmp_path):
    import submitit
    from submitit.core.utils import FailedJobError

    class Executor:
        def __init__(self, folder: Path, **_) -> None: ...

        def update_parameters(self, **_) -> None: ...

        def submit_array(self, packs: list) -> list:
            raise FailedJobError("")

    monkeypatch.setattr(submitit, "SlurmExecutor", Executor)
    squeue.folder_of(tmp_path).mkdir()
    with pytest.raises(ConfigError, match="Slurm refused the jobs: sbatch failed without a word"):
        submit_array(squeue.folder_of(tmp_path), SlurmSettings(), [])


def test_a_driver_without_a_gpu_says_how_gpus_elsewhere_compute(monkeypatch):
    monkeypatch.setattr(torch_process, "has_cuda", lambda: False)
    said = torch_process.compile_step("auto", "cuda:0")
    assert said.startswith("no GPU is here: ") and "in bf16 by the plain step" in said
    assert torch_process.compile_step("captured", "cuda:0") == ""


@pytest.mark.parametrize("word", ["--json", "--verify"])
def test_status_shows_states_alone_while_it_watches(capsys, tmp_path, word):
    write_study(tmp_path, tiny_study("squeeze").record())
    assert f"leave {word} out" in wrong(
        capsys, "status", "--watch", word, "--results", str(tmp_path)
    )


def test_a_training_in_a_job_holds_the_environment(tmp_path, monkeypatch):
    held = []
    monkeypatch.setattr(job, "use", lambda: held.append(1))
    Pack([], [], tmp_path, 60, 60)()
    assert held == [1]


@pytest.mark.parametrize(
    ("state", "reason", "is_held"),
    [
        ("PENDING", "JobHeldUser", True),
        ("PENDING", "JobHeldAdmin", True),
        ("PENDING", "launch failed requeued held", True),
        ("PENDING", "JobHoldMaxRequeue", True),
        ("PENDING", "Resources", False),
        ("PENDING", "BeginTime", False),
        ("PENDING", "JobArrayTaskLimit", False),
        ("RUNNING", "None", False),
        ("CANCELLED", "JobHeldUser", False),
    ],
)
def test_a_held_job_waits_for_somebody(state, reason, is_held):
    assert Job("12", state, reason).is_held == is_held


def test_a_runs_job_is_the_live_one_and_else_the_last(tmp_path):
    folder = squeue.folder_of(tmp_path)
    folder.mkdir()
    for number, name in enumerate((A, B)):
        (folder / f"{name}.json").write_text(json.dumps({"jobs": [["x/seed0"], ["x/seed1"]]}))
        moment = (number, number)
        os.utime(folder / f"{name}.json", moment)
    live, over = Job("1_0", "PENDING"), Job("2_0", "CANCELLED")
    queue = {(A, 0): live, (B, 0): over, (A, 1): Job("1_1", "CANCELLED")}
    jobs = squeue.jobs_of(tmp_path, queue)
    assert jobs == {tmp_path / "runs/x/seed0": live, tmp_path / "runs/x/seed1": GONE}
    assert not GONE.is_live and not over.is_live and live.is_live


def test_status_joins_what_slurm_says_with_the_files(tmp_path):
    study = tiny_study("squeeze")
    write_study(tmp_path, study.record())
    paths = [Record(tmp_path, cell.config).path for cell in study.cells]
    cancelled = Record(tmp_path, study.cells[3].config)
    cancelled.path.mkdir(parents=True)
    cancelled.fail(CANCELLED, "job 5_1 was cancelled")
    jobs = {
        paths[0]: Job("12_0", "PENDING", "Priority"),
        paths[1]: Job("12_1", "RUNNING", "None"),  # and has not come to this run
        paths[2]: Job("12_2", "CANCELLED"),
        paths[3]: GONE,
    }
    lines = status_lines([look_at_runs(study.record(), tmp_path, jobs=jobs)], tmp_path, jobs=jobs)
    assert lines[0] == "5 runs: 2 cancelled, 2 pending, 1 planned"
    assert lines[1] == "pending      2 runs in job 12 (Priority)"
    assert any("cancelled: job 5_1 was cancelled" in line for line in lines)


def test_runs_that_go_at_a_time_share_the_length_of_a_part(tmp_path):
    records = [Record(tmp_path, tiny(seed=seed)) for seed in range(3)]
    assert split_into_jobs(records, dict.fromkeys(records, 60.0), 2, 60.0) == [
        records[:2],
        records[2:],
    ]
