"""The verdicts, on studies made of numbers that are known."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from analysis import claims
from analysis.claims import MEASURES, Part, decide, judge, list_claims
from analysis.comparisons import MARGINS, against_reference, verdict
from analysis.forest import forest, lines
from analysis.notes import notes
from analysis.records import PLAIN, Study, by_group
from analysis.stats import Difference
from experiments.grid import list_grids
from experiments.study import expand

GROUP = {"dataset": "cifar10", "recipe": "fast"}


def made(grid: str, errors: dict[str, list[float]], **changes) -> Study:
    """A study in memory, whose runs end in these errors; 9 % for the rows that are not named."""
    asked = expand(grid, **GROUP).record() | {"seeds": 3} | changes
    rows = []
    for row in asked["rows"]:
        for seed, error in enumerate(errors.get(row["label"], [8.9, 9.0, 9.1])):
            has_se = row["label"] not in (PLAIN, "gate fixed at 1/2")
            rows.append({
                "row": row["label"], "seed": seed, "state": "done", "reason": "",
                "test_error": error, "test_images": 10_000, "interventions": {},
                "parameters": 110 if has_se else 100,
                "multiply_adds": 1005 if row["label"] == "NoSqueeze" else 1001 if has_se else 1000,
                "pace": (1.05 if has_se else 1.0) + 0.001 * seed, "delay": 1.1,
                "hidden": "",
                "env.processor": "p", "env.device": "d", "env.data": "x", "env.precision": "bf16",
                "env.step": "plain", "path": f"{row['label']}/seed{seed}",
            })  # fmt: skip
    paper = pd.DataFrame(
        index=[row["label"] for row in asked["rows"]], columns=["top1"], dtype=float
    )
    return Study(
        asked, pd.DataFrame(rows), pd.DataFrame(columns=["row", "seed", "epoch"]), paper, ""
    )


def words(studies: list[Study]) -> dict[str, str]:
    return {found.claim.number: found.word for found in judge(studies)}


def around(mean: float) -> list[float]:
    return [mean - 0.05, mean, mean + 0.05]


def test_every_part_names_a_row_of_a_grid_and_a_measure():
    for claim in list_claims():
        for part in claim.parts:
            datasets = [part.dataset] if part.dataset else ["cifar10", "cifar100"]
            for dataset in datasets:
                grid = dataset if part.grid == "CIFAR" else part.grid
                assert grid in list_grids()
                labels = {c.label for c in expand(grid, dataset=dataset, recipe="fast").cells}
                assert {part.row, part.reference} <= labels, part
            assert part.measure in MEASURES and (part.against or "nothing") in {
                *MEASURES,
                "nothing",
            }


def test_the_ten_claims_of_the_paper_are_all_there():
    assert {claim.number.split(",")[0] for claim in list_claims()} == {str(n) for n in range(1, 11)}


@pytest.mark.parametrize(
    ("errors", "word"),
    [
        ({"sigmoid": 8.0, "tanh": 8.5, "relu": 10.0, PLAIN: 9.0}, "confirmed"),
        ({"sigmoid": 8.0, "tanh": 8.0, "relu": 10.0, PLAIN: 9.0}, "not decided"),
        ({"sigmoid": 8.0, "tanh": 8.5, "relu": 8.2, PLAIN: 9.0}, "contradicted"),
        ({"sigmoid": 8.6, "tanh": 8.0, "relu": 10.0, PLAIN: 9.0}, "contradicted"),
    ],
)
def test_the_gates_in_the_order_of_the_paper_or_not(errors, word):
    study = made("gate", {row: around(mean) for row, mean in errors.items()})
    assert words([study])["4"] == word


@pytest.mark.parametrize(
    ("shift", "word"), [(0.0, "confirmed"), (0.3, "confirmed"), (0.5, "not decided"),
                        (0.9, "contradicted")]
)  # fmt: skip
def test_likeness_is_confirmed_within_the_margin_and_contradicted_beyond_it(shift, word):
    study = made("ratio", {"r = 2": around(9.0 + shift), "r = 16": around(9.0)}
                 | {f"r = {r}": around(9.0) for r in (4, 8, 32)})  # fmt: skip
    assert words([study])["2"] == word


def test_a_wide_interval_decides_nothing():
    wide = {row: [7.0, 9.0, 11.0] for row in ("r = 2", "r = 4", "r = 8", "r = 16", "r = 32")}
    assert words([made("ratio", wide)])["2"] == "not decided"


def test_costs_are_compared_as_quotients_and_counted_ones_need_no_interval():
    [found] = [v for v in judge([made("ratio", {})]) if v.claim.number == "9"]
    assert found.word == "confirmed"
    texts = [finding.evidence for finding in found.findings]
    assert texts[0] == "r = 16 over no SE, multiply-adds (times): 1.001"
    assert texts[1] == "r = 16 over no SE, parameters (times): 1.100"
    assert texts[2].startswith("r = 16 over no SE, time of a training image (times): 1.050 [")
    assert words([made("nosqueeze", {"NoSqueeze": around(9.5), "SE": around(9.0)})])["7"] == (
        "confirmed"
    )


def test_times_of_several_machines_decide_nothing():
    study = made("ratio", {})
    study.runs.loc[0, "env.processor"] = "another"
    [found] = [v for v in judge([study]) if v.claim.number == "9"]
    assert found.word == "not decided" and "no result" in found.findings[2].evidence


@pytest.mark.parametrize(
    "change",
    [{"demonstration": True}, {"dataset": "synthetic"}, {"settings": {"recipe.lr": 0.5}}],
    ids=lambda change: next(iter(change)),
)
def test_what_proves_nothing_feeds_no_claim(change):
    assert judge([made("ratio", {}, **change)]) == []


def test_one_seed_decides_nothing():
    one = {row["label"]: [9.0] for row in expand("gate", **GROUP).record()["rows"]}
    assert set(words([made("gate", one)]).values()) == {"not decided"}


@pytest.mark.parametrize(
    ("column", "value", "why"),
    [
        ("state", "diverged", "1 runs diverged or failed"),
        ("state", "failed", "1 runs diverged or failed"),
        ("env.precision", "fp32", "their precisions differ"),
    ],
)
def test_a_row_that_lost_runs_or_was_computed_otherwise_decides_nothing(column, value, why):
    study = made("gate", {"sigmoid": around(8.0), "softmax": around(12.0)})
    assert words([study])["4, softmax"] == "confirmed"
    study.runs.loc[(study.runs.row == "softmax") & (study.runs.seed == 0), column] = value
    [found] = [v for v in judge([study]) if v.claim.number == "4, softmax"]
    assert found.word == "not decided" and why in found.findings[0].evidence
    row = against_reference(study)["softmax"]
    assert verdict(study, "softmax", row).startswith("not decided: ")


def test_a_claim_is_judged_once_where_its_study_is_and_nowhere_else():
    ratio, depth = made("ratio", {}), made("depth", {})
    groups = by_group([depth, ratio])
    assert list(groups) == [("cifar10", "all", "fast"), ("cifar10", "resnet29b", "fast")]
    judged = [(found.group[1], found.claim.number) for found in judge([ratio, depth])]
    assert judged == [("all", "1"), ("all", "1, throughout"), ("all", "10"),
                      ("resnet29b", "2"), ("resnet29b", "9")]  # fmt: skip


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


def test_what_is_measured_twice_in_a_run_is_compared_within_it(monkeypatch):
    """Runs that differ by far more among each other than within themselves."""
    early = {0: 0.1, 1: 0.3, 2: 0.5}
    monkeypatch.setitem(MEASURES, "first share", ("", lambda study, row: list(early.values())))
    late = [value + 0.03 + 0.001 * seed for seed, value in early.items()]
    monkeypatch.setitem(MEASURES, "last share", ("", lambda study, row: late))
    monkeypatch.setitem(MEASURES, "late rise", ("", lambda study, row: [0.1, 0.2, 0.15]))
    [found] = [v for v in judge([made("stage", {})]) if v.claim.number == "8"]
    assert found.word == "confirmed" and found.findings[0].evidence.endswith("n = 3")


@pytest.mark.parametrize(
    ("expects", "low", "high", "word"),
    [
        ("lower", -2, -0.1, "confirmed"), ("lower", -2, 0.1, "not decided"),
        ("lower", 0.1, 2, "contradicted"), ("higher", 0.1, 2, "confirmed"),
        ("higher", -0.1, 2, "not decided"), ("higher", -2, -0.1, "contradicted"),
        ("reaches", -3, 0.4, "confirmed"), ("reaches", -3, 0.6, "not decided"),
        ("reaches", 0.6, 3, "contradicted"), ("at most", -1, 0.09, "confirmed"),
        ("at most", -1, 0.2, "not decided"), ("at most", 0.2, 1, "contradicted"),
        ("more than", 0.2, 1, "confirmed"), ("more than", -1, 0.05, "contradicted"),
        ("lower", math.nan, math.nan, "not decided"),
        ("at most", math.nan, math.nan, "not decided"),
    ],
)  # fmt: skip
def test_an_interval_becomes_a_word(expects, low, high, word):
    part = Part(grid="g", row="a", reference="b", expects=expects, limit=1.1)  # log 1.1 = 0.095
    assert decide(part, Difference((low + high) / 2, low, high), 0.5, False) == word


@pytest.mark.slow
def test_permuted_labels_give_wrong_verdicts_in_at_most_one_study_of_twenty(monkeypatch):
    """Errors that belong to no row in particular: whatever is found of a difference is wrong."""
    random = np.random.default_rng(0)
    seeds, studies, wrong, judged = 5, 80, 0, 0
    names = [n for n in list_grids() if n != "cifar100"]
    empty = {name: made(name, {}) for name in names}
    pool = random.normal(9, 0.2, 4000) + random.choice([0, 0.3], 4000)  # two humps: no normal
    draws: dict[tuple, list[float]] = {}

    def permuted(measure: str):
        return lambda study, row: draws.setdefault(
            (study.asked["grid"], row, measure), list(random.choice(pool, seeds, replace=False))
        )

    for measure, (text, _) in list(MEASURES.items()):
        if measure not in claims.COUNTED:
            monkeypatch.setitem(MEASURES, measure, (text, permuted(measure)))
    for _ in range(studies):
        draws.clear()
        for found in judge(list(empty.values())):
            kinds = {finding.part.expects for finding in found.findings}
            if found.claim.number in ("8", "9"):  # not about differences of errors alone
                continue
            judged += 1
            is_of_difference = bool(kinds & {"lower", "higher"})
            wrong += found.word == "contradicted"
            wrong += found.word == "confirmed" and is_of_difference
    assert judged == studies * 12
    assert wrong / judged <= 0.05


def test_verdicts_of_rows_follow_from_their_intervals():
    means = {"r = 16": 9.0, "r = 2": 9.0, "r = 4": 10.0, "r = 8": 8.0, "r = 32": 9.35}
    study = made("ratio", {row: around(mean) for row, mean in means.items()})
    found = against_reference(study)
    said = {row: verdict(study, row, found[row]) for row in means if row != "r = 16"}
    assert said == {"r = 2": "alike", "r = 4": "worse", "r = 8": "better",
                    "r = 32": "worse, within the margin"}  # fmt: skip
    assert verdict(made("ratio", {}, demonstration=True), "r = 2", found["r = 2"]) == ""


def test_a_verdict_needs_both_tests_where_rows_spread_differently():
    wild = [8.6, 10.2, 10.3, 10.4, 11.0]
    steady = {row: [8.98, 8.99, 9.0, 9.01, 9.02] for row in ("r = 2", "r = 4", "r = 8", "r = 16")}
    study = made("ratio", steady | {"r = 32": wild}, seeds=5)
    found = against_reference(study)["r = 32"]
    assert found.low > 0 and verdict(study, "r = 32", found) == "not decided by Welch"
    assert any("standard deviations reach from" in note for note in notes(study))


def test_margins_were_set_for_both_data_sets():
    assert MARGINS == {"cifar10": 0.5, "cifar100": 1.0}


def test_the_forest_names_a_row_without_a_number_and_leaves_out_what_is_not_trained():
    study = made("gate", {})
    study.runs.loc[study.runs.row == "relu", ["state", "test_error"]] = ["diverged", math.nan]
    study.runs.loc[study.runs.row == "tanh", ["state", "test_error"]] = ["missing", math.nan]
    [block] = lines([study]).values()
    words = {line.label: line.verdict for line in block}
    assert words["relu"] == "diverged" and "tanh" not in words and words["softmax"] == "alike"
    assert forest([study]).axes


def test_the_forest_shows_a_pair_of_networks_once():
    squeeze, gate = made("squeeze", {}), made("gate", {})
    labels = [line.label for block in lines([squeeze, gate]).values() for line in block]
    assert labels.count("no SE") == 1 and labels.count("gate fixed at 1/2") == 1
