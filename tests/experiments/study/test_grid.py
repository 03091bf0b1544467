"""Grid files and what becomes of them."""

import dataclasses

import pytest
import yaml
from conftest import ROOT, TINY

from experiments.commands.studies import make_studies, read_grids
from experiments.plan.options import PlanOptions
from experiments.records.parsing import ConfigError, parse_yaml
from experiments.study.describe import command_of
from experiments.study.grid import list_grids, read_grid
from experiments.study.study import StudyDesign, expand

ON = {"dataset": "cifar10", "network": "resnet29b", "recipe": "demo"}


def labels(name: str, **options) -> list[str]:
    return [cell.label for cell in expand(name, **ON | options).cells]


def test_the_ratio_study_is_table_10_and_its_control():
    study = expand("ratio", **ON)
    assert [c.label for c in study.cells] == [
        "no SE", "gate fixed at 1/2", "r = 2", "r = 4", "r = 8", "r = 16", "r = 32",
    ]  # fmt: skip
    plain, constant, *rest = (cell.config.se for cell in study.cells)
    assert plain is None and constant.excitation == "constant"
    assert [se.ratio for se in rest] == [2, 4, 8, 16, 32]
    assert study.name == "ratio-cifar10-resnet29b-demo"
    assert command_of(study) == "make ablation-ratio"


def whole(name: str, recipe: str = "demo") -> StudyDesign:
    """A grid of ours on its own data set, with all of its networks."""
    return expand(name, dataset=read_grid(name)[1].dataset or "cifar10", recipe=recipe)


OVER_NETWORKS = [name for name in list_grids() if read_grid(name)[1].varies_network]


@pytest.mark.parametrize("name", [n for n in list_grids() if "plain" in read_grid(n)[1].controls])
def test_every_ablation_shares_its_controls_and_its_reference(name):
    ratio = {c.config.cell for c in expand("ratio", **ON).cells}
    own = {c.label: c.config.cell for c in whole(name).cells}
    shared = {own["no SE"], own["gate fixed at 1/2"]}
    if (reference := read_grid(name)[1].reference) is not None:
        shared.add(own[reference])
    assert shared <= ratio


@pytest.mark.parametrize("name", list_grids())
def test_every_grid_says_what_it_is(name):
    grid = read_grid(name)[1]
    assert grid.about and grid.cost.startswith(f"{len(whole(name).cells)} cells") and grid.expect


@pytest.mark.parametrize("name", [n for n in list_grids() if read_grid(n)[1].table])
def test_every_published_row_has_a_row_of_its_name(name):
    table = yaml.safe_load((ROOT / "analysis/published.yaml").read_text())[read_grid(name)[1].table]
    assert set(table["rows"]) <= {cell.label for cell in whole(name).cells}


@pytest.mark.parametrize("name", OVER_NETWORKS)
def test_a_network_with_se_is_compared_with_itself_without(name):
    cells = {cell.label: cell for cell in whole(name, "paper").cells}
    for label, cell in cells.items():
        assert cell.reference == (label.removeprefix("SE-") if cell.config.se else None)
        if cell.config.se:
            same = {"se": None}
            assert cell.config.model_copy(update=same) == cells[cell.reference].config


def test_paper_is_the_recipe_of_each_networks_own_paper():
    """The settings that `paper.md` lists, network by network."""
    found = {
        cell.config.network: cell.config.recipe
        for name in OVER_NETWORKS
        for cell in whole(name, "paper").cells
    }
    assert found["resnet110"].iterations == 64000
    assert found["preresnet110"].warmup == 400
    wide, shake, even = (found[n] for n in ("wrn16_8", "shake26_2x96d", "shake29_2x4x64d"))
    assert (wide.epochs, wide.milestones, wide.drop) == (200, (60, 120, 160), 0.2)
    assert (shake.epochs, shake.lr, shake.batch_size, shake.cutout) == (1800, 0.2, 128, 16)
    assert (even.epochs, even.lr, even.batch_size, even.cutout) == (1800, 0.025, 32, 8)
    assert shake.schedule == even.schedule == "cosine" and even.weight_decay == 5e-4


def test_one_network_of_several_is_its_rows():
    study = expand("depth", **ON | {"network": "resnet20"})
    assert [cell.label for cell in study.cells] == ["resnet20", "SE-resnet20"]
    assert study.name == "depth-cifar10-resnet20-demo"
    assert command_of(study) == "make ablation-depth NETWORK=resnet20"
    assert whole("depth").name == "depth-cifar10-all-demo"
    assert command_of(whole("depth")) == "make ablation-depth"


def test_the_factorial_crosses_its_four_factors():
    study = expand("factorial", **ON | {"recipe": "fast"})
    levels = [cell.levels for cell in study.cells if cell.levels]
    assert len(levels) == 48 == len({tuple(level.items()) for level in levels})
    assert set(levels[0]) == {"squeeze", "gate", "ratio", "position"}
    assert study.seeds == 2 and expand("factorial", **ON).seeds == 1  # demo has one


def test_published_figures_are_the_papers():
    tables = yaml.safe_load((ROOT / "analysis/published.yaml").read_text())
    tables = {number: table["rows"] for number, table in tables.items()}
    top1 = {t: {row: v["top1"] for row, v in rows.items()} for t, rows in tables.items()}
    assert list(top1["10"].values()) == [23.30, 22.29, 22.25, 22.26, 22.28, 22.72]
    assert list(top1["11"].values()) == [23.30, 22.57, 22.28]
    assert list(top1["12"].values()) == [23.30, 23.47, 23.00, 22.28]
    assert list(top1["13"].values()) == [23.30, 23.03, 23.04, 22.68, 22.28]
    assert list(top1["14"].values()) == [23.30, 22.28, 22.23, 22.78, 22.20]
    assert list(top1["15"].values()) == [23.30, 22.28, 22.48]
    assert list(top1["16"].values()) == [23.30, 22.28, 22.93]
    assert list(top1["4"].values()) == [6.37, 5.46, 4.27, 2.56, 5.21, 4.39, 3.88, 2.12]
    assert list(top1["5"].values()) == [26.88, 24.33, 20.43, 15.85, 23.85, 21.31, 19.14, 15.41]
    assert [v["mparams"] for v in tables["10"].values()] == [25.6, 45.7, 35.7, 30.7, 28.1, 26.9]


def test_seeds_come_in_whole_rounds():
    runs = expand("squeeze", **ON, seeds=3).runs()
    assert [config.seed for _, config in runs] == [0] * 5 + [1] * 5 + [2] * 5


def test_a_file_of_ones_own_crosses_its_axes(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(
        "title: Mine\nreference: avg at 8\ncontrols: [plain]\ncells:\n"
        "  - label: '{squeeze} at {ratio}'\n    se.squeeze: [avg, max]\n    se.ratio: [8, 16]\n"
    )
    assert labels(str(path)) == ["no SE", "avg at 8", "avg at 16", "max at 8", "max at 16"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "ratioo"}, "unknown grid 'ratioo': did you mean 'ratio'?"),
        ({"name": "cifar100"}, "dataset cifar10: the grid 'cifar100' is of 'cifar100' alone"),
        ({"name": "depth"}, "unknown network of the grid 'depth' 'resnet29b'"),
        ({"name": "depth", "settings": {"network": "resnet20"}}, "use --network"),
        ({"recipe": "dmeo"}, "unknown recipe 'dmeo': did you mean 'demo'?"),
        ({"seeds": 0}, "seeds 0: at least one seed is needed"),
        ({"settings": {"se.ratio": 3}}, "the grid 'ratio' varies or fixes se.ratio"),
        ({"settings": {"se": None}}, "the grid 'ratio' varies or fixes se.ratio"),
        ({"settings": {"dataset": "cifar100"}}, "use --dataset"),
        ({"settings": {"recipe.name": "x"}}, "use --recipe"),
        ({"settings": {"recipe.epcohs": 3}}, "did you mean 'epochs'?"),
        ({"settings": {"epochs": 3}}, "unknown key 'epochs'"),
        ({"settings": {"width.x": 3}}, "width"),
        ({"seeds": 10**9}, "at most 10,000"),
        ({"settings": {"width": 1e300}}, "width: 1e+300 is not allowed"),
        ({"settings": {"recipe.milestones": [-1]}}, "recipe.milestones"),
        ({"settings": {"code": "x.py"}}, "use the grid file's own key code"),
        ({"settings": {"dataset.x": 3}}, "dataset.x"),
        (
            {"name": "budget", "settings": {"recipe.epochs": 2}},
            "the grid 'budget' varies or fixes recipe.images",
        ),
        ({"recipe": "paper", "settings": {"recipe.epochs": 1}}, "set recipe.milestones"),
        (
            {"recipe": "paper", "settings": {"recipe.milestones": [70_000]}},
            "the milestone 70,000 is not before the end, at 64,000",
        ),
        (
            {"settings": {"recipe.iterations": 9, "recipe.warmup": 9}},
            "recipe.warmup 9 is the whole training of 9 iterations",
        ),
    ],
)
def test_what_does_not_fit_is_one_sentence(options, message):
    with pytest.raises(ConfigError) as error:
        expand(**{"name": "ratio"} | ON | options)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "0.1e-2", "1.0e-3", "+1e-3", "1.e-3"])
def test_a_number_may_have_an_exponent(tmp_path, text):
    path = tmp_path / "own.yaml"
    path.write_text(f"title: Mine\nreference: no SE\ncells: [{{recipe.lr: {text}, label: low}}]\n")
    assert [cell.config.recipe.lr for cell in expand(str(path), **ON).cells][-1] == float(text)


@pytest.mark.parametrize("text", ["1e-3x", "e3", "1e", "0x1e3x", "1e-"])
def test_text_that_is_like_a_number_stays_text(text):
    assert parse_yaml(text, "own.yaml") == text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("lr: 1", "unknown key 'lr'"),
        ("cells: []", "cells is empty"),
        ("reference: nowhere", "unknown reference 'nowhere'"),
        ("controls: [plane]", "it should be 'plain', 'half', 'constant' or 'place'"),
        ("cells: [{se.ratio: [2, 2]}]", "two rows are called '2'"),
        ("cells: [{se.ratio: ['4']}]", "se.ratio: '4' is not allowed"),
        ("cells: [{label: '{gate}', se.ratio: 2}]", "may name ratio in braces"),
        ("cells: [{se.ratio: []}]", "a key with an empty list"),
        ("cells: [{seed: [1, 2]}]", "own.yaml, cells: seed: use --seeds"),
        ("cells: [{dataset: cifar100}]", "own.yaml, cells: dataset: use --dataset"),
        ("cells: [{network: [resnet20]}]", "each of them names it, and controls is []"),
        ("{controls: [], cells: [{network: resnet20}, {se.ratio: 4}]}", "each of them names it"),
        ("cells: [{se.ratio: [2, 4], reference: 'r{ratio}'}]", "unknown reference 'r"),
        ("cells: [{se.ratio: 4, reference: '{gate}'}]", "may name ratio in braces"),
        ("cells: [{recipe.name: ['../../b']}]", "own.yaml, cells: recipe.name: use --recipe"),
        ("cells: [{se.ratio: 4}, {label: again, se.ratio: 4}]", "the row '4' is the same network"),
        ("cells: [{label: 'a | b', se.ratio: 4}]", "has a line break or a |"),
        ("cells: [{label: '{ratio.foo}', se.ratio: 4}]", "may name ratio in braces"),
        ("cels: []", "unknown key 'cels': did you mean 'cells'?"),
        ("table: S1", "table: 'S1' is not allowed"),
        ('title: "two\\nlines"', "title: 'two\\nlines' is not allowed"),
        ("cells: [{se.ration: 2}]", "unknown key 'se.ration': did you mean 'ratio'?"),
        ('dataset: "a\\nb"', "the grid 'own' is of 'a\\nb' alone"),
    ],
)
def test_a_wrong_grid_file_is_one_sentence(tmp_path, change, message):
    grid = {"title": "Mine", "reference": "no SE", "cells": [{"se.ratio": 4}]}
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(grid | yaml.safe_load(change)))
    with pytest.raises(ConfigError) as error:
        expand(str(path), **ON)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"? [1]\n: 2\n? [1]\n: 3\n", b"a: 2020-13-45\n", b"[" * 5000]
)
def test_a_file_that_is_no_yaml_is_one_sentence(tmp_path, content):
    (tmp_path / "own.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match="not valid YAML") as error:
        expand(str(tmp_path / "own.yaml"), **ON)
    assert "\n" not in str(error.value)


def test_a_file_may_not_take_the_name_of_a_grid_of_ours(tmp_path):
    (tmp_path / "ratio.yaml").write_text("title: Mine\n")
    with pytest.raises(ConfigError, match="'ratio' is the name of a grid here: rename the file"):
        expand(str(tmp_path / "ratio.yaml"), **ON)


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("position", {"1/2 at pre": "pre", "1/2 at post": "post", "1/2 at identity": "identity"}),
        ("stage", {"1/2 at stage 2": (2,), "1/2 at stage 3": (3,), "1/2 at stage 4": (4,)}),
        ("placement", {"1/2 at 3x3": "3x3"}),
    ],
)
def test_the_control_place_puts_a_constant_gate_where_each_rows_own_one_stands(name, places):
    cells = {cell.label: cell for cell in expand(name, **ON).cells}
    found = {label: cell for label, cell in cells.items() if label.startswith("1/2 at")}
    for label, cell in found.items():
        own, se = cells[cell.reference].config.se, cell.config.se
        assert label == f"1/2 at {cell.reference}" and se.excitation == "constant"
        assert (se.position, se.stages) == (own.position, own.stages)
    seen = {
        label: c.config.se.stages if name == "stage" else c.config.se.position
        for label, c in found.items()
    }
    assert seen == places


def test_the_constant_gate_stands_where_the_blocks_stand():
    study = expand("ratio", **ON, settings={"se.stages": [3], "se.gate": "tanh"})
    constant = study.cells[1].config.se
    assert constant.stages == (3,) and constant.gate == "sigmoid"


def test_expectations_belong_to_the_network_that_they_were_measured_with():
    assert expand("ratio", **ON).record().expect
    assert expand("ratio", **ON | {"network": "resnet110b"}).record().expect is None


def test_long_names_are_cut_and_stay_different():
    names = {
        expand("ratio", **ON, settings={f"recipe.{k}": v for k, v in TINY.items() if k != "name"}
               | {"recipe.lr": lr, "recipe.momentum": 0.123456, "recipe.weight_decay": 1e-5}).name
        for lr in (0.1, 0.2)
    }  # fmt: skip
    assert len(names) == 2 and max(map(len, names)) <= 120


def test_a_grid_of_one_data_set_takes_that_where_the_choice_is_left_open():
    options = PlanOptions(grids=["ratio", "cifar100", "cifar10"])
    grids = read_grids(options)
    studies = make_studies(grids, options, "cifar10_mini", "smoke")  # what auto is for the others
    assert [study.dataset for study in studies] == ["cifar10_mini", "cifar100", "cifar10"]
    with pytest.raises(ConfigError, match="the grid 'cifar100' is of 'cifar100' alone"):
        make_studies(grids, dataclasses.replace(options, dataset="cifar10"), "cifar10", "smoke")
