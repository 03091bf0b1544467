"""A grid with W&B's real library: without a network, with servers on 127.0.0.1, and not at all."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import wandb_runs
from command_line import bare, call, start, workers
from conftest import ROOT, tiny_words, write_grid
from waiting import wait_for
from wandb_runs import folders, history, inspect, merged, run_of, sync
from wandb_server import Server, UselessServer

from experiments.records.record import Record, load_record
from experiments.records.results import read_result
from experiments.train.train import train

home = wandb_runs.home  # a fixture
PATIENT = 600.0  # seconds: however busy the machine is


def words_of(tmp_path: Path, data_dir: Path, **changes) -> list[str]:
    where = ["--data-dir", str(data_dir), "--results", str(tmp_path / "results")]
    return ["run", write_grid(tmp_path), *tiny_words(**changes), *where, "--seeds", "1"]


def run_apart(
    words: list[str], patience: float, stdin=subprocess.DEVNULL, **environment: str
) -> subprocess.CompletedProcess:
    """A grid in a process of its own, which waits so many seconds for W&B at its end."""
    main = "from experiments import __main__; from experiments.launch import background as b"
    return subprocess.run(
        [sys.executable, "-c", f"{main}; b.PATIENCE = {patience}; __main__.main()", *words],
        cwd=ROOT, stdin=stdin, capture_output=True, text=True, env=bare() | environment,
    )  # fmt: skip


def is_told(results: Path, records: list[dict]) -> None:
    """Whether W&B has all that the record says."""
    run = run_of(records)
    config = merged(records, "config") | run["config"]["update"]
    path = results / "runs" / config["cell"] / f"seed{config['seed']}"
    result = read_result(path)
    assert run["run_id"] == f"{result.config.id}-seed{result.config.seed}"
    assert run["run_group"] == result.config.cell and run["job_type"] == "train"
    assert run["tags"] == ["own"]
    assert config["recipe_epochs"] == result.config.recipe.epochs
    assert config["env_commit"] == result.env["commit"]
    rows = [row for row in history(records) if "val/error" in row]
    assert [row["epoch"] for row in rows] == [row["epoch"] for row in result.metrics]
    for row, truth in zip(rows, result.metrics, strict=True):
        assert row["val/error"] == pytest.approx(truth["val_error"])
        assert row["train/loss"] == pytest.approx(truth["train_loss"])
        assert row["learning_rate"] == pytest.approx(truth["lr"])
        assert row["_step"] == truth["epoch"] and row["images_per_second"] > 0
        for stage, gates in truth.get("gates", {}).items():
            assert row[f"gates/stage {stage}.values"] == gates["counts"]
            assert row[f"gates/stage {stage} mean"] == pytest.approx(gates["mean"])
    summary = merged(records, "summary")
    assert summary["test/error"] == pytest.approx(result.summary["test_error"])
    assert summary["parameters"] == result.summary["parameters"]
    media = {key for row in history(records) for key in row}
    assert "confusion_table._type" in media
    has_gates = (path / "gates.npz").exists()
    assert has_gates == ("figure6._type" in media) == ("interventions._type" in media)
    metrics = [record["metric"] for record in records if record["type"] == "metric"]
    assert {"glob_name": "*", "step_metric": "epoch"}.items() <= metrics[-1].items()
    assert not any("summary" in metric for metric in metrics)  # the last value


@pytest.fixture
def short_folder():
    """For what makes sockets, whose paths have a hundred characters: pytest's are long."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.mark.slow
def test_a_grid_is_kept_without_a_network_and_nobody_is_asked_for_a_key(
    tmp_path, data_dir, home, short_folder
):
    ours, terminal = os.openpty()  # where the library could ask
    where = home | {"TMPDIR": str(short_folder)}
    done = run_apart(words_of(tmp_path, data_dir), PATIENT, terminal, TRACK="auto", **where)
    os.close(ours), os.close(terminal)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("W&B: kept in") == 1 and "lost" not in done.stdout
    results = tmp_path / "results"
    for folder in (tmp_path / "home", short_folder):
        assert not list(folder.rglob("*wandb*"))
    found = folders(results)
    assert len(found) == 2
    for folder in found:
        is_told(results, inspect(folder))
    [analysis] = folders(results, "*analysis*")
    records = inspect(analysis)
    run, keys = run_of(records), {key for row in history(records) for key in row}
    assert run["job_type"] == "analysis" and run["display_name"].startswith("own-cifar10")
    assert {"table._type", "figures/errors._type", "figures/curves._type"} <= keys


@pytest.mark.slow
def test_a_run_that_was_killed_and_went_on_is_one_run(tmp_path, data_dir, home, monkeypatch):
    monkeypatch.setattr("experiments.launch.background.PATIENCE", PATIENT)
    results, words = tmp_path / "results", words_of(tmp_path, data_dir, epochs=12)
    words = [*words, "--checkpoint-every", "0s", "--workers", "1", "--track", "offline"]
    process = start(*words, **home)
    [run] = wait_for(lambda: list(results.glob("runs/*/*/checkpoint.pt")) and workers(results))
    os.kill(run, signal.SIGSTOP)  # until W&B's library has begun, too
    wait_for(lambda: [f for f in folders(results) if any(f.glob("*.wandb"))])
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close(), process.stderr.close()
    done = call(*words, **home)
    assert done.returncode == 0 and "goes on" in done.stdout, done.stdout + done.stderr
    found = folders(results)
    assert len(found) == 2  # what had been kept before the kill is replaced
    for folder in found:
        is_told(results, inspect(folder))


@pytest.mark.slow
def test_a_grid_is_told_live_where_there_is_a_key(tmp_path, data_dir, home):
    results = tmp_path / "results"
    with Server() as server:
        where = home | server.environment
        done = run_apart(words_of(tmp_path, data_dir), PATIENT, TRACK="auto", **where)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("W&B: http") == 1  # where it is to be seen, as the service says
    finished = [read_result(p.parent) for p in results.glob("runs/*/*/summary.json")]
    assert len(finished) == 2 and len(server.runs) == 3 and set(server.starts.values()) == {1}
    for result in finished:
        run = server.runs[f"{result.config.id}-seed0"]
        epochs = [row["epoch"] for row in run["history"] if "val/error" in row]
        assert epochs == [row["epoch"] for row in result.metrics]
        assert run["summary"]["test/error"] == result.summary["test_error"]
        assert run["exitcode"] == 0
    assert "3 sent" in sync(results, home, **server.environment)


@pytest.mark.slow
def test_training_ends_with_the_same_records_beside_a_server_that_hangs(tmp_path, data_dir, home):
    words, results = words_of(tmp_path, data_dir), tmp_path / "results"
    with UselessServer("hangs") as server:
        done = run_apart([*words, "--track", "online"], 1.0, **home, **server.environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("W&B: ") == 0 or done.stdout.count("not to be reached") == 1
    assert "W&B has not got everything: `make wandb-sync`" in done.stdout
    finished = [path.parent for path in results.glob("runs/*/*/summary.json")]
    assert len(finished) == 2
    for path in finished:
        alone = Record(tmp_path / "alone", load_record(path).config)
        train(alone.config, alone, data_dir)
        for name in alone.summary()["files"] | {"summary.json": ""}:
            assert (alone.path / name).read_bytes() == (path / name).read_bytes()


@pytest.mark.slow
def test_without_wandb_everything_but_tracking_works(tmp_path, data_dir, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)  # as if it were not installed
    words = words_of(tmp_path, data_dir, epochs=1)
    done = call(*words, TRACK="auto")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("pip install wandb") == 1
    assert "test error (%)" in done.stdout and not (tmp_path / "results/wandb").exists()
    for wrong in (
        [*words, "--track", "offline"],
        ["wandb-sync", "--results", str(tmp_path / "results")],
        ["dashboard", "--results", str(tmp_path / "results")],
    ):
        done = call(*wrong)
        assert done.returncode == 2 and "pip install wandb" in done.stderr
        assert done.stderr.count("\n") == 1


def test_few_files_know_wandb():
    rooms = ("senet", "experiments", "analysis", "tracking")
    sources = [path for room in rooms for path in (ROOT / room).rglob("*.py")]
    found = [
        p.name for p in sources if re.search(r"^\s*(import|from) wandb\b", p.read_text(), re.M)
    ]
    assert sorted(found) == ["account.py", "artifacts.py", "mirror.py", "study.py"]
    # ... and only when it is on
    code = "import sys, tracking.mirror, tracking.live; sys.exit('wandb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
