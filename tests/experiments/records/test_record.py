"""Records on disk: what each file holds, which state they say, and what is refused."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from conftest import tiny
from somebody import as_somebody_else, let_all_in

from experiments.records import states
from experiments.records.config import RunConfig
from experiments.records.files import read_sealed, write_sealed
from experiments.records.lock import hold
from experiments.records.parsing import ConfigError
from experiments.records.record import Record, delete, find_run, keep_code, load_record
from experiments.records.results import read_result, seconds_spent
from experiments.records.room import check_writable
from experiments.records.states import (
    CANCELLED,
    DISK_FULL,
    FINISHED,
    KILLED,
    REFUSED,
    UNFINISHED,
    State,
    failure,
    state,
)
from experiments.records.study_file import Arithmetic


@pytest.fixture
def record(tmp_path) -> Record:
    one = Record(tmp_path, tiny(se={"ratio": 8}, seed=3))
    one.begin()
    return one


SUMMARY = dict.fromkeys(("test_error", "test_images", "parameters", "multiply_adds", "hidden"), 1)


def end(record: Record) -> None:
    """Leaves a whole record with one epoch."""
    record.write_metrics([{"epoch": 0}])
    record.write_environment({"precision": "fp32", "data": "d"})
    record.write_predictions(label=np.arange(3))
    record.write_gates(b"gates")
    record.finish(SUMMARY | {"state": "done"})


def test_a_records_folder_names_its_config(tmp_path):
    record = Record(tmp_path, tiny(se={"ratio": 8}, seed=3))
    folder = f"cifar10-resnet20-tiny-se-ratio8-{record.config.id}"
    assert record.path == tmp_path / "runs" / folder / "seed3"
    assert record.name == f"{folder}/seed3" and record.checkpoint == record.path / "checkpoint.pt"
    record.begin()
    assert load_record(record.path) == record and find_run(tmp_path, record.name) == record.path


def test_an_edited_config_is_refused(record):
    path = record.path / "config.json"
    text = path.read_text()
    path.write_text(text.replace('"ratio": 8', '"ratio": 4'))
    with pytest.raises(ConfigError, match="it was edited, or its folder was renamed"):
        load_record(record.path)
    path.write_text(text[:40])
    with pytest.raises(ConfigError, match="cannot be read"):
        load_record(record.path)


def test_each_state_of_a_file_is_finished_or_missing_or_refused():
    of_tables = (State.MISSING, State.OTHER_DATA, State.PENDING)
    sets = [*FINISHED, *UNFINISHED, *REFUSED]
    assert sorted(sets) == sorted(set(State) - {*of_tables} | {State.OTHER_DATA})
    assert f"{State.DONE:>5}|{State.OTHER_DATA}" == " done|other data"  # as it is printed


@pytest.mark.parametrize("word", ["planned", "missing", "sold", 5, None])
def test_a_summary_of_no_state_that_ends_a_run_is_damaged(record, word):
    record.finish({"state": word})
    assert record.state == State.DAMAGED


def test_the_state_is_what_the_files_say(tmp_path):
    record = Record(tmp_path, tiny())
    assert record.state == "planned" and not record.failed
    record.begin()
    assert record.state == "interrupted"
    record.fail("ValueError", "broken", "Traceback ...")
    assert record.state == state(record.path) == "failed" and record.failed
    for kind in (KILLED, DISK_FULL):  # no fault of the run's
        record.fail(kind, "by someone")
        assert record.state == "interrupted" and not record.failed
    record.fail(CANCELLED, "by someone who had asked for it")
    assert record.state == "cancelled" and not record.failed
    with hold(record.path):
        assert record.state == "running"
    record.begin()
    assert record.state == "interrupted" and not record.finished
    record.finish({"state": "diverged"})
    assert record.state == "diverged" and record.finished
    assert not list(record.path.glob(".*")), "nothing half written is left"
    with pytest.raises(ConfigError, match="holds a finished run, which is never trained again"):
        record.begin()
    damaged = record.path / "summary.json"
    damaged.write_text(damaged.read_text().replace("diverged", "done"))
    assert record.state == "damaged" and record.finished


@pytest.mark.parametrize(
    ("details", "text"),
    [
        ("", "ValueError: é\n"),
        (" \n", "ValueError: é\n"),
        ("\nline 1\nline 2\n\n", "ValueError: é\n\nline 1\nline 2\n"),
    ],
)
def test_a_failure_is_a_line_and_its_details(record, details, text):
    record.fail("ValueError", "é", details)
    assert (record.path / "error.txt").read_text(encoding="utf-8") == text
    assert failure(record.path) == "ValueError: é"
    record.begin()
    assert failure(record.path) == "" and not (record.path / "error.txt").exists()


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda path: path.touch(), "unknown: error.txt is empty"),
        (lambda path: path.mkdir(), "unknown: error.txt cannot be read: Is a directory"),
        (lambda path: path.write_bytes(b"a: \xff\n"), "a: \N{REPLACEMENT CHARACTER}"),
    ],
    ids=["empty", "a folder", "no text"],
)
def test_an_error_that_cannot_be_read_is_a_failure(record, make, line):
    make(record.path / "error.txt")
    assert failure(record.path) == line and record.failed


def test_the_environment_of_the_first_start_stays_and_later_ones_add_what_differs(record):
    first = record.note_start({"torch": "2", "device": "cpu"}, 0)
    assert first == read_sealed(record.path / "env.json")
    assert {k: first[k] for k in first if k != "started"} == {"torch": "2", "device": "cpu"}
    record.append("timings.jsonl", {"epoch": 1, "images": 10, "seconds": 2.5})
    with (record.path / "timings.jsonl").open("a") as file:
        file.write('{"seconds": ')  # cut in two by a kill
    assert seconds_spent(record.path) == 2.5
    record.note_start({"torch": "3", "device": "cpu"}, 4)
    found = record.note_start({"torch": "2", "device": "cpu", "threads": 1}, 6)
    assert found == read_sealed(record.path / "env.json")
    assert {k: found[k] for k in first} == first and set(found) == {*first, "resumed"}
    one, other = ({k: v for k, v in row.items() if k != "started"} for row in found["resumed"])
    assert one == {"step": 4, "torch": "3"} and other == {"step": 6, "threads": 1}
    lines = [json.loads(line) for line in (record.path / "timings.jsonl").open()]
    assert [line.get("step") for line in lines] == [0, None, 4, 6]
    assert lines[0]["started"] == first["started"] and seconds_spent(record.path) == 2.5
    # one that starts anew has no past
    assert set(record.note_start({"torch": "2"}, 0)) == {"torch", "started"}


def test_a_lost_environment_is_named(record):
    found = record.note_start({"torch": "2"}, 7)
    assert found["lost"].startswith("of the steps before 7: ") and "env.json" in found["lost"]
    assert found["torch"] == "2" and found["resumed"] == [{"step": 7}]


def test_a_run_that_has_not_begun_has_taken_no_time(tmp_path):
    assert seconds_spent(tmp_path) == 0


def test_a_result_is_read_as_it_was_written(record):
    end(record)
    found = read_result(record.path)
    assert found.config == record.config and found.metrics == [{"epoch": 0}]
    assert found.env == {"precision": "fp32", "data": "d"}
    names = {"config.json", "metrics.jsonl", "predictions.npz", "gates.npz"}
    digests = {n: hashlib.sha256((record.path / n).read_bytes()).hexdigest() for n in names}
    assert found.summary == record.summary() == SUMMARY | {"state": "done", "files": digests}
    with np.load(record.path / "predictions.npz") as arrays:
        assert arrays["label"].tolist() == [0, 1, 2]
    assert (record.path / "gates.npz").read_bytes() == b"gates"


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "predictions.npz", "gates.npz"])
def test_a_result_of_which_a_file_was_changed_is_refused(record, name):
    end(record)
    path = record.path / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ConfigError, match=f"{name} is not what the run wrote: edited, or cut"):
        read_result(record.path)
    path.unlink()
    with pytest.raises(ConfigError, match=f"{name} is not there"):
        read_result(record.path)


@pytest.mark.parametrize("name", ["predictions.npz", "gates.npz"])
def test_a_result_with_a_file_that_it_did_not_write_is_refused(record, name):
    record.write_metrics([{"epoch": 0}])
    record.write_environment({"precision": "fp32", "data": "d"})
    record.finish(SUMMARY | {"state": "done"})
    assert read_result(record.path)
    (record.path / name).write_bytes(b"of another run")
    with pytest.raises(ConfigError, match=f"{name} is not of this run: its summary does not list"):
        read_result(record.path)


@pytest.mark.parametrize(
    ("name", "key"),
    [("env.json", key) for key in ("precision", "data")]
    + [("summary.json", key) for key in (*SUMMARY, "state", "files")],
)
def test_a_result_that_lacks_a_key_is_refused(record, name, key):
    end(record)
    content = read_sealed(record.path / name)
    del content[key]
    write_sealed(record.path / name, content)
    with pytest.raises(ConfigError, match=f"{name} is damaged: it lacks .*{key}"):
        read_result(record.path)


def test_a_run_is_deleted_by_its_full_name_unless_it_is_trained(record, tmp_path):
    with pytest.raises(ConfigError, match=f"no run 'x' in {tmp_path / 'runs'}$"):
        find_run(tmp_path, "x")
    with pytest.raises(ConfigError, match=f"did you mean '{record.name}'"):
        find_run(tmp_path, record.name[:-1])
    path = find_run(tmp_path, record.name)
    with hold(path), pytest.raises(ConfigError, match="is being trained: stop that first"):
        delete(path)
    delete(path)
    assert not path.exists() and path.parent.exists()


def test_code_of_ones_own_is_kept_where_its_runs_look_for_it(tmp_path):
    source = tmp_path / "mine.py"
    source.write_text("VALUE = 'é'\n")
    for _ in range(2):
        keep_code(tmp_path / "results", source)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    [kept] = (tmp_path / "results" / "code").iterdir()
    assert kept.name == f"{digest}.py" and kept.read_bytes() == source.read_bytes()
    config = RunConfig.model_validate(
        tiny().model_dump() | {"code": {"file": "mine.py", "digest": digest}}
    )
    assert Record(tmp_path / "results", config).code_path == kept


@pytest.mark.parametrize("name", ["runs", "studies", "code"])
def test_results_that_cannot_be_written_are_found_before_anything_is(tmp_path, monkeypatch, name):
    results = tmp_path / "deep" / "results"
    monkeypatch.chdir(tmp_path)
    for there in (results, Path("deep/results"), Path()):
        check_writable(there)
    assert not list(tmp_path.iterdir())
    results.mkdir(parents=True)
    (results / name).touch()  # a file in its way
    with pytest.raises(ConfigError, match=f"{results / name} is not a writable folder"):
        check_writable(results)
    (results / name).unlink()
    for missing in (os.W_OK, os.X_OK):
        monkeypatch.setattr(os, "access", lambda path, mode, missing=missing: not mode & missing)
        with pytest.raises(ConfigError, match=f"{results} is not a writable folder"):
            check_writable(results)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be two users")
@pytest.mark.parametrize("name", ["runs", "studies", "code"])
def test_a_sticky_folder_of_another_user_is_refused(tmp_path, name):
    let_all_in(tmp_path)
    folder = tmp_path / "results" / name
    for made in (folder.parent, folder):
        made.mkdir()
        made.chmod(0o1777)
    check_writable(tmp_path / "results")  # its owner may replace everything
    refused = pytest.raises(ConfigError, match=f"{folder} is sticky.*: chmod -R -t {folder.parent}")
    with as_somebody_else(), refused:
        check_writable(tmp_path / "results")
    folder.chmod(0o777)
    with as_somebody_else():
        check_writable(tmp_path / "results")  # where others' own files lie, as in /tmp


def test_a_run_is_the_same_whatever_arithmetic_its_study_has_settled(tmp_path):
    """Two studies that share it would train it twice, and at once."""
    config = tiny()
    first, second = (Record(tmp_path, config, Arithmetic(precision=p)) for p in ("fp32", "bf16"))
    assert first == second and len({first: "a", second: "b"}) == 1
    assert first != Record(tmp_path / "elsewhere", config)


def test_a_run_that_ends_while_it_is_looked_at_is_done(tmp_path, monkeypatch):
    record = Record(tmp_path, tiny())
    record.begin()

    def end(path: Path) -> None:
        record.write_environment({})
        record.write_metrics([{"epoch": 1}])
        record.finish({"state": "done", "test_error": 1.0})

    monkeypatch.setattr(states, "holder", end)
    assert states.state(record.path) == "done"
