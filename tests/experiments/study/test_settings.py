"""What --set changes: which keys are open, how values are read, and lengths of training."""

from itertools import pairwise

import pytest

from experiments.records.parsing import ConfigError
from experiments.records.schedules import learning_rate
from experiments.study.describe import command_of, training_of
from experiments.study.settings import parse_settings
from experiments.study.study import expand

ON = {"dataset": "cifar10", "network": "resnet29b", "recipe": "demo"}


def test_settings_change_what_is_open_and_spare_the_controls():
    study = expand("ratio", **ON, settings=parse_settings(["se.gate=tanh", "recipe.lr=1e-2"]))
    configs = {cell.label: cell.config for cell in study.cells}
    assert configs["r = 4"].se.gate == "tanh" and configs["r = 4"].se.ratio == 4
    assert configs["no SE"].se is None and configs["gate fixed at 1/2"].se.gate == "sigmoid"
    assert {c.recipe.lr for c in configs.values()} == {0.01}
    assert study.name == "ratio-cifar10-resnet29b-demo-recipe.lr=0.01-se.gate=tanh"
    # what shortens a run is not for numbers that hold
    assert command_of(study) == ".venv/bin/python -m experiments run ratio --set se.gate=tanh"
    assert training_of(study).endswith("but for recipe.lr = 0.01, se.gate = tanh")
    assert study.record().expect is None  # nobody knows where a changed recipe ends


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 0.001), ("2", 2), ("tanh", "tanh"), ("[2,3]", [2, 3]), ("null", None),
     ("true", True), ("3x3", "3x3")],
)  # fmt: skip
def test_a_setting_is_read_as_a_person_means_it(text, value):
    assert parse_settings([f"key={text}"]) == {"key": value}


TENFOLD = (f"&{new} [{', '.join([f'*{old}'] * 10)}]" for old, new in pairwise("abcdefghij"))
BOMB = f"[&a [x], {', '.join(TENFOLD)}]"


@pytest.mark.parametrize(
    "text",
    ["[" * 3000 + "]" * 3000, "{a: " * 3000 + "1" + "}" * 3000, "&a [*a]", "&a {b: *a}",
     BOMB],
    ids=["deep", "deep keys", "a list in itself", "keys in themselves", "a bomb of aliases"],
)  # fmt: skip
def test_a_setting_that_would_never_end_is_one_sentence(text):
    for key in ("recipe.lr", "se"):
        with pytest.raises(ConfigError) as error:
            expand("ratio", **ON, settings=parse_settings([f"{key}={text}"]))
        assert "\n" not in str(error.value) and len(str(error.value)) < 2000


@pytest.mark.parametrize("given", ["epochs", "images", "iterations"])
@pytest.mark.parametrize("recipe", ["paper", "medium", "fast"])
def test_lengths_replace_each_other(recipe, given):
    study = expand("ratio", **ON | {"recipe": recipe}, settings={f"recipe.{given}": 2})
    for length in ("epochs", "images", "iterations"):
        found = {getattr(cell.config.recipe, length) for cell in study.cells}
        assert found == {2 if length == given else None}
        recipe = study.cells[0].config.recipe
        if recipe.milestones:  # they keep their shares: the rate still falls
            rates = [learning_rate(step, 100, recipe) for step in range(100)]
            assert min(rates) < recipe.lr / 50 and rates[49] == recipe.lr
    assert study.record().demonstration


def test_a_longer_training_is_no_demonstration():
    asked = ON | {"recipe": "fast"}
    usual = expand("ratio", **asked).cells[0].config.recipe.epochs
    for settings, is_short in (
        ({"recipe.epochs": usual + 1}, False),
        ({"recipe.epochs": usual - 1}, True),
        ({"recipe.test_images": 100}, True),
        ({"recipe.iterations": 10**6}, True),  # another unit: nobody knows
        ({"recipe.lr": 0.2}, False),
    ):
        assert expand("ratio", **asked, settings=settings).record().demonstration == is_short


@pytest.mark.parametrize("text", ["recipe.epochs", "=3", "a=", "a"])
def test_a_setting_needs_key_and_value(text):
    with pytest.raises(ConfigError, match="write KEY=VALUE"):
        parse_settings([text])


def test_keys_in_braces_are_dotted_keys():
    assert parse_settings(["se={position: pre, stages: [2]}", "width=2"]) == {
        "se.position": "pre", "se.stages": [2], "width": 2,
    }  # fmt: skip
    with pytest.raises(ConfigError, match=r"--set se\.ratio: given twice"):
        parse_settings(["se={ratio: 4}", "se.ratio=8"])


def test_a_setting_is_given_once():
    with pytest.raises(ConfigError, match="given twice"):
        parse_settings(["width=1", "width=2"])
