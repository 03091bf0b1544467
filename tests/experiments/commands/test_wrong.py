"""Whatever is typed or written into a grid ends in exit status 2 and one sentence."""

from pathlib import Path

import pytest
import yaml
from command_line import call, wrong
from conftest import tiny_study, tiny_words
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from experiments.records.config import Recipe
from experiments.records.parsing import ConfigError
from experiments.study.grid import Grid, list_grids
from senet.config import SEConfig

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1)
NO_NUMBERS = WORDS.filter(lambda text: not any(sign.isdigit() for sign in text))
JUNK = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(autouse=True)
def nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    yield
    assert not (tmp_path / "results").exists() and not (tmp_path / "data").exists()


def plan(capsys, *words: str) -> str:
    return wrong(capsys, "plan", *words)


@JUNK
@given(
    key=st.sampled_from([name for name in Recipe.model_fields if name not in ("name", "nesterov")]),
    value=NO_NUMBERS.filter(lambda text: text not in ("null", "~", "Null", "NULL")) | st.just("-7"),
)
def test_settings_of_a_recipe(capsys, key, value):
    said = plan(capsys, "ratio", "--set", f"recipe.{key}={value}")
    assert "recipe" in said


@JUNK
@given(key=st.sampled_from(sorted(SEConfig.__dataclass_fields__)), value=NO_NUMBERS)
def test_settings_of_the_block(capsys, key, value):
    plan(capsys, "gate", "--set", f"se.{key}={value}x")


@JUNK
@given(path=st.lists(WORDS.filter(lambda text: "=" not in text), min_size=1, max_size=3))
def test_keys_that_are_not_there(capsys, path):
    key = ".".join(path)
    plan(capsys, "ratio", "--set", f"{key}.x=1")


@JUNK
@given(
    option=st.sampled_from(
        ["--dataset", "--network", "--recipe", "--seeds", "--device", "--workers"]
    ),
    value=WORDS.map("x".__add__),
)
def test_options(capsys, option, value):
    plan(capsys, "ratio", option, value)


@JUNK
@given(
    option=st.sampled_from(["--budget", "--until", "--patience", "--checkpoint-every", "--seeds"]),
    value=WORDS.map("x".__add__) | st.sampled_from(["0", "-1", "-3h", "1e9h", "nan", "inf", "8 h"]),
)
def test_options_of_run(capsys, option, value):
    wrong(capsys, "run", "ratio", option, value)


@JUNK
@given(name=WORDS.filter(lambda text: text not in list_grids() and not text.startswith("-")))
def test_grids_and_runs_that_are_not_there(capsys, name):
    for command in ("run", "plan", "retry", "status", "delete"):
        wrong(capsys, command, name)


SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | WORDS
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3)
)
TYPES = {
    "title": str, "table": str | None, "about": str, "cost": str, "expect": str, "controls": list,
    "code": str | None, "reference": str | None, "cells": list,
}  # fmt: skip
RIGHT = {"title": "T", "reference": "no SE", "cells": [{"se.ratio": 4}]}


def plan_of(capsys, path: Path, grid: dict) -> bool:
    """Whether a grid file is right: then it is planned, and else refused in one sentence."""
    path.write_text(yaml.safe_dump(grid, allow_unicode=True))
    try:
        tiny_study(str(path))
    except ConfigError:
        plan(capsys, str(path), *tiny_words())
        return False
    done = call("plan", str(path), *tiny_words())
    assert done.returncode == 0, done.stderr
    return True


@JUNK
@given(grid=st.dictionaries(st.sampled_from(list(TYPES)) | WORDS, ANYTHING))
def test_grid_files_with_anything_in_them(capsys, tmp_path, grid):
    if plan_of(capsys, tmp_path / "junk.yaml", grid):
        assert {"title", "cells"} <= set(grid) <= set(Grid.model_fields)


@JUNK
@given(key=st.sampled_from(list(TYPES)), value=ANYTHING)
@example(key="cells", value=[{}])  # a row with the standard block
@example(key="cells", value=[{}, {}])
@example(key="reference", value="4")  # the row's own label
@example(key="title", value="Another")
def test_grid_files_with_one_thing_changed(capsys, tmp_path, key, value):
    is_right = plan_of(capsys, tmp_path / "junk.yaml", RIGHT | {key: value})
    assert isinstance(value, TYPES[key]) or not is_right
    if key in ("title", "about", "cost", "expect"):  # any text is right
        assert is_right == isinstance(value, str)


@JUNK
@given(content=st.binary(max_size=200))
def test_grid_files_of_bytes(capsys, tmp_path, content):
    path = tmp_path / "junk.yaml"
    path.write_bytes(content)
    plan(capsys, str(path))
