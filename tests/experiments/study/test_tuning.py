"""Each row at its own best learning rate: pilots, what is chosen by them, and what follows."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from command_line import call
from conftest import tiny, tiny_words

from analysis.statistics.contrasts import Comparison
from experiments.records.files import read_lines, write_json
from experiments.records.parsing import ConfigError
from experiments.records.states import State
from experiments.records.studies import read_studies, write_study
from experiments.study import tuning
from experiments.study.study import expand
from experiments.study.tuning import Tuning, decide, news, resume

BRACKET = (0.03, 0.1, 0.3)
ON = {"dataset": "cifar10", "recipe": "smoke"}
GRID = """\
title: Tuned
controls: []
tune: {recipe.lr: [0.03, 0.1, 0.3]}
cells: [{label: SE, se.gate: sigmoid}]
"""


def bracket(*errors: float | None, values=BRACKET) -> dict[float, float | None]:
    return dict(zip(values, errors, strict=True))


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        (bracket(9, 5, 8), Tuning(bracket(9, 5, 8), 0.1)),
        (bracket(9, None, 8), Tuning(bracket(9, None, 8))),
        (bracket(5, 5, 5, 9, values=(0.009, *BRACKET)), None),
        (bracket(4, 5, 8), Tuning({0.009: None} | bracket(4, 5, 8))),
        (bracket(9, 5, 4), Tuning(bracket(9, 5, 4) | {0.9: None})),
        (bracket(9, 5, math.inf), Tuning(bracket(9, 5, math.inf), 0.1)),
        (bracket(9, 9, 9), Tuning({0.009: None} | bracket(9, 9, 9))),
    ],
)
def test_the_best_value_is_taken_and_one_at_the_end_of_the_bracket_widens_it(errors, expected):
    if expected is None:  # of a tie the smallest, and that is at the end once more
        expected = Tuning({0.0027: None} | errors)
    assert decide(errors, BRACKET) == expected


def test_a_bracket_does_not_widen_for_ever():
    tuning, values = Tuning(bracket(3, 2, 1)), []
    while tuning.chosen is None:
        errors = {v: -v if e is None else e for v, e in tuning.tried.items()}
        tuning = decide(errors, BRACKET)
        values = list(tuning.tried)
    assert values == [*BRACKET, 0.9, 2.7, 8.1, 24.0] and tuning.chosen == 24.0


def test_where_all_pilots_diverge_smaller_values_are_tried_and_then_none_is_chosen():
    found = Tuning(bracket(*[math.inf] * 3))
    while (found := decide(found.tried, BRACKET)).is_open:
        found = Tuning(dict.fromkeys(found.tried, math.inf))
    assert list(found.tried) == [0.00024, 0.00081, 0.0027, 0.009, *BRACKET]
    assert found.chosen is None
    before = {"SE": Tuning(bracket(None, 5.0, 6.0))}
    assert news(before, {"SE": Tuning(bracket(math.inf, 5.0, 6.0), 0.1)}) == [
        "SE takes 0.1 (held-out images that are wrong: 0.03: diverged, 0.1: 5.00 %, 0.3: 6.00 %)"
    ]
    assert news(before, {"SE": found})[0].startswith("SE is left out (")


@pytest.mark.parametrize(
    ("values", "key", "chosen"),
    [((0.9, 0.95), "recipe.momentum", 0.95), ((0.1, 0.102), "recipe.lr", 0.102)],
    ids=["beyond it stands 1", "it is rounded to one that was tried"],
)
def test_where_nothing_can_be_tried_beyond_the_end_the_end_is_chosen(values, key, chosen):
    config = tiny()
    found = decide(dict(zip(values, (9.0, 5.0), strict=True)), values,
                   fits=lambda value: tuning._fits(config, key, value))  # fmt: skip
    assert found.chosen == chosen


LENGTHS = """\
title: Lengths
controls: []
tune: {recipe.lr: [0.03, 0.1, 0.3]}
cells: [{label: '{images}', recipe.images: [64, 128]}]
"""


def test_a_row_that_cannot_be_tuned_is_left_out_and_the_others_go_on(tmp_path):
    (tmp_path / "lengths.yaml").write_text(LENGTHS)
    study = expand(str(tmp_path / "lengths.yaml"), **ON, seeds=2)
    study.tuned["64"] = Tuning(bracket(*[math.inf] * 3))
    assert {config.recipe.images for _, config in study.runs()} == {128}
    assert [row.cell.endswith("-not-tuned") for row in study.record().rows] == [True, True]


@pytest.mark.parametrize(
    ("old", "new", "kept"),
    [
        ("", "", True),
        ("title: Tuned", "title: Otherwise", True),
        ("se.gate: sigmoid", "se.gate: tanh", False),
        ("[0.03, 0.1, 0.3]", "[0.01, 0.1, 0.3]", False),
    ],
)
def test_what_was_tuned_is_kept_for_the_same_row_alone(tmp_path, old, new, kept):
    path = tmp_path / "own.yaml"
    path.write_text(GRID)
    study = expand(str(path), **ON)
    study.tuned["SE"] = Tuning(bracket(9, 5, 8), 0.1)
    write_study(tmp_path, study.record())
    path.write_text(GRID.replace(old, new))
    again = resume(expand(str(path), **ON), tmp_path)
    assert (again.tuned["SE"].chosen == 0.1) == kept
    assert again.tuned["SE"].is_open != kept


def test_results_of_short_trainings_come_before_the_pilots_of_long_ones(tmp_path):
    (tmp_path / "lengths.yaml").write_text(LENGTHS)
    study = expand(str(tmp_path / "lengths.yaml"), **ON, seeds=2)

    def runs(study):
        return [(c.recipe.images, c.recipe.lr, c.seed) for _, c in study.runs()]

    short = [(64, lr, 10_000) for lr in BRACKET]
    assert runs(study) == short
    study.tuned["64"] = Tuning(bracket(9, 5, 8), 0.1)
    long = [(128, lr, 10_000) for lr in BRACKET]
    assert runs(study) == [(64, 0.1, 0), (64, 0.1, 1), *long]
    study.tuned["128"] = Tuning(bracket(5, 4, 8), 0.1)
    assert runs(study) == [(n, 0.1, seed) for seed in (0, 1) for n in (64, 128)]
    cells = [row.cell for row in study.record().rows]
    assert cells == [cell.config.cell for cell in study.settled]


def test_pilots_choose_and_fresh_seeds_are_trained(tmp_path, data_dir):
    (tmp_path / "tuned.yaml").write_text(GRID)
    words = ["run", str(tmp_path / "tuned.yaml"), *tiny_words(epochs=1), "--seeds", "2"]
    there = {"RESULTS": str(tmp_path / "results"), "DATA_DIR": str(data_dir)}
    done = call(*words, **there)
    assert done.returncode == 0, done.stdout + done.stderr
    pilots = [line for line in done.stdout.splitlines() if line.startswith("done     pilot")]
    assert pilots and all("% of the held-out images wrong" in line for line in pilots)
    [study] = read_studies(tmp_path / "results")
    for row in study.rows:
        tuned = study.tune.rows[row.label]
        tried, best = dict(tuned.tried), tuned.chosen
        assert set(BRACKET) <= set(tried) and best == min(filter(tried.get, tried), key=tried.get)
        assert min(tried) < best < max(tried) or len(tried) == len(BRACKET) + 4
        folder = tmp_path / "results" / "runs" / row.cell
        assert json.loads((folder / "seed1" / "config.json").read_text())["recipe"]["lr"] == best
        pilot = read_lines(folder / "seed10000" / "metrics.jsonl")  # of the value that was chosen
        assert pilot[-1]["val_error"] == pytest.approx(tried[best], abs=1e-4)
        assert {p.name for p in folder.iterdir()} == {"seed0", "seed1", "seed10000"}
    table = (tmp_path / "results/tables" / f"{study.name}.md").read_text()
    assert "learning rate" in table
    status = call("status", **there).stdout
    pilots = sum(len(one.runs) for one in study.tune.rows.values())
    assert f"{2 + pilots} runs: {2 + pilots} done" in status
    again = call(*words, **there)
    assert "2 of 2 runs are there, 0 to train" in again.stdout
    assert read_studies(tmp_path / "results") == [study]
    [first, *_] = next(iter(study.tune.rows.values())).runs
    again = call(*words, "--only", first, **there)  # as an agent of a sweep may ask for it
    assert again.returncode == 0 and "1 of 1 runs are there" in again.stdout, again.stderr
    sweep = call("sweep", *words[1:], **there | {"RESULTS": str(tmp_path / "empty")})
    assert sweep.returncode == 2 and "no sweep can list them" in sweep.stderr
    elsewhere = there | {"RESULTS": str(tmp_path / "copied")}
    copied = call(*words, "--reuse", str(tmp_path / "results"), **elsewhere)
    assert f"{2 + pilots} finished runs are copies" in copied.stdout, copied.stdout
    assert "2 of 2 runs are there, 0 to train" in copied.stdout and copied.returncode == 0
    assert read_studies(tmp_path / "copied") == [study]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("recipe.lr:", "width:", "tune: width: a setting of the recipe is expected"),
        ("se.gate: sigmoid", "recipe.lr: 0.1", "recipe.lr is tuned, so that cells may not set it"),
        ("[0.03, 0.1, 0.3]", "[0.3, 0.1]", "stand in ascending order"),
        ("[0.03, 0.1, 0.3]", "[0.1]", "at least 2 items"),
        ("[0.03, 0.1, 0.3]", "[0, 0.1]", "greater than 0"),
        ("recipe.lr: [0.03, 0.1, 0.3]", "recipe.lp: [0.1, 0.3]", "unknown key 'recipe.lp'"),
        ("recipe.lr: [", "recipe.momentum: [0.9, 0.95], recipe.lr: [", "at most 1 item"),
    ],
)
def test_a_wrong_bracket_is_one_sentence(tmp_path, old, new, said):
    (tmp_path / "own.yaml").write_text(GRID.replace(old, new))
    with pytest.raises(ConfigError, match=said):
        expand(str(tmp_path / "own.yaml"), **ON)


def test_without_held_out_images_nothing_is_tuned(tmp_path):
    (tmp_path / "own.yaml").write_text(GRID)
    with pytest.raises(ConfigError, match="holdout is 0, and held-out images choose"):
        expand(str(tmp_path / "own.yaml"), **ON, settings={"recipe.holdout": 0})


def test_what_is_tuned_cannot_be_set(tmp_path):
    (tmp_path / "own.yaml").write_text(GRID)
    with pytest.raises(ConfigError, match="varies or fixes recipe"):
        expand(str(tmp_path / "own.yaml"), **ON, settings={"recipe.lr": 0.2})


def test_a_file_whose_tuning_was_edited_is_named(tmp_path):
    (tmp_path / "own.yaml").write_text(GRID)
    study = expand(str(tmp_path / "own.yaml"), **ON)
    for n, wrong in enumerate(["x", {"key": "recipe.lr"}, {"key": "", "rows": {"SE": [1]}}]):
        path = tmp_path / str(n) / "studies" / f"{study.name}.json"
        path.parent.mkdir(parents=True)
        write_json(path, study.record().plain() | {"tune": wrong})
        with pytest.raises(ConfigError, match=f"{study.name}.json was edited"):
            resume(study, tmp_path / str(n))


def test_the_slope_is_that_of_a_straight_line_through_the_differences():
    numbers = (60, 120, 480)
    one = Comparison(grid="budget", rows="a {:,}", minus=["b {:,}", "c {:,}"], over=numbers)
    means = dict(zip(one.labels, np.random.default_rng(0).normal(size=9), strict=True))
    found = sum(weight * means[row] for row, weight in one.weights().items())
    apart = [means[f"a {n}"] - (means[f"b {n}"] + means[f"c {n}"]) / 2 for n in numbers]
    assert found == pytest.approx(np.polyfit(np.log2(numbers), apart, 1)[0])
    assert one.steps == pytest.approx(3)


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ([(State.DONE, 8.0), (State.DONE, 9.0)], 8.5),
        ([(State.DONE, 8.0), (State.DIVERGED, 9.0)], math.inf),
        ([(State.DONE, 8.0), (State.DONE, None)], math.inf),
        ([(State.DONE, 8.0), (State.INTERRUPTED, 9.0)], None),
        ([(State.DONE, 8.0), (State.FAILED, 9.0)], None),
    ],
)
def test_the_error_of_a_value_is_the_mean_of_its_pilots(tmp_path, monkeypatch, ends, expected):
    def record(_, config):
        state, error = ends[config]
        return SimpleNamespace(state=state, summary=lambda: {"val_error": error})

    monkeypatch.setattr(tuning, "Record", record)
    assert tuning._held_out_error([0, 1], tmp_path) == expected


def test_what_the_pilots_of_one_length_have_shown_opens_the_next(tmp_path, monkeypatch):
    (tmp_path / "lengths.yaml").write_text(LENGTHS)
    study = expand(str(tmp_path / "lengths.yaml"), **ON, seeds=2)
    found = {0.03: 9.0, 0.1: 8.0, 0.3: 7.0, 0.9: 7.5}

    def error(runs, results):
        return found[runs[0].recipe.lr] if runs[0].recipe.images == 64 else None

    monkeypatch.setattr(tuning, "_held_out_error", error)
    after = tuning.advance(study, tmp_path)
    assert after.tuned["64"] == Tuning(found, 0.3) and after.tuned["128"] == study.tuned["128"]
