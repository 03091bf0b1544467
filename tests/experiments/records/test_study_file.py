"""A study's file is what `run` wrote, or it is refused in a sentence that names it."""

import json
import os
import shutil

import pytest
from conftest import RECORDS, tiny_study

from experiments.records.config import ConfigError
from experiments.records.record import read_timings, write_study
from experiments.records.study_file import read_studies, read_study

OLD = sorted((RECORDS / "studies").glob("squeeze-*"))[0]  # of a version without checksums


@pytest.fixture
def sealed(tmp_path):
    study = tiny_study("squeeze")
    write_study(tmp_path, study.record())
    return tmp_path / "studies" / f"{study.name}.json"


def test_it_is_read_as_it_was_written(sealed):
    assert read_study(sealed) == json.loads(json.dumps(tiny_study("squeeze").record()))


def swap(study):
    rows = study["rows"]
    rows[0]["label"], rows[1]["label"] = rows[1]["label"], rows[0]["label"]


def say_it_is_none(study):
    study["demonstration"] = False


@pytest.mark.parametrize("edit", [swap, say_it_is_none])
def test_one_that_was_edited_is_refused(sealed, edit):
    study = json.loads(sealed.read_text())
    edit(study)
    sealed.write_text(json.dumps(study))
    with pytest.raises(ConfigError, match=f"{sealed} is not what the run wrote"):
        read_study(sealed)


def test_one_whose_checksum_was_removed_is_refused(sealed):
    """Which versions write it tells it from a file that never had one."""
    study = json.loads(sealed.read_text()) | {"arithmetic": {"precision": "fp32", "step": "plain"}}
    del study["sha256"]
    study["demonstration"] = False
    sealed.write_text(json.dumps(study))
    with pytest.raises(ConfigError, match=f"{sealed} is not what the run wrote"):
        read_study(sealed)


def old(folder, name: str = OLD.name):
    (folder / "studies").mkdir()
    return shutil.copy(OLD, folder / "studies" / name)


def test_one_without_a_checksum_is_read(tmp_path):
    assert read_study(old(tmp_path)) == json.loads(OLD.read_text())


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("name", "../../outside", "name: '../../outside' is not allowed"),
        ("name", "another", "it describes 'another'"),
        ("dataset", "/etc/passwd", "dataset"),
        ("recipe", "-x", "recipe"),
        ("seeds", 10**9, "seeds"),  # else status and tables would look for a billion runs
        ("seeds", True, "seeds"),
        ("spread", float("inf"), "spread"),
        ("spread", float("nan"), "spread"),
        ("expect", [1], "expect"),
        ("demonstration", "no", "demonstration"),
        ("title", "a\nb", "title"),
        ("title", "\ud800", "surrogate"),
        ("settings", [], "settings"),
        ("table", "x", "table"),
        ("declares", [{"rows": ["no SE"], "minus": ["x"]}], "no row is called 'x'"),
        ("looks", [{"rows": 5}], "looks"),
        ("rows", "x" * 10**6, "rows"),
        ("rows", [{"label": "a", "cell": "../../b"}], "cell"),
        ("rows", [{"label": "a", "cell": "b", "seeds": 10**9}], "seeds"),
        ("rows", [{"label": "a", "cell": "b", "levels": {"x": 5}}], "levels"),
    ],
    ids=lambda value: str(value)[:30].encode("ascii", "replace").decode(),
)
def test_one_without_a_checksum_is_refused_where_it_makes_no_sense(tmp_path, key, value, reason):
    path = old(tmp_path)
    path.write_text(json.dumps(json.loads(OLD.read_text()) | {key: value}))
    with pytest.raises(ConfigError) as error:
        read_studies(tmp_path)
    assert str(error.value).startswith(str(path)) and reason in str(error.value)
    assert len(str(error.value)) < 600 and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content", [b"[" * 10**6, b"\xff\xfe", b'{"a": ' + b"9" * 5000 + b"}", b"\0" * 100]
)
def test_junk_is_refused(tmp_path, content):
    path = old(tmp_path)
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=str(path)):
        read_studies(tmp_path)


@pytest.mark.timeout(20)
def test_a_pipe_in_the_place_of_a_file_does_not_hang(tmp_path):
    path = old(tmp_path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ConfigError, match=f"^{path} cannot be read: it is not a file$"):
        read_studies(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        {"epoch": 1, "images": 48, "seconds": "fast"},
        {"epoch": 1, "images": "many", "seconds": 1.0},
        {"epoch": 1, "images": 48, "seconds": float("inf")},
        {"epoch": 1, "images": 48, "seconds": float("nan")},
        {"epoch": 1, "images": 48, "seconds": -1.0},
        {"epoch": "one", "images": 48, "seconds": 1.0},
        {"epoch": 1, "images": 10**400, "seconds": 1.0},
        {"images": True, "seconds": True},
        {"started": "now", "step": 0},
    ],
    ids=str,
)
def test_a_time_that_is_no_number_is_left_out(tmp_path, line):
    good = {"epoch": 1, "images": 48, "seconds": 0.5}
    (tmp_path / "timings.jsonl").write_text(f"{json.dumps(line)}\n{json.dumps(good)}\n")
    assert read_timings(tmp_path) == [good]
