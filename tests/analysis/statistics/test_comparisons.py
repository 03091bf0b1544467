"""What is said of pairs of rows: which comparisons decide, and how many would by chance."""

import math
from dataclasses import replace

from made import around, made

from analysis.groups import with_pools
from analysis.read import mark_other_data
from analysis.statistics.comparisons import against_reference, by_chance, difference_text, verdict
from analysis.statistics.stats import Difference
from analysis.tables.notes import notes
from analysis.tables.study import as_text
from experiments.study.grid import PLAIN


def test_runs_of_two_precisions_decide_nothing_and_those_of_other_rows_do_not_matter():
    study = made("control", {PLAIN: around(12.0)})
    study.runs.loc[study.runs.row == "static gate", "env.precision"] = "fp32"
    assert verdict(study, PLAIN) == "worse"
    study.runs.loc[(study.runs.row == PLAIN) & (study.runs.seed == 0), "env.precision"] = "fp32"
    study = replace(study)  # nothing is remembered of it
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
    assert (
        difference_text(Difference(math.nan)) == "–" and difference_text(Difference(1.0)) == "+1.00"
    )


def test_a_declared_comparison_of_a_demonstration_is_none_by_chance():
    plain = {PLAIN: around(12.0)}
    judged, demo = made("control", plain), made("control", plain, demonstration=True)
    assert verdict(judged, PLAIN) == "worse" and verdict(demo, PLAIN) == ""
    assert by_chance(judged) == by_chance(demo) != ""


def test_shared_runs_have_one_state_in_all_studies_of_a_group():
    gate, ratio = made("gate", {}), made("ratio", {})
    for study in (gate, ratio):
        study.runs["path"] = [f"{study.cells[r.row]}/{r.seed}" for r in study.runs.itertuples()]
    own = ~gate.runs.path.isin(ratio.runs.path)
    gate.runs.loc[own, "env.data"] = "y"
    assert own.sum() > 0 and (gate.runs["env.data"] == "y").sum() > (~own).sum()
    for order in ([gate, ratio], [ratio, gate]):
        found = {study.asked.grid: study for study in with_pools(mark_other_data(order))}
        assert set(found["ratio"].runs.state) == {"done"}
        assert set(found["gate"].runs.state[own]) == {"other data"}
        assert "nan" not in " ".join(as_text(found["ratio"])["test error (%)"])
        assert any("OTHER DATA" in line for line in notes(found["gate"]))
        assert math.isnan(against_reference(found["gate"])["relu"].estimate)
