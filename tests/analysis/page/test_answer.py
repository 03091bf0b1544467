"""What the pages say of studies: the sentences, the opening table, and what is not shown."""

from dataclasses import replace

import pytest
from made import across, around, made

from analysis.groups import by_group
from analysis.page import answer, gate_captions, opening, readme
from analysis.page.limits import limits
from analysis.statistics import lengths
from analysis.statistics.claims import list_claims
from analysis.statistics.contrasts import read_contrasts
from analysis.statistics.verdicts import judge
from analysis.study import Study
from analysis.tables import study as tables
from experiments.data.datasets import origin
from experiments.study.grid import PLAIN

GROUP = ("cifar10", "resnet29b", "medium")
PAPERS = sum(not claim.is_ours for claim in list_claims())


def said(studies: list[Study]) -> tuple[str, ...]:
    """The sentences on some studies."""
    members = by_group(studies)[GROUP]
    return tuple(answer.sentences(GROUP, members, judge(studies)))


@pytest.mark.parametrize(
    ("shift", "text"),
    [
        (-2.0, "with SE the test error is 2.00 points lower than with the plain network (-2.00 ["),
        (2.0, "with SE the test error is 2.00 points higher than with the plain network (+2.00 ["),
        (
            0.0,
            "with the plain network the test error is the same within 0.5 points (+0.00 [",
        ),
        (-0.2, "within the margin)"),
    ],
)
def test_the_first_sentence_is_the_finding(shift, text):
    """SE minus plain, whichever of the two the study takes as its reference."""
    rows = made("control", {}).rows
    errors = {row: around(9 + shift) for row in rows} | {PLAIN: around(9.0)}
    for study in (made("control", errors), made("squeeze", {"avg": around(9 + shift)})):
        first, second = said([study])[:2]
        assert text in first
        assert second.startswith((f"Of {PAPERS} statements", "No claim of the paper"))


def test_its_interval_is_the_one_of_the_table():
    study = made("control", {"SE": [8.0, 8.2, 8.4], PLAIN: [9.1, 9.0, 9.5]})
    [first, *_] = said([study])
    row = tables.numbers(study).set_index("row").loc[PLAIN]
    assert f"[{-row.difference_high:+.2f}, {-row.difference_low:+.2f}]" in first


def test_wild_seeds_decide_nothing_and_one_seed_has_no_interval():
    wild = {row.label: [7.0, 9.0, 11.0] for row in made("control", {}).asked.rows}
    [first, *_] = said([made("control", wild)])
    assert "SE or the plain network: with SE it may be up to" in first
    one = {row: [9.0] for row in wild}
    [first, *_] = said([made("control", one | {PLAIN: [9.5]}, seeds=1)])
    assert "SE or the plain network (-0.50; no interval)" in first and "[" not in first


def test_a_verdict_by_divergence_speaks_of_that_and_of_no_error():
    """Where the runs that are left have the lower error, too."""
    errors = {
        row.label: [9.0 + 0.01 * k for k in range(10)] for row in made("control", {}).asked.rows
    }
    study = made("control", errors | {"SE": [7.0] * 10}, seeds=10)
    is_lost = (study.runs.row == "SE") & (study.runs.seed < 6)
    study.runs.loc[is_lost, ["state", "test_error"]] = ["diverged", float("nan")]
    [first, *_] = said([study])
    assert "with SE more runs diverge than with the plain network (-2.04" in first
    assert "; 6 of 10 diverged, against 0 of 10)" in first and "points higher" not in first


@pytest.mark.parametrize(
    ("another", "mean", "starts"),
    [(2.0, 0.0, ("A trained SE network depends on which image its gates come from",
                 "Whether their mean over all images would do is not decided")),
     (0.0, 2.0, ("Whether a trained SE network depends on which image its gates come from is not "
                 "decided", "Their mean over all images would not do"))],
)  # fmt: skip
def test_what_a_network_depends_on_is_apart_from_what_it_gains(another, mean, starts):
    """Each replacement has a sentence of its own: one of them decides nothing for the other."""
    study = made("control", {})
    rises = {"mean": mean, "another": another, "half": 0.0, "one": 0.0}
    replaced = [{"intact": 9.0, "images": 1000, "stages": {},
                 "all": {how: 9.0 + rise + 0.1 * k for how, rise in rises.items()}}
                for k in range(3)]  # fmt: skip
    study.runs["interventions"] = [replaced[seed] for seed in study.runs.seed]
    assert answer.dependence(study) == [
        f"{start}: with {what} the error changes by {rise + 0.1:+.2f} ± 0.25 points "
        "(1,000 test images)."
        for start, what, rise in zip(
            starts, ("those of another", "it"), (another, mean), strict=True
        )
    ]
    said = gate_captions.interventions(study, "SE")
    assert f"by {mean + 0.1:+.2f} ± 0.25 points" in said.text and "± 0.25" in said.alt


@pytest.mark.parametrize(
    ("grid", "start"),
    [("squeeze", "With the average as its squeeze SE lowers the error: "),
     ("gate", "Sigmoid is a better gate than tanh: "),
     ("position", "Before the branch (pre) SE is as good as at its end: "),
     ("nosqueeze", "Without the squeeze the error is higher: "),
     ("control", "With SE and with the plain network the test error is the same within"),
     ("stage", "SE in a single stage lowers the error, on the mean of the stages: not"),
     ("ratio", "From r = 2 to r = 16 the error hardly depends on r: confirmed, +0.00 ["),
     ("depth", "SE lowers the error at every depth: not decided, 0 of 5 parts confirmed. SE "),
     ("start", "With SE and with the plain network the test error")],
)  # fmt: skip
def test_what_a_study_found_answers_what_it_asked(grid, start):
    study = made(grid, {"NoSqueeze": around(9.6), "max": around(9.7)})
    text = answer.found(study, verdicts=judge([study]))
    assert text.startswith(start)
    if grid == "squeeze":
        assert "The average is no worse a squeeze than the maximum: confirmed, -0.70 [" in text
        assert "plain network" not in text  # that is what `control` asks
    assert (
        "gates separate classes more in the last stage than in the first: no record." in text
    ) == (grid == "stage")
    assert ("] a doubling. " in text) == (grid == "ratio")
    if grid == "nosqueeze":
        assert "SE costs more operations: confirmed, 1.004 times." in text


def test_the_opening_has_five_rows():
    lines = opening.in_markdown([made("control", {PLAIN: around(12.0)})]).splitlines()
    assert len(lines) == 7 and lines[-1].startswith("| Squeeze-and-Excitation | 9.00 ± ")
    assert lines[-1].endswith("] |") and opening.in_markdown([made("gate", {})]) == ""


@pytest.mark.parametrize(
    ("slope", "says"),
    [
        (-0.3, "from 60,000 to 960,000 images seen, SE gains 0.30 points on three gates"),
        (+0.3, "from 60,000 to 960,000 images seen, SE loses 0.30 points to three gates"),
        (
            0.0,
            "the distance of SE to three gates that never see the image changes by less than 0.5",
        ),
    ],
)
def test_a_study_across_lengths_is_answered_first(slope, says):
    study, control = across(slope), made("control", {})
    assert answer.headline([control, study]) == GROUP
    first, *_ = answer.sentences(GROUP, [control, study], [])
    assert says in first
    table = opening.in_markdown([control, study])
    assert "| network (960,000 images) |" in table and len(table.splitlines()) == 8
    shown = lengths.as_text(study, lengths.numbers(study))
    assert list(shown["images seen"][:2]) == ["60,000", "120,000"] and len(shown) == 7
    [picture] = readme.picture(GROUP, [study], "")
    assert f"{study.name}-budget.png" in picture


def test_a_study_across_lengths_that_is_under_way_says_what_is_there():
    study = across(-0.3, longest=3)
    first, *_ = answer.sentences(GROUP, [study], [])
    assert "from 60,000 to 240,000 images seen, SE gains 0.30" in first and "960" not in first
    assert "(240,000 images)" in opening.in_markdown([study])
    assert answer.headline([across(-0.3, longest=2), made("control", {}, recipe="short")]) != GROUP


def test_the_headline_is_of_the_group_that_is_declared_and_not_of_the_one_with_most_runs():
    declared = read_contrasts().groups
    seen = made("control", {}, recipe="short")
    assert declared.confirmatory == GROUP and declared.exploratory[2] == "short"
    assert answer.headline([seen, made("stage", {}, recipe="short"), made("control", {})]) == GROUP
    assert answer.headline([seen, made("gate", {})]) == declared.exploratory
    assert answer.headline([seen]) == declared.exploratory
    [group] = by_group([seen])
    assert any("exploratory" in text for text in answer.sentences(group, [seen], []))


def test_what_is_missing_or_diverged_is_said():
    study = made("ratio", {})
    study.runs.loc[study.runs.row == "r = 2", "state"] = ["missing", "diverged", "done"]
    *_, last = said([study])
    assert last == "The study is not finished: 19 of 21 runs are done (1 missing, 1 diverged)."


def test_nothing_finished_is_no_answer():
    study = made("ratio", {})
    study.runs[["state", "test_error"]] = ["missing", float("nan")]
    first, second, third = said([study])
    assert first.endswith("no run is finished yet.")
    assert second == "No claim of the paper is judged by these runs." and "0 of" in third
    assert limits(GROUP, [study], judge([study])) == []


def test_what_a_claim_came_to_is_named():
    errors = {"sigmoid": around(8.0), "softmax": around(12.0), "relu": around(7.0)}
    _, second = said([made("gate", errors)])
    assert "1 confirmed, 2 contradicted, 0 not decided. Of our own: “Softmax" in second
    table = answer.table(judge([made("gate", errors)]))
    assert "| **confirmed** |" in table and "(paper -0.72)" not in table
    assert answer.table([]) == ""


def test_a_claim_whose_records_lack_its_measure_is_not_among_those_judged():
    """The runs of `stage` are there, and none of them has kept its gates."""
    studies = [made("stage", {})]
    judged = judge(studies)
    [first, *_] = [v for v in judged if v.claim.number == "8, classes"]
    assert first.word == answer.word(first) == "no record"
    known = [v for v in judged if v.word != "no record"]
    assert 0 < len(known) < len(judged)
    [text] = [text for text in said(studies) if text.startswith("Of ")]
    assert f"bear on {len(known)}: " in text and f", {len(known)} not decided." in text
    assert first.claim.says in dict(limits(GROUP, studies, judged))["Not asked"]


def test_what_these_runs_cannot_show_is_counted():
    study = made("ratio", {PLAIN: [8.0, 9.0, 10.0]})
    study.runs["epochs"], study.runs["train_images"] = 30, 45_000
    study.runs["env.commit"] = ["a"] * 10 + ["b"] * 11
    study.runs["env.data"] = "b30be469dc7c1349"
    found = dict(limits(GROUP, [study], judge([study])))
    assert list(found) == ["Recipe", "Data", "Seeds", "Machines", "The paper", "Not asked"]
    assert "30 epochs of 45,000 images" in found["Recipe"]
    assert "NOT checked against the official archive" in found["Data"]
    assert "Rows have 3 of the 3 seeds" in found["Seeds"] and "n = 3 only" in found["Seeds"]
    assert found["Machines"] == "These runs mix 2 commits."
    study.runs.loc[study.runs.seed == 0, "delay"] = [1.5] * 6 + [2.0]
    study = replace(study)  # nothing is remembered of it
    found = dict(limits(GROUP, [study], judge([study])))
    assert "In 7 of 21 runs the median epoch took from 1.5 to 2.0 times" in found["Times"]
    assert "SE in a single stage" in found["Not asked"]


@pytest.mark.parametrize(
    ("dataset", "fingerprint", "is_official"),
    [("cifar100", "b30be469dc7c1349", True), ("cifar100", "0" * 16, False),
     ("cifar10", "4db441c3e4de56a6", False), ("cifar10", "0" * 16, False),
     ("cifar10_mini", "0" * 16, False)],
)  # fmt: skip
def test_only_the_official_images_are_called_so(dataset, fingerprint, is_official):
    text = origin(dataset, fingerprint)
    assert ("NOT" not in text) == is_official
