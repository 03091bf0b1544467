"""What tables, notes, figures and pages say of studies that are only partly there."""

import dataclasses
import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from conftest import with_changes
from made import across, around, made
from page import Page

from analysis.figures.lengths import tuning as draw_pilots
from analysis.groups import by_group, with_pools
from analysis.page import answer, captions, chapters, explore, opening, readme, report
from analysis.page.limits import brief, limits
from analysis.statistics import comparisons, lengths
from analysis.study import Study
from analysis.tables.notes import notes, tuning
from experiments.records.study_file import Tried, Tune
from experiments.study.grid import PLAIN

GROUP = ("cifar10", "resnet29b", "medium")
LENGTHS = [f"{60_000 * 2**n:,}" for n in range(5)]


def partly(study: Study, *rows: str, seeds: int, state: str = "missing") -> Study:
    """The study with only so many results of some rows; the other runs are in this state."""
    lost = study.runs.row.isin(rows) & (study.runs.seed >= seeds)
    study.runs.loc[lost, ["state", "test_error"]] = [state, math.nan]
    return study


def rows_at(study: Study, *images: str, of: str = "") -> list[str]:
    return [row for row in study.rows if row.endswith(tuple(f", {n} images" for n in images))
            and row.startswith(of)]  # fmt: skip


def begun(runs: int) -> Study:
    """A study across lengths of which three are there, and so many runs of the fourth."""
    study = across(-0.3)
    partly(study, *rows_at(study, LENGTHS[4]), seeds=0)
    first, *others = rows_at(study, LENGTHS[3])
    partly(study, *others, seeds=0)
    return partly(study, first, seeds=runs)


@pytest.mark.parametrize("grid", ["depth", "placement", "factorial", "control", "ratio"])
@pytest.mark.parametrize("seeds", [0, 1, 2])
def test_every_study_has_sentences_from_its_first_result_on(grid, seeds):
    study = made(grid, {})
    partly(study, *study.rows, seeds=seeds)
    for shown in ([study], [partly(study, *study.rows[1:], seeds=0)]):
        assert all(answer.sentences(GROUP, shown, [])) and answer.found(study)
        readme.parts(shown)
        assert "nan" not in opening.in_markdown(shown)


def test_a_longer_training_that_has_begun_displaces_nothing():
    study = begun(runs=1)
    [members] = by_group([study]).values()
    said = " ".join(notes(study))
    assert "ONE SEED" not in said and "n = 1" not in said and "Intervals hold 95 %" in said
    assert "that were trained as long" in said
    assert "points (standard deviation): 0.05 at 60,000, 0.05 at 120,000, 0.05 at 240,000" in said
    table = opening.in_markdown(members)
    assert "(240,000 images)" in table and table.count(" ± ") == 6
    assert "1 to 3 seeds a row" in readme.status(members)
    assert not any("cannot be said" in text for _, text in limits(GROUP, members, []))
    assert brief(GROUP, members)


def test_of_a_single_finished_length_the_opening_is_its_own():
    study = across(0.0, longest=2)
    partly(study, rows_at(study, LENGTHS[1])[0], seeds=3)
    partly(study, *rows_at(study, LENGTHS[1])[1:], seeds=0)
    assert "(60,000 images)" in opening.in_markdown([study])


def test_runs_that_are_still_to_come_are_not_lost():
    study = across(-0.3, longest=3)
    partly(study, *rows_at(study, LENGTHS[2]), seeds=1)
    first, *_ = answer.sentences(GROUP, [study], [])
    assert "runs are missing" in first and "lost" not in first
    partly(study, *rows_at(study, LENGTHS[2]), seeds=1, state="failed")
    assert "runs were lost" in answer.sentences(GROUP, [study], [])[0]


@pytest.mark.parametrize("where", [LENGTHS[:2], LENGTHS[3:]])
def test_no_slope_is_judged_by_where_its_runs_diverged(where):
    study = across(-0.3)
    lost = rows_at(study, *where, of="SE")
    partly(study, *lost, seeds=0, state="diverged")
    over_them = [
        one for one in comparisons.answers(study) if set(lost) & set(one.comparison.labels)
    ]
    assert over_them and {one.verdict for one in over_them} == {comparisons.RUNS_LOST}


def test_a_begun_study_across_lengths_does_not_displace_an_answer():
    studies = [made("control", {PLAIN: around(12.0)}), across(0.0, longest=1)]
    assert opening.first_of(studies).asked.grid == "control"
    assert "lower than with" in answer.sentences(GROUP, studies, [])[0]


def test_the_length_of_a_training_is_said_in_images_where_the_recipe_counts_them():
    study = across(0.0)
    assert "60,000 to 960,000 images seen, 3 seeds a row" in readme.status([study])


def test_the_figure_across_lengths_has_a_caption_of_its_own():
    study = begun(runs=1)
    found = captions.of_study("budget", study)
    assert found.alt.startswith("Lines of the test error against images seen")
    assert "SE 30.00 % at 60,000, 25.70 % at 120,000" in found.alt
    assert found.text.startswith("SE minus three gates that never see the image, in points: +0.00")
    assert "-0.60 [" in found.text and "480,000" not in found.text
    [text] = [text for page, text in readme.parts([study]).items() if page == readme.FINDINGS]
    assert "hollow" not in text["published"].split("-budget.png)")[1].split("|")[0]


def test_networks_that_are_called_alike_before_the_length_stay_apart():
    study = across(0.0)
    rows = [
        row.model_copy(update={"label": row.label.replace("gate fixed at 1/2", "SE") + ", fixed"})
        if row.label.startswith("gate fixed")
        else row
        for row in study.asked.rows
    ]
    asked = study.asked.model_copy(update={"rows": tuple(rows)})
    found = lengths.series(dataclasses.replace(study, asked=asked))
    assert len(found) == 6 and sum(map(len, found.values())) == 30


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        ({}, "with 0.03, 0.1, 0.3; not chosen yet for 3 of 3 rows."),
        ({"a": 0.1, "b": 0.1}, "0.3: 0.1; not chosen yet for 1 of 3 rows."),
        (
            {"a": 0.1, "b": 0.3, "c": 0.1},
            ": 0.1, but 0.3 for b; at the end of what was tried for b.",
        ),
    ],
)
def test_the_note_on_tuning_says_what_was_chosen_and_where_that_is_an_end(chosen, says):
    tried = ((0.03, 9.0), (0.1, 5.0), (0.3, None))
    rows = {row: Tried(tried=tried, chosen=chosen.get(row), runs=()) for row in "abc"}
    said = tuning(Tune(key="recipe.lr", rows=rows))
    assert said.startswith("Each row has the learning rate that is best on held-out images, by ")
    assert said.endswith(says)


def test_a_pilot_that_diverged_is_marked_in_the_figure_of_the_pilots():
    study = across(0.0, longest=1)
    tried = ((0.03, 42.0), (0.1, 35.0), (0.3, None))
    rows = {row: Tried(tried=tried, chosen=0.1, runs=()) for row in study.rows}
    asked = with_changes(study.asked, tune=Tune(key="recipe.lr", rows=rows).plain())
    figure = draw_pilots(dataclasses.replace(study, asked=asked))
    panel, *_ = figure.axes
    assert [text.get_text() for text in panel.get_xticklabels()] == ["0.03", "0.1", "0.3"]
    assert sum(text.get_text() == "×" for text in panel.texts) == 6  # a row each


def test_a_chapter_without_a_claim_of_the_paper_has_its_answer_and_no_warning():
    found = chapters.chapter(GROUP, [begun(runs=1)], {}, {}, [])
    assert "from 60,000 to 240,000 images seen, SE gains" in found.answer[0]
    shown = made("control", {}, demonstration=True)
    assert chapters.chapter(GROUP, [shown], {}, {}, []).answer == []


def test_a_curve_is_the_mean_of_runs_that_may_be_in_one():
    study = made("control", {})
    rows = [("SE", seed, epoch, 60.0 if seed else 90.0) for seed in range(3) for epoch in (1, 2)]
    study = replace(study, curves=pd.DataFrame(rows, columns=["row", "seed", "epoch", "val_error"]))
    first = (study.runs.row == "SE") & (study.runs.seed == 0)
    for state in ("diverged", "other data", "damaged"):
        study.runs.loc[first, "state"] = state
        assert list(explore.by_epoch(study)["epoch 1"]) == ["60.0"], state
    study.runs.loc[first, "state"] = "running"  # on the page of a grid that is under way
    assert list(explore.by_epoch(study)["epoch 1"]) == ["70.0"]


def test_notes_that_studies_share_are_on_the_page_of_every_group():
    groups = [[made(grid, {}, recipe=recipe) for grid in ("control", "gate")]
              for recipe in ("short", "medium")]  # fmt: skip
    names = [replace(one, asked=with_changes(one.asked, name=f"{one.asked.grid}-{number}"))
             for number, some in enumerate(groups) for one in some]  # fmt: skip
    studies = with_pools(names)
    for study in studies:
        study.runs["path"] = study.runs["path"].map(Path)
    said = " ".join(Page(report.render(studies, [])).said.split())
    for study in studies:
        for note in notes(study):
            assert said.count(note.replace("`", "")) >= 1, (study.name, note)
    assert said.count("Seeds 0 to 2.") >= 2


def test_the_readme_names_the_gpu_that_trained():
    study = made("control", {})
    assert readme.status([study]).startswith("*Trained on d: ")  # which is no CPU
    study.runs["env.device"] = "cpu"
    study = replace(study)  # nothing is remembered of it
    assert readme.status([study]).startswith("*Trained on p: ")
