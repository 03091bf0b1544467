"""What is read of studies and records: all of it, or it is named and left out."""

import json
import math
import shutil
from pathlib import Path

import pytest
from by_hand import study, write_run
from command_line import analyse, call
from typer import Exit

from analysis import __main__ as analysis_main
from analysis import write
from analysis.read import find_studies
from analysis.tables import study as tables
from analysis.tables.notes import notes
from experiments.records.files import read_sealed, write_sealed
from experiments.records.parsing import ConfigError
from experiments.records.record import Record


def test_two_data_sets_or_recipes_are_two_tables(tmp_path):
    study(tmp_path, 1)
    study(tmp_path, 1, dataset="cifar100")
    study(tmp_path, 1, recipe="demo")
    names = [found.name for found in find_studies(tmp_path, ["ratio"])]
    assert names == ["ratio-cifar10-resnet29b-demo", "ratio-cifar10-resnet29b-fast",
                     "ratio-cifar100-resnet29b-fast"]  # fmt: skip


def test_unknown_studies_are_one_sentence(tmp_path):
    study(tmp_path, 1)
    with pytest.raises(ConfigError, match="no study 'gate' in"):
        find_studies(tmp_path, ["gate"])


def test_records_of_a_data_set_that_is_not_there_any_more_are_read(tmp_path):
    study(tmp_path, 1, dataset="synthetic", skip=[("r = 8", 0)])
    there = {"RESULTS": str(tmp_path), "DATA_DIR": str(tmp_path / "none")}
    for words in (["status"], ["status", "ratio", "--dataset", "synthetic"]):
        shown = call(*words, **there)
        assert shown.returncode == 0 and "7 runs: 6 done, 1 planned" in shown.stdout
    done = analyse("tables", **there)
    assert done.returncode == 0, done.stderr
    [table] = tmp_path.glob("tables/ratio-synthetic-resnet29b-fast.md")
    assert "synthetic: a data set that is not known here" in table.read_text()
    refused = call("status", "--dataset", "textures", **there)
    assert refused.returncode == 2 and "textures" in refused.stderr


def damage(path: Path, how: str) -> None:
    """What can happen to a file between two looks at it."""
    data = path.read_bytes()
    changed = {
        "emptied": lambda: b"{}",
        "no object": lambda: b"null",
        "cut short": lambda: data[: len(data) // 2],
        "half a line lost": lambda: data[:-9],
        "one bit flipped": lambda: bytes([*data[:40], data[40] ^ 1, *data[41:]]),
    }
    path.write_bytes(changed[how]())


@pytest.mark.parametrize(
    ("name", "how"),
    [
        (name, how)
        for name in ("summary.json", "env.json", "config.json", "metrics.jsonl")
        for how in (
            "emptied",
            "no object",
            "cut short",
            "half a line lost",
            "one bit flipped",
            "lost",
        )
        if (name, how) != ("summary.json", "lost")  # then the run is not finished: no damage
    ],
)
def test_a_record_that_was_changed_is_named_and_left_out_whole(tmp_path, capsys, name, how):
    asked = study(tmp_path, 2)
    path = Record(tmp_path, asked.cells[3].config).path / name
    if how == "lost":
        path.unlink()
    else:
        damage(path, how)
    [found] = find_studies(tmp_path, [])
    assert len(found.of("r = 4")) == 1 and len(found.of("r = 8")) == 2
    said = " ".join(notes(found))
    assert "Not in the means: 1 damaged." in said and f"DAMAGED: {path}" in said
    assert len(found.curves[found.curves.row == "r = 4"]) == 2  # of the other seed
    with pytest.raises(Exit):
        analysis_main.end([found], [])
    assert str(path) in capsys.readouterr().err


def test_a_record_of_another_config_is_named_and_left_out(tmp_path):
    asked = study(tmp_path, 1)
    four, eight = (Record(tmp_path, asked.cells[k].config).path for k in (3, 4))
    shutil.rmtree(four)
    shutil.copytree(eight, four)  # whole, and not its own
    [found] = find_studies(tmp_path, [])
    assert found.damaged == [
        f"{four / 'config.json'} describes {eight.parent.name}/seed0: "
        "it was edited, or its folder was renamed"
    ]


@pytest.mark.parametrize(
    "changes",
    [{"test_error": math.nan}, {"hidden": None}, {"test_images": None}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_summary_without_its_numbers_is_damage(tmp_path, changes):
    asked = study(tmp_path, 2)
    path = Record(tmp_path, asked.cells[3].config).path / "summary.json"
    summary = read_sealed(path) | changes
    write_sealed(path, {key: value for key, value in summary.items() if value is not None})
    [found] = find_studies(tmp_path, [])
    assert len(found.damaged) == 1 and str(path) in found.damaged[0]
    assert len(found.of("r = 4")) == 1 and write.texts([found])


def test_gates_that_cannot_be_read_are_damage(tmp_path):
    asked = study(tmp_path, 2)
    record = Record(tmp_path, asked.cells[3].config)
    (record.path / "gates.npz").write_bytes(b"PK\x03\x04 and no more")
    (record.path / "summary.json").unlink()
    write_run(record, 8.0)  # sealed as it is
    [found] = find_studies(tmp_path, [])
    assert len(found.damaged) == 1 and "gates.npz cannot be read" in found.damaged[0]


@pytest.mark.parametrize(
    "change",
    [{"rows": []}, {"seeds": 0}, {"rows": [{"label": "a", "cell": "b", "reference": "c"}]},
     {"rows": [{"label": "a", "cell": "b"}] * 2}, {"settings": None}],
    ids=["no rows", "no seeds", "no such reference", "a row twice", "a key lost"],
)  # fmt: skip
def test_a_study_that_was_edited_is_one_sentence(tmp_path, change):
    study(tmp_path, 1)
    [path] = (tmp_path / "studies").iterdir()
    edited = json.loads(path.read_text()) | change
    path.write_text(json.dumps({k: v for k, v in edited.items() if (k, v) != ("settings", None)}))
    with pytest.raises(ConfigError, match="ratio-cifar10-resnet29b-fast") as error:
        find_studies(tmp_path, [])
    assert "\n" not in str(error.value)


def test_timings_that_lost_a_number_cost_a_time_and_no_record(tmp_path):
    asked = study(tmp_path, 1)
    path = Record(tmp_path, asked.cells[3].config).path / "timings.jsonl"
    path.write_text('{"epoch": 1, "images": 100}\n')
    [found] = find_studies(tmp_path, [])
    table = tables.numbers(found).set_index("row")
    assert table.seeds["r = 4"] == 1
