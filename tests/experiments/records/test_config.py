"""Configs: strict, complete, and with ids that stay."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.records.config import Recipe, RunConfig, non_defaults
from experiments.records.parsing import ConfigError, parse, read_yaml
from experiments.records.recipes import recipes
from senet.config import SEConfig

BASE = {"dataset": "cifar10", "network": "resnet29b", "recipe": {"name": "own", "epochs": 3}}


def config(**changes) -> RunConfig:
    return parse(RunConfig, BASE | changes)


@pytest.mark.parametrize(
    ("changes", "cell"),
    [
        ({}, "cifar10-resnet29b-own-plain-2f5fa53615"),
        ({"se": {}}, "cifar10-resnet29b-own-se-fd9633658e"),
        (
            {"se": {"ratio": 4, "stages": [4, 3]}},
            "cifar10-resnet29b-own-se-ratio4-stage34-eae23499f2",
        ),
        (
            {"se": {"squeeze": "max", "gate": "tanh"}, "width": 2},
            "cifar10-resnet29b-width2-own-se-squeezemax-tanh-da581c239d",
        ),
    ],
)
def test_ids_are_pinned(changes, cell):
    assert config(**changes).cell == cell


def test_a_new_field_with_a_default_leaves_old_ids_alone():
    class NewRecipe(Recipe):
        cutout: int = 0

    class NewConfig(RunConfig):
        recipe: NewRecipe
        compiled: bool = False

    data = BASE | {"se": {"ratio": 4}}
    assert parse(NewConfig, data).id == parse(RunConfig, data).id
    assert parse(NewConfig, data | {"compiled": True}).id != parse(RunConfig, data).id


def test_what_is_written_out_is_the_same_as_what_is_left_to_its_default():
    short = config(se={})
    full = parse(RunConfig, short.model_dump(mode="json"))
    assert full == short and full.id == short.id


def test_the_seed_is_not_in_the_id_and_everything_else_is():
    ids = [config().id, config(se={}).id, config(width=2).id, config(network="resnet20").id]
    ids += [config(recipe=BASE["recipe"] | {"lr": 0.2}).id, config(shortcut="pad").id]
    assert len(set(ids)) == len(ids)
    assert config(seed=5).id == config().id


configs = st.builds(
    lambda se, seed, width, epochs, lr: config(
        se=se, seed=seed, width=width, recipe={"name": "own", "epochs": epochs, "lr": lr}
    ),
    st.none()
    | st.fixed_dictionaries(
        {},
        optional={
            "ratio": st.integers(1, 64),
            "gate": st.sampled_from(["tanh", "sigmoid"]),
            "stages": st.just("all") | st.lists(st.integers(2, 5), min_size=1),
        },
    ),
    st.integers(0, 2**63 - 1),
    st.sampled_from([0.5, 1, 1.5, 2]),
    st.integers(1, 500),
    st.floats(1e-6, 10),
)


@given(configs)
def test_a_config_survives_its_json(one):
    again = parse(RunConfig, json.loads(json.dumps(one.model_dump(mode="json"))))
    assert again == one and again.cell == one.cell


@given(configs, configs)
def test_ids_agree_exactly_where_configs_do(one, other):
    same = one.model_copy(update={"seed": 0}) == other.model_copy(update={"seed": 0})
    assert (one.id == other.id) == same


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"networ": "x"}, "unknown key 'networ': did you mean 'network'?"),
        ({"se": {"ratioo": 4}}, "unknown key 'se.ratioo': did you mean 'ratio'?"),
        ({"se": {"ratio": "4"}}, "se.ratio: '4' is not allowed: it should be a valid integer"),
        ({"se": {"ratio": 0}}, "se: ratio 0 is not a positive whole number"),
        ({"se": {"ratio": True}}, "se.ratio: True"),
        ({"se": {"gate": False}}, "se.gate: False"),
        ({"se": {"stages": []}}, "se: stages () is neither 'all' nor a list of stages"),
        ({"se": {"stages": ["two"]}}, "se.stages"),
        ({"se": 3}, "se: 3 is not allowed"),
        ({"seed": -1}, "seed: -1"),
        ({"width": float("nan")}, "width: nan"),
        ({"shortcut": "none"}, "it should be 'pad' or 'projection'"),
        ({"recipe": {"name": "own"}}, "recipe: give exactly one of epochs, images"),
        ({"recipe": {"name": "own", "epochs": 1, "iterations": 9}}, "give exactly one of epochs"),
        ({"recipe": {"name": "own", "epochs": 0}}, "recipe.epochs: 0"),
        ({"recipe": {"name": "own", "epochs": 1, "lr": "1e-3"}}, "recipe.lr: '1e-3'"),
        ({"recipe": {"name": "own", "epochs": 1, "batch_size": 1}}, "recipe.batch_size: 1"),
        ({"recipe": {"name": "own", "epochs": 1, "schedule": "steps"}}, "milestones belong"),
        ({"recipe": {"name": "own", "epochs": 1, "nesterov": True, "momentum": 0.0}}, "nesterov"),
        ({"recipe": {"name": "own", "epochs": 1, "schedule": False}}, "recipe.schedule: False"),
        (
            {"recipe": {"name": "own", "epochs": 1, "schedule": "cosin"}},
            "unknown schedule 'cosin': did you mean 'cosine'? allowed are onecycle, steps, cosine",
        ),
    ],
)
def test_a_wrong_config_is_one_sentence(changes, message):
    with pytest.raises(ConfigError) as error:
        config(**changes)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_key_is_named():
    with pytest.raises(ConfigError, match="the key 'network' is missing"):
        parse(RunConfig, {"dataset": "cifar10"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", "the key 'a' stands twice"),
        ("- a\n", "a mapping of keys to values is expected"),
        ("a: [1\n", "not valid YAML"),
    ],
)
def test_a_wrong_yaml_file_is_named(tmp_path, text, message):
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        read_yaml(path)
    assert str(path) in str(error.value)


def test_the_recipes_of_the_project_are_what_they_say():
    rows = recipes()
    assert {"smoke", "demo", "small", "fast", "paper"} <= set(rows)
    assert rows["smoke"].recipe.train_images == 512 and rows["smoke"].recipe.test_images == 1000
    paper = rows["paper"].recipe  # He et al. 2015, section 4.2
    assert (paper.iterations, paper.milestones, paper.batch_size) == (64_000, (32_000, 48_000), 128)
    assert (paper.lr, paper.momentum, paper.weight_decay) == (0.1, 0.9, 1e-4)
    for name, row in rows.items():
        assert row.recipe.name == name and row.about.expect
        assert row.about.demonstration == (name in ("smoke", "demo"))
        assert row.about.seeds == (1 if row.about.demonstration else 5)


def test_only_what_differs_from_its_default_is_hashed():
    assert non_defaults(SEConfig()) == {}
    assert non_defaults(config(se={"ratio": 4}))["se"] == {"ratio": 4}
