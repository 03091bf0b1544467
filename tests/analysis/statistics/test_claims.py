"""The verdicts, on studies made of numbers that are known."""

import dataclasses
import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from command_line import analyse
from conftest import ROOT
from made import GROUP, around, made

from analysis.figures.compared import lines
from analysis.figures.forest import forest
from analysis.groups import by_group, with_pools
from analysis.page import explore
from analysis.statistics import claims, contrasts
from analysis.statistics.claims import Part, list_claims
from analysis.statistics.comparisons import MARGINS, against_reference, answers, verdict
from analysis.statistics.measures import MEASURES, specificity
from analysis.statistics.stats import Difference
from analysis.statistics.verdicts import decide, judge
from analysis.study import Study
from analysis.tables.notes import notes
from experiments.records.parsing import ConfigError
from experiments.study.grid import PLAIN, list_grids
from experiments.study.study import expand
from senet.networks import list_networks


def words(studies: list[Study]) -> dict[str, str]:
    return {found.claim.number: found.word for found in judge(studies)}


def test_every_part_names_a_row_of_a_grid_and_a_measure():
    for claim in list_claims():
        for part in claim.parts:
            datasets = [part.dataset] if part.dataset else ["cifar10", "cifar100"]
            for dataset in datasets:
                grid = dataset if part.grid == "CIFAR" else part.grid
                assert grid in list_grids()
                labels = {c.label for c in expand(grid, dataset=dataset, recipe="medium").cells}
                assert set(part.labels) <= labels, part
            assert part.measure in MEASURES


def test_the_ten_claims_of_the_paper_are_all_there():
    assert {claim.number.split(",")[0] for claim in list_claims()} == {str(n) for n in range(1, 11)}


@pytest.mark.parametrize(
    ("errors", "word"),
    [
        ({"sigmoid": 8.0, "tanh": 8.5}, "confirmed"),
        ({"sigmoid": 8.0, "tanh": 8.0}, "not decided"),
        ({"sigmoid": 8.6, "tanh": 8.0}, "contradicted"),
    ],
)
def test_the_gates_in_the_order_of_the_paper_or_not(errors, word):
    study = made("gate", {row: around(mean) for row, mean in errors.items()})
    assert words([study])["4, tanh"] == word


@pytest.mark.parametrize(
    ("shift", "word"), [(0.0, "confirmed"), (0.3, "confirmed"), (0.56, "not decided"),
                        (0.9, "contradicted")]
)  # fmt: skip
def test_likeness_is_confirmed_within_the_margin_and_contradicted_beyond_it(shift, word):
    # Over three doublings from r = 2 to r = 16, a third of the shift each.
    errors = {f"r = {2**k}": around(9.0 + shift * k / 3) for k in range(1, 6)}
    study = made("ratio", errors)
    assert words([study])["2"] == word


def test_a_wide_interval_decides_nothing():
    wide = {row: [7.0, 9.0, 11.0] for row in ("r = 2", "r = 4", "r = 8", "r = 16", "r = 32")}
    assert words([made("ratio", wide)])["2"] == "not decided"


def test_costs_are_quotients_and_need_no_interval():
    found = {v.claim.number: v for v in judge([made("ratio", {})])}
    texts = {number: found[number].findings[0].evidence for number in found}
    assert texts["9, operations"] == "r = 16 over no SE, multiply-adds (times): 1.001"
    assert texts["9, parameters"] == "r = 16 over no SE, parameters (times): 1.100"
    assert found["9, operations"].word == found["9, parameters"].word == "confirmed"
    assert words([made("nosqueeze", {})])["7, cost"] == "confirmed"


@pytest.mark.parametrize(
    "change",
    [{"demonstration": True}, {"dataset": "cifar10_mini"}, {"settings": {"recipe.lr": 0.5}}],
    ids=lambda change: next(iter(change)),
)
def test_what_proves_nothing_feeds_no_claim(change):
    assert judge([made("ratio", {}, **change)]) == []


def test_one_seed_decides_nothing():
    one = {row.label: [9.0] for row in expand("gate", **GROUP).record().rows}
    assert set(words([made("gate", one, seeds=1)]).values()) == {"not decided"}


@pytest.mark.parametrize(
    ("column", "value", "why"),
    [
        ("state", "diverged", "1 runs were lost"),
        ("state", "failed", "1 runs were lost"),
        ("env.precision", "fp32", "their precisions differ"),
    ],
)
def test_a_row_that_lost_runs_or_was_computed_otherwise_decides_nothing(column, value, why):
    study = made("gate", {"sigmoid": around(8.0), "softmax": around(12.0)})
    assert words([study])["4, softmax"] == "confirmed"
    study.runs.loc[(study.runs.row == "softmax") & (study.runs.seed == 0), column] = value
    study = replace(study)  # nothing is remembered of it
    [found] = [v for v in judge([study]) if v.claim.number == "4, softmax"]
    assert found.word == "not decided" and why in found.findings[0].evidence


def test_a_claim_is_judged_once_where_its_study_is_and_nowhere_else():
    ratio, depth = made("ratio", {}), made("depth", {})
    groups = by_group([depth, ratio])
    assert list(groups) == [("cifar10", "all", "medium"), ("cifar10", "resnet29b", "medium")]
    judged = [(found.group[1], found.claim.number) for found in judge([ratio, depth])]
    assert judged == [("all", "1"), ("all", "1, throughout"), ("all", "10"),
                      ("resnet29b", "2"), ("resnet29b", "9, operations"),
                      ("resnet29b", "9, parameters")]  # fmt: skip


def test_worse_in_the_end_is_not_lower_throughout():
    study = made("depth", {})
    names = [row for row in study.rows if row in study.references]
    lines = [
        {"row": row, "seed": seed, "epoch": epoch, "val_error": error + 0.01 * seed}
        for name in names
        for row, gain in ((study.references[name], 0.0), (name, 1.0))
        for seed in range(3)
        for epoch in range(30)
        for error in [20 - 0.3 * epoch + (-2 if epoch < 15 else 1) * gain]
    ]
    study = dataclasses.replace(study, curves=pd.DataFrame(lines))
    [found] = [v for v in judge([study]) if v.claim.number == "1, throughout"]
    assert [f.word for f in found.findings[:3]] == ["confirmed", "confirmed", "contradicted"]
    assert found.word == "contradicted"


@pytest.mark.parametrize(
    ("expects", "low", "high", "word"),
    [
        ("lower", -2, -0.1, "confirmed"), ("lower", -2, 0.1, "not decided"),
        ("lower", 0.1, 2, "contradicted"), ("higher", 0.1, 2, "confirmed"),
        ("higher", -0.1, 2, "not decided"), ("higher", -2, -0.1, "contradicted"),
        ("no higher", -3, 0.4, "confirmed"), ("no higher", -3, 0.6, "not decided"),
        ("no higher", 0.6, 3, "contradicted"), ("at most", 1, 1.09, "confirmed"),
        ("no lower", -0.4, 3, "confirmed"), ("no lower", -3, -0.6, "contradicted"),
        ("at most", 1, 1.2, "not decided"), ("at most", 1.2, 2, "contradicted"),
        ("more than", 1.2, 2, "confirmed"), ("more than", 1, 1.05, "contradicted"),
        ("lower", math.nan, math.nan, "not decided"),
        ("at most", math.nan, math.nan, "not decided"),
    ],
)  # fmt: skip
def test_an_interval_becomes_a_word(expects, low, high, word):
    part = Part(grid="g", rows="a", minus="b", expects=expects, limit=1.1)
    found = Difference((low + high) / 2, low, high)
    assert decide(part, found, found, 0.5, False) == word


def test_a_claim_of_several_parts_is_contradicted_by_a_wider_interval_than_it_is_confirmed_by():
    part = Part(grid="g", rows="a", minus="b", expects="lower")
    found, wide = Difference(1, 0.1, 1.9), Difference(1, -0.1, 2.1)
    assert decide(part, found, wide, 0.5, False) == "not decided"
    assert decide(part, found, found, 0.5, False) == "contradicted"


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_nothing_that_differs_gives_a_wrong_verdict_in_at_most_one_study_of_twenty(seeds):
    """Errors that belong to no row in particular: whatever is found of a difference is wrong."""
    random, wrong, judged = np.random.default_rng(seeds), 0, 0
    pool = random.normal(9, 0.2, 4000) + random.choice([0, 0.3], 4000)  # two humps: no normal
    names = ("squeeze", "gate", "position", "stage", "nosqueeze", "depth")
    labels = {name: made(name, {}).rows for name in names}
    for _ in range(20):
        for name in names:
            draws = {row: list(random.choice(pool, seeds, False)) for row in labels[name]}
            for found in judge([made(name, draws, seeds=seeds)]):
                kinds = {f.part.expects for f in found.findings}
                if {f.part.measure for f in found.findings} != {"error"}:
                    continue
                judged += 1
                wrong += found.word == "contradicted"
                wrong += found.word == "confirmed" and bool(kinds & {"lower", "higher"})
    assert judged == 300 and wrong / judged <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / judged)


def test_only_what_was_declared_has_a_verdict():
    means = {"SE": 9.0, PLAIN: 10.0, "gate fixed at 1/2": 9.0, "static gate": 12.0}
    study = made("control", {row: around(mean) for row, mean in means.items()})
    said = {row: verdict(study, row) for row in means if row != "SE"}
    assert said == {PLAIN: "worse", "gate fixed at 1/2": "alike", "static gate": ""}
    shown = {one.comparison.name: one.verdict for one in answers(study)}
    assert shown["SE minus no SE"] == "better" and len(shown) == 3
    assert "leave out 0; if nothing differed" in " ".join(notes(study))
    assert answers(made("gate", {})) == []
    assert verdict(made("control", {}, demonstration=True), PLAIN) == ""


def test_a_pair_has_one_answer_in_every_study():
    errors = {row: around(10.0) for row in (PLAIN,)}
    studies = with_pools([
        made("gate", errors | {"relu": [9.5, 10.0, 10.5]}), made("squeeze", errors),
        made("control", errors),
    ])  # fmt: skip
    found = {(against_reference(study)[PLAIN], verdict(study, PLAIN)) for study in studies}
    assert len(found) == 1
    assert {word for _, word in found} == {"worse"}


@pytest.mark.parametrize(
    ("lost", "word"),
    [({PLAIN: 3}, "not decided: runs were lost"), ({PLAIN: 5}, "worse: 5 of 5 diverged, against"),
     ({PLAIN: 1}, "not decided: runs were lost"), ({"SE": 5}, "better: 5 of 5 diverged, against")],
)  # fmt: skip
def test_what_diverges_is_judged_by_fishers_test(lost, word):
    study = made("control", {}, seeds=5)
    five = {row: [9.0, 9.1, 8.9, 9.05, 8.95] for row in study.rows}
    study = made("control", five, seeds=5)
    for row, n in lost.items():
        is_lost = (study.runs.row == row) & (study.runs.seed < n)
        study.runs.loc[is_lost, ["state", "test_error"]] = ["diverged", math.nan]
    assert verdict(study, PLAIN).startswith(word)


@pytest.mark.parametrize(
    ("state", "why"),
    [("missing", "are missing"), *((s, "were lost") for s in ("damaged", "other data", "failed"))],
)
def test_a_run_without_a_result_decides_nothing(state, why):
    study = made("control", {PLAIN: around(12.0)})
    assert verdict(study, PLAIN) == "worse"
    study.runs.loc[(study.runs.row == PLAIN) & (study.runs.seed == 0), "state"] = state
    assert verdict(study, PLAIN) == f"not decided: runs {why}"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("minus: no SE", "minus: no such row", "the study 'control' has no row 'no such row'"),
        ("grid: stage", "grid: stages", "study 'stages'"),
        ("[cifar10, resnet29b, medium]", "[cifar9, resnet29b, medium]", "cifar9"),
        ("who: SE,", "whom: SE,", "unknown key 'comparisons.0.whom': did you mean 'who'"),
        ("over: [2, 4, 8, 16, 32]", "over: [2, 5]", "no row 'r = 5'"),
        ("over: [2, 4, 8, 16, 32]", "over: [2]", "two numbers or more"),
        ('"r = {:,}"', '"r = 2"', "needs a place for the number, {:,}"),
        ('"r = {:,}"', '"r = {:,} {x}"', "has no row 'r = 2 {x}'"),
        ("[cifar10, resnet29b, medium]", "[cifar10, resnet29b, mediums]", "mediums"),
    ],
)
def test_what_contrasts_yaml_does_not_know_is_one_sentence(tmp_path, old, new, said):
    path = tmp_path / "contrasts.yaml"
    path.write_text(contrasts.PATH.read_text().replace(old, new, 1))
    with pytest.raises(ConfigError, match=said) as error:
        contrasts.read_contrasts(path)
    assert "\n" not in str(error.value)


def test_the_groups_that_prove_something_have_networks_that_exist():
    groups = contrasts.read_contrasts().groups
    assert {groups.confirmatory[1], groups.exploratory[1]} <= set(list_networks())


def test_a_claim_about_a_row_that_no_grid_has_is_one_sentence(tmp_path, monkeypatch):
    path = tmp_path / "claims.yaml"
    path.write_text(claims.PATH.read_text().replace("rows: max,", "rows: maximum,", 1))
    monkeypatch.setattr(claims, "PATH", path)
    list_claims.cache_clear()
    try:
        done = analyse("claims", RESULTS=str(ROOT / "results" / "published"))
    finally:
        list_claims.cache_clear()
    said = "error: claims.yaml: the study 'squeeze' has no row 'maximum'"
    assert done.returncode == 2 and done.stderr.startswith(said) and done.stderr.count("\n") == 1


def test_class_specificity_is_that_of_the_gates_beyond_what_they_look_at():
    """Also in the first stage; records without it decide nothing."""
    study = made("stage", {})
    [before] = [v for v in judge([study]) if v.claim.number == "8, classes"]
    assert before.word == "no record" and before.findings[0].evidence.endswith(": no result")
    shares = [
        {"gates": {"SE_2_1": 0.1, "SE_4_1": 0.5 + more, "SE_4_2": 0.7 + more},
         "squeezed": {"SE_2_1": 0.2, "SE_4_1": 0.3, "SE_4_2": 0.5}}
        for more in (0.0, 0.02, 0.04)
    ]  # fmt: skip
    study.runs["class_shares"] = [shares[seed] for seed in study.runs.seed]
    study = replace(study)  # nothing is remembered of it
    assert specificity(study, "all stages") == pytest.approx([30, 32, 34])
    [after] = [v for v in judge([study]) if v.claim.number == "8, classes"]
    assert after.word == "confirmed" and "+32.00 [" in after.findings[0].evidence


def test_margins_were_set_for_both_data_sets():
    assert MARGINS == {"cifar10": 0.5, "cifar100": 1.0}


def test_the_pages_own_counts_are_those_of_the_code():
    text = (ROOT / "docs" / "results.md").read_text()
    papers = sum(not claim.is_ours for claim in list_claims())
    assert f"in {papers} statements" in text and len(list_claims()) == papers + 1
    said = re.search(r"\(± ([\d.]+) points\s+on CIFAR-10, ± ([\d.]+) on CIFAR-100\)", text)
    assert tuple(map(float, said.groups())) == (MARGINS["cifar10"], MARGINS["cifar100"])


def test_the_forest_names_a_row_without_a_number_and_leaves_out_what_is_not_trained():
    study = made("gate", {})
    study.runs.loc[study.runs.row == "relu", ["state", "test_error"]] = ["diverged", math.nan]
    study.runs.loc[study.runs.row == "tanh", ["state", "test_error"]] = ["missing", math.nan]
    [block] = lines([study]).values()
    words = {line.label: line.verdict for line in block}
    assert words["relu"] == "diverged" and "tanh" not in words and words["softmax"] == ""
    assert forest([study]).axes
    [relu] = [row for row in explore.forest([study])["rows"] if row.get("row") == "relu"]
    assert relu["at"] is relu["low"] is relu["high"] is None and relu["difference"] == "diverged"


def test_a_forest_of_runs_that_have_all_failed_is_drawn():
    study = made("control", {})
    study.runs[["state", "test_error"]] = ["failed", math.nan]
    assert forest([study]).axes and len(explore.forest([study])["rows"]) > 1


def test_the_forest_shows_a_pair_of_networks_once():
    squeeze, gate = made("squeeze", {}), made("gate", {})
    labels = [line.label for block in lines([squeeze, gate]).values() for line in block]
    assert labels.count("no SE") == 1 and labels.count("gate fixed at 1/2") == 1
