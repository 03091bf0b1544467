"""What is said of pairs of rows: which comparisons decide, and how many would by chance."""

import math

from made import around, made

from analysis.statistics.comparisons import by_chance, shown, verdict
from analysis.statistics.stats import Difference
from experiments.study.grid import PLAIN


def test_runs_of_two_precisions_decide_nothing_and_those_of_other_rows_do_not_matter():
    study = made("control", {PLAIN: around(12.0)})
    study.runs.loc[study.runs.row == "static gate", "env.precision"] = "fp32"
    assert verdict(study, PLAIN) == "worse"
    study.runs.loc[(study.runs.row == PLAIN) & (study.runs.seed == 0), "env.precision"] = "fp32"
    assert verdict(study, PLAIN) == "not decided: precisions differ"


def test_intervals_without_a_verdict_are_named_with_what_they_are_compared_with():
    study = made("ratio", {"r = 4": around(12.0)})
    assert by_chance(study, is_named=True).startswith("1 of 4 intervals that belong to no declared")
    assert "(minus r = 16: r = 4 +3.00 [" in by_chance(study, is_named=True)
    assert "if nothing differed, 0.2 would, by chance." in by_chance(study)
    study = made("depth", {"SE-resnet56": around(12.0)})
    assert "(minus its plain network: SE-resnet56 +3.00 [" in by_chance(study, is_named=True)
    study = made("depth", {})
    study.runs[["state", "test_error"]] = ["missing", math.nan]
    assert by_chance(study) == ""
    assert shown(Difference(math.nan)) == "–" and shown(Difference(1.0)) == "+1.00"
