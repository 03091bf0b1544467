"""W&B with its real library: without a network, with servers on 127.0.0.1, and not at all."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Queue

import pytest
import wandb
from conftest import (
    RECORDS,
    ROOT,
    analyse,
    bare,
    call,
    start,
    tiny_study,
    tiny_words,
    with_changes,
    workers,
    write_grid,
)
from waiting import wait_for
from wandb_server import KEY, Server, UselessServer

from experiments.launch.background import BackgroundProcess, Message
from experiments.records.parsing import ConfigError
from experiments.records.record import Record, load
from experiments.records.results import read_result
from experiments.train.train import train
from tracking import mirror as tracking
from tracking.live import Follower, pick_mode
from tracking.sent import Told, figures_of, note, run_id, state_of, study_id

KINDS = ["refuses", "hangs", "drops", "denies"]
PATIENT = 600.0  # seconds: however busy the machine is


@pytest.fixture
def home(tmp_path) -> Iterator[dict[str, str]]:
    """W&B's own folders, away from the user's, with no key in any of them."""
    names = ("WANDB_CONFIG_DIR", "HOME")
    yield {name: str(tmp_path / "home") for name in names} | {"NETRC": str(tmp_path / "netrc")}
    wandb.teardown()  # it would remember this test's server


@pytest.fixture
def no_key(home, monkeypatch):
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name, value in home.items():
        monkeypatch.setenv(name, value)


def inspect(folder: Path) -> list[dict]:
    """What W&B's own reader finds in the folder of a run."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def history(records: list[dict]) -> list[dict]:
    return [record["history"]["item"] for record in records if record["type"] == "history"]


def merged(records: list[dict], kind: str) -> dict:
    found = {}
    for record in records:
        if record["type"] == kind:
            found |= record[kind].get("update", {})
    return found


def run_of(records: list[dict]) -> dict:
    return next(record["run"] for record in records if record["type"] == "run")


def folders(results: Path, kind: str = "*-seed*") -> list[Path]:
    return sorted((results / "wandb").glob(f"offline-run-{kind}"))


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


def sync(results: Path, home: dict[str, str], *words: str, status=0, **environment: str) -> str:
    done = call("wandb-sync", "--results", str(results), *words, **home, **environment)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.fixture
def some_records(tmp_path) -> Path:
    """Two finished runs of the kept records, and one study of them with its tables."""
    results = tmp_path / "results"
    [source] = (RECORDS / "studies").glob("ratio-*")
    study = json.loads(source.read_text())
    study["rows"] = [row for row in study["rows"] if row["label"] in ("no SE", "r = 16")]
    (results / "studies").mkdir(parents=True)
    (results / "studies" / source.name).write_text(json.dumps(study))
    for row in study["rows"]:
        target = results / "runs" / row["cell"] / "seed0"
        shutil.copytree(RECORDS / "runs" / row["cell"] / "seed0", target)
    assert analyse("tables", "--results", str(results)).returncode == 0
    return results


@pytest.mark.slow
def test_sync_replays_records_once_and_again_without_duplicates(some_records, home):
    finished = [p.parent for p in some_records.glob("runs/*/*/summary.json")]
    listed = sync(some_records, home, "--dry-run")
    assert listed.count("  missing  ") == len(finished) + 1 and not folders(some_records)
    with Server() as server:
        told = sync(some_records, home, **server.environment, WANDB_MODE="offline")
        assert f"{len(finished) + 1} of {len(finished) + 1} runs are on W&B" in told
        first = json.dumps(server.runs, sort_keys=True)
        assert set(server.starts.values()) == {1}
        assert "3 sent" in sync(some_records, home, **server.environment)
        assert set(server.starts.values()) == {1}  # nothing was sent
        [asked] = (some_records / "studies").iterdir()
        study = json.loads(asked.read_text())
        more = study | {"grid": "another", "name": "another"}
        (some_records / "studies" / "another.json").write_text(json.dumps(more))
        assert "2 missing, 1 sent" in sync(some_records, home, "--dry-run")  # their tags are old
        (some_records / "wandb/told" / f"{study_id(study['name'])}.json").unlink()
        for folder in folders(some_records, "*analysis*"):
            shutil.rmtree(folder)  # of this one nothing is left, as in a fresh clone
        assert "3 missing" in sync(some_records, home, "--dry-run")
        sync(some_records, home, **server.environment)
        assert all(
            run["tags"] == ["another", "ratio"]
            for run in server.runs.values()
            if run["jobType"] == "train"
        )
        assert set(server.starts.values()) == {2}
        assert len(server.runs) == len(finished) + 1  # the same runs, with the same epochs
        before = {name: run["history"] for name, run in json.loads(first).items()}
        for name, run in server.runs.items():
            assert [row["_step"] for row in run["history"]] == [
                row["_step"] for row in before[name]
            ]
    for path in finished:
        result = read_result(path)
        run = server.runs[f"{result.config.id}-seed{result.config.seed}"]
        epochs = [row for row in run["history"] if "val/error" in row]
        assert [row["val/error"] for row in epochs] == [m["val_error"] for m in result.metrics]
        assert run["groupName"] == result.config.cell and run["exitcode"] == 0
        assert run["summary"]["test/error"] == result.summary["test_error"]
        assert run["config"]["cell"] == result.config.cell


@pytest.mark.slow
def test_a_record_that_cannot_be_trusted_is_named_and_the_others_are_sent(some_records, home):
    cut, broken = sorted(path.parent for path in some_records.glob("runs/*/*/summary.json"))
    whole = (cut / "metrics.jsonl").read_text()
    (cut / "metrics.jsonl").write_text("")
    (broken / "config.json").write_text("x")
    assert "config.json cannot be read" in sync(some_records, home, "--dry-run", status=1)
    with Server() as server:
        said = sync(some_records, home, status=1, **server.environment)
        assert said.count("cannot be told") == 2 and "1 of 3 runs are on W&B" in said
        assert list(server.starts) == [study_id(next((some_records / "studies").iterdir()).stem)]
        (cut / "metrics.jsonl").write_text(whole)
        assert "2 of 3 runs" in sync(some_records, home, status=1, **server.environment)


def test_a_run_whose_record_is_damaged_is_not_noted_as_told(some_records, no_key):
    tracking.prepare(some_records)
    path = next(some_records.glob("runs/*/*/summary.json")).parent
    (path / "predictions.npz").write_bytes(b"x")
    with pytest.raises(ConfigError, match="edited, or cut short"):
        tracking.Mirror(path, "offline").conclude()
    assert not list((some_records / "wandb/told").iterdir())


def test_sync_without_a_key_says_what_is_missing_and_ends_with_2(some_records, home):
    done = call("wandb-sync", "--results", str(some_records), **home)
    assert done.returncode == 2 and "wandb login" in done.stderr
    assert done.stderr.count("\n") == 1 and not folders(some_records)


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


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_of_no_use_costs_one_warning_and_no_record(
    kind, some_records, no_key, monkeypatch
):
    """The background process, driven here with less patience than a user has."""
    monkeypatch.setattr(tracking, "CONNECT", 1)
    tracking.prepare(some_records)
    paths = sorted(path.parent for path in some_records.glob("runs/*/*/summary.json"))
    inbox, said = Queue(), []
    for path in paths:
        inbox.put(Message("started", path)), inbox.put(Message("ended", path))
    inbox.put(None)
    with UselessServer(kind) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        assert not Follower(some_records, [], "auto", said.append).listen(inbox)
    assert len(said) == 1 and "not to be reached" in said[0] and "wandb-sync" in said[0]
    assert not list((some_records / "wandb/told").iterdir())


def test_what_a_server_begins_to_refuse_is_kept_and_sent_later(
    some_records, home, no_key, monkeypatch
):
    paths = sorted(path.parent for path in some_records.glob("runs/*/*/summary.json"))
    tracking.prepare(some_records)
    with Server() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        for path, status in zip(paths, (401, 404), strict=True):
            server.status = 200
            mirror = tracking.Mirror(path, "online")
            server.status = status
            with pytest.raises(tracking.Unreachable, match="refuse"):
                mirror.conclude()
            assert not server.runs[mirror.run.id]["history"]
        assert "2 kept, 1 missing" in sync(some_records, home, "--dry-run")
        server.status = 200
        sync(some_records, home, **server.environment)
        for path in paths:
            told = server.runs[run_id(load(path).config)]["summary"]
            assert told["test/error"] == load(path).summary()["test_error"]
    assert "3 sent" in sync(some_records, home, "--dry-run")


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
        alone = Record(tmp_path / "alone", load(path).config)
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


@pytest.mark.parametrize(
    ("track", "variable", "mode"),
    [
        ("auto", None, "auto"), ("auto", "", "auto"), ("auto", "offline", "offline"),
        ("auto", "online", "online"), ("auto", "disabled", "off"), ("auto", "dryrun", "offline"),
        ("off", "online", "off"), ("online", "offline", "online"),
        ("offline", "disabled", "offline"),
    ],
)  # fmt: skip
def test_a_flag_wins_over_wandbs_variable(track, variable, mode, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    if variable is not None:
        monkeypatch.setenv("WANDB_MODE", variable)
    assert pick_mode(track) == mode


def test_a_project_that_wandb_does_not_take_is_refused_before_the_training(monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "my/project")
    assert pick_mode("off") == "off"
    with pytest.raises(ConfigError, match="WANDB_PROJECT"):
        pick_mode("auto")


@pytest.mark.parametrize(("track", "variable"), [("on", ""), ("disabled", ""), ("auto", "shared")])
def test_another_word_is_refused(track, variable, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", variable)
    with pytest.raises(ConfigError, match=r"allowed are (auto|online), "):
        pick_mode(track)


def test_a_key_is_found_and_never_asked_for(no_key, monkeypatch):
    ask = "import sys; from tracking.mirror import has_key; sys.exit(not has_key())"
    for key, status in (("", 1), (KEY, 0)):
        found = os.environ | {"WANDB_API_KEY": key}
        assert subprocess.run([sys.executable, "-c", ask], cwd=ROOT, env=found).returncode == status


def test_one_file_knows_wandb():
    rooms = ("senet", "experiments", "analysis", "tracking")
    sources = [path for room in rooms for path in (ROOT / room).rglob("*.py")]
    found = [
        p.name for p in sources if re.search(r"^\s*(import|from) wandb\b", p.read_text(), re.M)
    ]
    assert found == ["mirror.py"]
    # ... and only when it is on
    code = "import sys, tracking.mirror, tracking.live; sys.exit('wandb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_what_is_noted_says_what_is_missing(tmp_path):
    (tmp_path / "told").mkdir()
    assert state_of(tmp_path, "a", "1") == "missing"
    note(tmp_path, "a", Told("1", None, "offline-run-2-a"))
    assert state_of(tmp_path, "a", "1") == "missing"  # its folder was deleted
    for folder in ("offline-run-1-a", "offline-run-2-a", "offline-run-1-aa"):
        (tmp_path / folder).mkdir()
    assert state_of(tmp_path, "a", "1") == "kept"
    assert state_of(tmp_path, "a", "2") == "missing"  # it was trained again
    note(tmp_path, "a", Told("1", None, "offline-run-2-a"))
    assert sorted(p.name for p in tmp_path.glob("*run-*")) == [
        "offline-run-1-aa",
        "offline-run-2-a",
    ]
    (tmp_path / "offline-run-2-a" / "run-a.wandb.synced").touch()
    assert state_of(tmp_path, "a", "1") == "sent"
    note(tmp_path, "a", Told("3", "https://somewhere", "run-2-a"))
    assert state_of(tmp_path, "a", "3") == "sent"
    whole = {"digest": "3", "url": None, "folder": "run-2-a"}
    for broken in ({"folder": None}, {"folder": "../.."}, {"folder": ".."}, {"url": 1}):
        (tmp_path / "told/a.json").write_text(json.dumps(whole | broken))
        assert state_of(tmp_path, "a", "3") == "missing"
    (tmp_path / "told/a.json").write_text("{")
    assert state_of(tmp_path, "a", "3") == "missing"


def test_a_study_has_its_own_figures_and_no_other_ones(tmp_path):
    changes = {"name": "a-b-c", "dataset": "d", "network": "n", "recipe": "r"}
    asked = with_changes(tiny_study("squeeze").record(), **changes)
    (tmp_path / "figures").mkdir()
    own = ["a-b-c-errors.png", "a-b-c-figure4.png", "forest-d-n-r.png"]
    for name in (*own, "a-b-c-recipe.epochs=2-errors.png", "a-b-cc-errors.png", "a-b-c-errors.pdf"):
        (tmp_path / "figures" / name).touch()
    assert [path.name for path in figures_of(tmp_path, asked)] == own


def dies(inbox, tell) -> None:
    tell("a last word")
    os._exit(3)


def sleeps(inbox, tell) -> None:
    subprocess.run(["sleep", "1000"])


def raises(inbox, tell) -> None:
    raise ValueError("something is wrong\nand more")


@pytest.mark.parametrize(
    ("function", "patience", "said"),
    [
        (dies, 600.0, ["a last word", "lost"]), (sleeps, 0.5, ["lost"]),
        (raises, 600.0, ["it: ValueError: something is wrong", "lost"]),
    ],
)  # fmt: skip
def test_whatever_happens_beside_the_training_is_said_and_no_more(function, patience, said):
    heard = []
    with BackgroundProcess(
        "it", function, say=lambda text, **_: heard.append(text), lost="lost"
    ) as process:
        process.send(Message("drawn"))  # nothing was trained: nothing is started
        assert process.state == "idle"
        process.start()
        for _ in range(3000):  # more than a pipe holds
            process.send(Message("epoch", Path("x" * 100)))
        process.close(patience)
    assert [line for line in heard if "last of it" not in line] == said


class Slow:
    """Takes its time to reach another process."""

    def __reduce__(self):
        return time.sleep, (1000,)


def test_a_process_that_has_not_even_begun_is_not_waited_for():
    heard = []
    words = {"say": lambda text, **_: heard.append(text), "lost": "lost"}
    with BackgroundProcess("it", dies, Slow(), **words) as process:
        process.start()
        process.close(0.5)
    assert heard == ["lost"] and not process.process.is_alive()


def test_a_process_that_dies_is_missed_at_once(capfd):
    heard = []
    with BackgroundProcess(
        "it", dies, say=lambda text, **_: heard.append(text), lost="lost"
    ) as process:
        process.start()
        process.process.join()
        process.send(Message("epoch"))
        assert heard == ["a last word", "lost"]
        process.send(Message("epoch"))
    assert heard == ["a last word", "lost"]


def test_the_training_does_not_notice_what_cannot_be_started(monkeypatch):
    def full(*_):
        raise OSError("no room")

    monkeypatch.setattr("experiments.launch.background.spawn", full)
    heard = []
    with BackgroundProcess(
        "it", dies, say=lambda text, **_: heard.append(text), lost="lost"
    ) as process:
        process.start()
        process.send(Message("epoch"))
    assert heard == ["lost"]
