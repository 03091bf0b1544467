"""A study's file is what `run` wrote, or it is refused in a sentence that names it."""

import json
import multiprocessing
import os
import shutil

import pytest
from conftest import RECORDS, tiny_study

from experiments.records.files import read_json, write_json
from experiments.records.parsing import ConfigError, parse
from experiments.records.results import read_timings
from experiments.records.studies import read_studies, read_study, write_study
from experiments.records.study_file import StudyFile, runs_of, seeds_of_cells

OLD = sorted((RECORDS / "studies").glob("squeeze-*"))[0]  # of a version without checksums


@pytest.fixture
def sealed(tmp_path):
    study = tiny_study("squeeze")
    write_study(tmp_path, study.record())
    return tmp_path / "studies" / f"{study.name}.json"


def test_it_is_read_as_it_was_written(sealed):
    assert read_study(sealed) == tiny_study("squeeze").record()


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
    assert read_study(old(tmp_path)).plain() == json.loads(OLD.read_text())


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


ROWS = [{"label": "a", "cell": "A"}, {"label": "b", "cell": "B", "reference": "a"}]


def data(**changes) -> dict:
    asked = dict.fromkeys(["grid", "title", "dataset", "network", "recipe"], "x")
    asked |= dict.fromkeys(["training", "command", "about", "expected"], "")
    asked |= dict.fromkeys(["table", "expect", "spread"])
    asked |= {"demonstration": False, "settings": {}}
    return asked | {"name": "s", "seeds": 2, "rows": ROWS} | changes


def study(**changes) -> StudyFile:
    return parse(StudyFile, data(**changes))


def look(seeds: int) -> dict:
    return {"comparison": "", "rows": ["a"], "seeds": [seeds], "verdict": ""}


def test_runs_come_in_whole_rounds_and_some_rows_have_more(tmp_path):
    [one, other] = ROWS
    asked = study(rows=[one | {"seeds": 4}, other | {"seeds": 1}])
    names = [f"{path.parent.name}{path.name}" for path in runs_of(asked, tmp_path)]
    assert names == ["Aseed0", "Bseed0", "Aseed1", "Bseed1", "Aseed2", "Aseed3"]
    assert runs_of(asked, tmp_path)[0] == tmp_path / "runs/A/seed0"
    assert seeds_of_cells([asked, study(seeds=3)]) == {"A": 4, "B": 3}
    assert seeds_of_cells([study(seeds=3), asked]) == {"A": 4, "B": 3}


def test_a_study_is_kept_with_the_most_seeds_and_with_all_looks(tmp_path):
    results = tmp_path / "not" / "there"
    looks = [look(n) for n in range(3)]
    write_study(results, study(seeds=3, looks=looks[:2]))
    assert read_studies(results) == [study(seeds=3, looks=looks[:2])]
    [one, other] = ROWS
    write_study(results, study(rows=[one | {"seeds": 5}, other], looks=looks[1:]))
    write_study(results, study(rows=[one | {"seeds": 4}, other | {"seeds": 6}]))
    write_study(results, study(name="r", seeds=1))
    first, second = read_studies(results)
    assert first == study(name="r", seeds=1)
    rows = [one | {"seeds": 5}, other | {"seeds": 6}]
    assert second == study(seeds=3, rows=rows, looks=looks)
    write_study(results, study())
    assert read_studies(results)[1] == second


def add_seeds_and_a_look(results, number: int) -> None:
    [one, other] = ROWS
    rows = [one | {"seeds": 100 + number}, other]
    write_study(results, study(seeds=number, rows=rows, looks=[look(number)]))


def test_processes_that_write_a_study_at_once_lose_nothing_of_each_other(tmp_path):
    context = multiprocessing.get_context("fork")
    writers = [
        context.Process(target=add_seeds_and_a_look, args=(tmp_path, n)) for n in range(1, 17)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    [found] = read_studies(tmp_path)
    assert sorted(one.seeds[0] for one in found.looks) == list(range(1, 17))
    assert (found.seeds, found.rows[0].seeds) == (16, 116)
    assert [path.name for path in (tmp_path / "studies").iterdir()] == ["s.json"]


OPEN = {"tried": [[0.1, None], [0.2, None]], "chosen": None, "runs": ["A/seed1", "B/seed1"]}
HALF = OPEN | {"tried": [[0.1, 9.0], [0.2, None]]}
WIDER = OPEN | {"tried": [*OPEN["tried"], [0.4, None]], "runs": [*OPEN["runs"], "C/seed1"]}
CHOSEN = OPEN | {"tried": [[0.1, 9.0], [0.2, 8.0]], "chosen": 0.2}
ANEW = OPEN | {"runs": ["D/seed1", "E/seed1"]}  # the row was changed under its name


def tuned(row: dict, cell: str, key: str = "recipe.lr", seeds: int = 0) -> StudyFile:
    """A study whose row "a" has come so far, and whose row "b" is open."""
    rows = [ROWS[0] | {"cell": cell} | ({"seeds": seeds} if seeds else {}), ROWS[1]]
    return study(rows=rows, tune={"key": key, "rows": {"a": row, "b": OPEN}})


@pytest.mark.parametrize(
    ("first", "then", "is_kept"),
    [
        (HALF, OPEN, True), (WIDER, HALF, True), (CHOSEN, HALF, True), (CHOSEN, OPEN, True),
        (OPEN, HALF, False), (HALF, WIDER, False), (OPEN, CHOSEN, False), (CHOSEN, ANEW, False),
        (CHOSEN, WIDER, False),
    ],
)  # fmt: skip
def test_what_another_command_has_tuned_meanwhile_is_kept(tmp_path, first, then, is_kept):
    """The second one has made its study before the first one came so far."""
    write_study(tmp_path, tuned(first, "A-first", seeds=4))
    write_study(tmp_path, tuned(then, "A-then"))
    [found] = read_studies(tmp_path)
    assert found.tune == tuned(first if is_kept else then, "A").tune
    assert [row.cell for row in found.rows] == ["A-first" if is_kept else "A-then", "B"]
    assert found.rows[0].seeds == (4 if is_kept else 0)


def test_what_was_tuned_of_another_setting_is_not_kept(tmp_path):
    write_study(tmp_path, tuned(CHOSEN, "A-first", key="recipe.momentum"))
    write_study(tmp_path, tuned(OPEN, "A-then"))
    [found] = read_studies(tmp_path)
    assert found == tuned(OPEN, "A-then")


def test_what_a_later_version_has_added_is_kept_and_each_file_has_its_order(tmp_path):
    later = {"colour": {"of": ["x"]}, "rows": [ROWS[0] | {"mark": "o"}, ROWS[1]]}
    tried = {"tried": [[0.1, 3], [0.2, None]], "chosen": 0.1, "runs": ["A/seed10000"], "why": "w"}
    tune = {"key": "recipe.lr", "rows": {"a": tried}}
    whole = {"declares": [{"rows": ["a"], "minus": ["b"], "note": "n"}], "looks": [look(1)]}
    write_study(tmp_path, study(**later, **whole, tune=tune))
    path = tmp_path / "studies" / "s.json"
    assert json.loads(path.read_text()).items() >= data(**later, **whole, tune=tune).items()
    write_study(tmp_path, study(seeds=5))
    found = read_json(path)
    assert found["colour"] == later["colour"] and found["seeds"] == 5
    first = [key for key in StudyFile.model_fields if key in data()]
    assert list(found) == [*first, "looks", "colour", "sha256"]


@pytest.mark.parametrize(
    "changes",
    [
        {"seeds": 0}, {"seeds": "2"}, {"rows": []}, {"rows": {}}, {"rows": "ab"}, {"rows": ["a"]},
        {"rows": [{"label": "a"}]}, {"rows": [{"cell": "A"}]}, {"rows": [ROWS[0]] * 2},
        {"rows": [ROWS[1]]}, {"looks": ["x"]}, {"looks": [{}]}, {"declares": [{}]},
        {"looks": [{"rows": []}, {}]},
    ],
    ids=str,
)  # fmt: skip
def test_a_study_that_was_edited_is_refused(tmp_path, changes):
    write_study(tmp_path, study(looks=[look(1)], declares=[{"rows": ["a"], "minus": ["b"]}]))
    assert len(read_studies(tmp_path)) == 1
    path = tmp_path / "studies" / "s.json"
    write_json(path, data(**changes))
    with pytest.raises(ConfigError, match=r"s\.json was edited or damaged: "):
        read_studies(tmp_path)


@pytest.mark.parametrize("key", data())
def test_a_study_that_lacks_a_key_is_refused(tmp_path, key):
    write_study(tmp_path, study())
    content = data()
    del content[key]
    write_json(tmp_path / "studies" / "s.json", content)
    with pytest.raises(
        ConfigError, match=rf"s\.json was edited or damaged: the key '{key}' is missing"
    ):
        read_studies(tmp_path)


@pytest.mark.parametrize(
    ("key", "last", "beyond"),
    [
        ("expect", [0.0, 100.0], [0.0, 100.5]),
        ("title", "x" * 1_000, "x" * 1_001),
        ("training", "x" * 10_000, "x" * 10_001),
        ("seeds", 10_000, 10_001),
    ],
)
def test_the_bounds_are_those_that_are_written(key, last, beyond):
    plain = tiny_study("squeeze").record().plain()
    assert parse(StudyFile, plain | {key: last}).plain()[key] == last
    with pytest.raises(ConfigError, match=key):
        parse(StudyFile, plain | {key: beyond})


def test_a_row_has_no_seeds_of_its_own_unless_some_were_added():
    study = tiny_study("squeeze", seeds=2).record()
    assert study.group == ("cifar10", "resnet20", "smoke")
    assert {row.seeds for row in study.rows} == {0} and set(seeds_of_cells([study]).values()) == {2}
