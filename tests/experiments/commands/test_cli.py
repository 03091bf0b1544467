"""The command line, from a user's side: whole studies, and whatever can be got wrong."""

import os
import re
import sys
from pathlib import Path

import pytest
from command_line import bare, call, table_of, wrong
from conftest import tiny_settings, tiny_study, tiny_words

from experiments import __main__ as cli
from experiments.data.datasets import DATASETS
from experiments.records.studies import write_study
from senet.custom import TABLES

TINY_SETTINGS = tiny_settings()


def files(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*.json*")}


@pytest.mark.slow
def test_a_study_from_start_to_table_and_only_once(tmp_path, data_dir):
    results = tmp_path / "results"
    words = ["squeeze", "--network", "resnet20", "--recipe", "smoke", *TINY_SETTINGS]
    there = {"DATA_DIR": str(data_dir), "RESULTS": str(results), "SEEDS": "2"}
    first = call("run", *words, draws=True, **there)
    assert first.returncode == 0, first.stderr
    assert "squeeze: data cifar10, network resnet20, recipe smoke" in first.stdout
    assert "0 of 10 runs are there, 10 to train" in first.stdout
    assert len(re.findall(r"^done .*% test error", first.stdout, re.M)) == 10
    assert "Squeeze operator (Table 11 of the paper)" in first.stdout
    table = table_of(results, ".md").read_text()
    assert "avgmax" in table and "22.57" in table and "±" in table and "A DEMONSTRATION" in table
    assert len(list((results / "figures").glob("squeeze-*.png"))) == 2

    before = files(results / "runs")
    second = call("run", *words, **there)
    assert second.returncode == 0 and "10 of 10 runs are there, 0 to train" in second.stdout
    assert files(results / "runs") == before

    elsewhere = {**there, "DATA_DIR": str(tmp_path / "nothing")}
    assert call("run", *words, **elsewhere, DATASET="cifar10").returncode == 0  # needs no data

    status = call("status", RESULTS=str(results))
    assert status.returncode == 0 and status.stdout.count(" %") == 10
    assert "10 runs: 10 done" in status.stdout

    # a run is lost, another one cannot be written: the rest goes on, and the end tells
    lost = sorted((results / "runs").glob("*/seed0"))
    (lost[0] / "summary.json").unlink()
    (lost[1] / "summary.json").unlink()
    (lost[1] / "env.json").unlink()
    (lost[1] / "env.json").mkdir()  # a folder in the way: not even root can write a file there
    third = call("run", *words, **there)
    assert third.returncode == 1 and "8 of 10 runs are there, 2 to train" in third.stdout
    *_, failed, last = third.stdout.strip().splitlines()
    assert failed.startswith("FAILED") and failed.endswith("error.txt)") and "`retry`" in last
    assert "env.json" in (lost[1] / "error.txt").read_text()
    assert (lost[0] / "summary.json").exists()
    assert "1/2" in table_of(results, ".md").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "ratioo"], "unknown grid 'ratioo': did you mean 'ratio'?"),
        (["run", "ratio", "--dataset", "cifar"], "unknown dataset 'cifar': did you mean 'cifar10'"),
        (["run", "ratio", "--network", "resnet29"], "unknown network 'resnet29': did you mean"),
        (["run", "ratio", "--recipe", "fats"], "unknown recipe 'fats': did you mean 'fast'?"),
        (["run", "ratio", "--seeds", "0"], "seeds 0: at least one seed is needed"),
        (["run", "ratio", "--seeds", "many"], "should be a valid integer"),
        (["run", "ratio", "--workers", "99999999999"], "at most 1,024 on one machine"),
        (["run", "ratio", "--workers", "0"], "workers 0: at least one is needed"),
        (["run", "ratio", "--budget", "0s"], "'0s' is no time at all"),
        (["run", "ratio", "--patience", "10"], "'10' is not a duration, such as 90s"),
        (["run", "ratio", "--until", "0"], "greater than or equal to 0.001"),
        (["delete", "../x/seed0"], "no run '../x/seed0' in"),
        (["run", "ratio", "--device", "gpu"], "unknown device 'gpu': allowed are auto, cuda"),
        (["run", "ratio", "--device", "cpu:9"], "unknown device 'cpu:9'"),
        (["run", "ratio", "--set", "recipe.lr=2020-13-45"], "recipe.lr: '2020-13-45'"),
        (
            ["run", "ratio", *tiny_settings(test_images=9999)],
            "recipe.test_images 9999: cifar10 has",
        ),
        (["status", "--dataset", "cifar"], "unknown dataset 'cifar'"),
        (["run", "ratio", "--set", "se.gate=sigmod"], "did you mean 'sigmoid'?"),
        (["run", "ratio", "--set", "se.squeeze=mean"], "unknown squeeze 'mean'"),
        (["run", "ratio", "--set", "se.position=inside"], "unknown position 'inside'"),
        (["run", "ratio", "--set", "se.ratio=3"], "varies or fixes se.ratio"),
        (
            ["run", "gate", "--set", "se.ratio=128"],
            "SE_2_1: ratio 128 leaves no hidden unit for 64",
        ),
        (["run", "ratio", "--network", "resnet20"], "row 'r = 32': SE_2_1: ratio 32 leaves no"),
        (["run", "placement", "--network", "resnet20"], "row '3x3': position '3x3' needs a bottle"),
        (["run", "ratio", "--set", "recipe.lr=fast"], "recipe.lr: 'fast' is not allowed"),
        (["run", "ratio", *tiny_settings(train_images=999)], "of which 88 are left for it"),
        (["run", "ratio", "--sead", "1"], "--sead"),
        (["run"], "Missing argument 'grids'"),
        (["rum", "ratio"], "rum"),
        (["plan", "no/such/file.yaml"], "no/such/file.yaml: No such file"),
        (["status", "ratioo"], "did you mean 'ratio'?"),
        (["data", "--dataset", "mnist"], "unknown dataset 'mnist'"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_nothing_is_written(
    capsys, tmp_path, data_dir, words, message, monkeypatch
):
    monkeypatch.setenv("RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("DATA_DIR", str(data_dir))
    assert message in wrong(capsys, *words)
    assert not (tmp_path / "results").exists()


def test_results_that_cannot_be_written_are_named(capsys, tmp_path, data_dir, monkeypatch):
    monkeypatch.setenv("DATA_DIR", str(data_dir))
    (tmp_path / "file").write_text("in the way")
    said = wrong(capsys, "run", "ratio", "--results", str(tmp_path / "file" / "results"))
    assert "cannot be written" in said and str(tmp_path / "file") in said


def test_a_truncated_data_file_ends_before_anything_is_written(
    capsys, tmp_path, data_dir, monkeypatch
):
    monkeypatch.setenv("RESULTS", str(tmp_path / "results"))
    content = (data_dir / "cifar10.npz").read_bytes()
    (tmp_path / "cifar10.npz").write_bytes(content[: len(content) // 2])
    said = wrong(capsys, "run", "ratio", "--data-dir", str(tmp_path), *TINY_SETTINGS)
    assert "cifar10.npz is damaged" in said
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("name", ["runs", "studies"])
def test_a_file_in_the_place_of_a_folder_is_named(capsys, tmp_path, data_dir, monkeypatch, name):
    monkeypatch.setenv("DATA_DIR", str(data_dir))
    (tmp_path / name).write_text("in the way")
    said = wrong(capsys, "run", "ratio", "--results", str(tmp_path), *TINY_SETTINGS)
    assert str(tmp_path / name) in said


def test_a_name_that_is_too_long_is_one_sentence(capsys, monkeypatch, data_dir):
    monkeypatch.setenv("DATA_DIR", str(data_dir))
    assert "too long" in wrong(capsys, "run", "ratio", "--results", "x" * 300, *TINY_SETTINGS)


@pytest.mark.parametrize("content", ["{}", "[]", "null", "{"])
def test_a_damaged_study_is_named(capsys, tmp_path, content):
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "own.json").write_text(content)
    assert "own.json" in wrong(capsys, "status", "--results", str(tmp_path))


@pytest.mark.parametrize(
    ("old", "new"), [('"seeds": 1', '"seeds": "x"'), ('"label"', '"lab"'), ('"rows"', '"raws"')]
)
@pytest.mark.parametrize("command", ["status", "run"])
def test_an_edited_study_is_named(capsys, tmp_path, data_dir, monkeypatch, command, old, new):
    monkeypatch.setenv("DATA_DIR", str(data_dir))
    asked = tiny_study("squeeze")
    write_study(tmp_path, asked.record())
    path = tmp_path / "studies" / f"{asked.name}.json"
    path.write_text(path.read_text().replace(old, new))
    words = ["run", "squeeze", *tiny_words()] if command == "run" else ["status"]
    assert str(path) in wrong(capsys, *words, "--results", str(tmp_path))


@pytest.fixture
def forgotten():
    """What a file of one's own adds is not there for the next test."""
    before = {setting: dict(table) for setting, table in TABLES.items()}
    yield
    for name in [name for name in sys.modules if name.startswith("own_")]:
        del sys.modules[name]
    for setting, table in TABLES.items():
        table.clear()
        table.update(before[setting])


OWN_CODE = {
    "import sys; sys.exit(0)": "does not run: SystemExit: 0",
    "raise KeyError": "does not run: KeyError",
    "from senet.block import GATES\nGATES['own_x'] = lambda channels: {}['y']": "KeyError: 'y'",
    "from senet.block import GATES\ndef fail(channels):\n    raise NotImplementedError\n"
    "GATES['own_y'] = fail": "row 'own_y': NotImplementedError",
}


@pytest.mark.parametrize("source", OWN_CODE)
@pytest.mark.parametrize("command", ["run", "plan"])
def test_own_code_that_fails_is_one_sentence(
    capsys, tmp_path, monkeypatch, forgotten, command, source
):
    monkeypatch.setenv("RESULTS", str(tmp_path / "results"))
    (tmp_path / "code.py").write_text(source)
    row = "own_y" if "own_y" in source else "own_x"
    (tmp_path / "own.yaml").write_text(
        f"title: T\ncode: code.py\nreference: {row}\ncells:\n  - se.gate: [{row}]\n"
    )
    said = wrong(capsys, command, str(tmp_path / "own.yaml"), *tiny_words())
    assert OWN_CODE[source] in said and not (tmp_path / "results").exists()


def test_marks_in_a_label_stay_text(capsys, tmp_path, monkeypatch):
    path = tmp_path / "own.yaml"
    path.write_text(
        "title: '[/it] title'\nreference: '[red]four'\n"
        "cells:\n  - label: '[red]four'\n    se.ratio: 4\n"
    )
    monkeypatch.setattr(sys, "argv", ["experiments", "plan", str(path), "--dataset", "svhn",
                                      "--network", "resnet20", "--recipe", "smoke"])  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        cli.main()
    shown = capsys.readouterr().out
    assert ended.value.code in (0, None) and "[red]four" in shown and "[/it] title" in shown


def test_help_names_every_choice():
    text = call("run", "--help").stdout
    assert f"auto or one of {', '.join(DATASETS)}" in " ".join(text.split())
    assert "RESULTS" in text and "--set" in text


def test_a_command_in_this_process_sees_the_users_environment_and_leaves_ours(monkeypatch):
    """Without PATH the compiler does not find its own parts."""
    monkeypatch.setenv("SEEDS", "7")
    monkeypatch.setenv("KEPT", "x")
    before, seen = os.environ.copy(), {}
    call("words", main=lambda: seen.update(os.environ), RESULTS="r")
    assert seen == bare() | {"RESULTS": "r"} and seen["KEPT"] == "x" and "PATH" in seen
    assert os.environ == before
