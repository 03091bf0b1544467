"""What replaced gates change, by hand and in the figure."""

import math

import drawn_gates
import numpy as np
import pandas as pd
import pytest
from drawn_gates import drawn, frame

from analysis.figures import replacements
from analysis.statistics import interventions
from analysis.statistics.stats import interval
from experiments.records.parsing import ConfigError

style = drawn_gates.style  # a fixture for all tests


def test_rises_by_hand():
    done = {
        "images": 100, "intact": 20.0, "all": {"mean": 22.0, "one": 80.0},
        "stages": {"2": {"mean": 19.5, "one": 20.0}},
    }  # fmt: skip
    runs = pd.DataFrame(
        {"seed": [0, 1, 2, 3], "interventions": [done, {}, math.nan, done | {"stages": {}}]}
    )
    assert interventions.intervention_frame(runs).to_dict("split")["data"] == [
        [0, "all", "mean", 2.0, 100],
        [0, "all", "one", 60.0, 100],
        [0, "2", "mean", -0.5, 100],
        [0, "2", "one", 0.0, 100],
        [3, "all", "mean", 2.0, 100],
        [3, "all", "one", 60.0, 100],
    ]


@pytest.mark.parametrize(
    "runs",
    [pd.DataFrame({"seed": [0]}), pd.DataFrame({"seed": [0, 1], "interventions": [{}, math.nan]})],
)
def test_runs_that_replaced_nothing_give_no_rows_and_no_figure(runs):
    found = interventions.intervention_frame(runs)
    assert list(found) == ["seed", "where", "how", "rise", "n_images"] and found.empty
    with pytest.raises(ConfigError, match=r"^no gates were replaced in these runs$"):
        replacements.interventions(found)


def test_interventions_draw_seeds_their_mean_and_its_interval():
    errors = frame()
    figure = replacements.interventions(errors)
    left, right = drawn(figure)
    assert [text.get_text() for text in left.get_yticklabels()] == [
        "mean over images", "another image's", "1/2", "1"
    ]  # fmt: skip
    wanted = [
        errors.rise[(errors["where"] == where) & (errors.how == how)]
        for where in ("all", "2", "3", "4")
        for how in interventions.WORDS
    ]
    bars = [*left.containers, *right.containers]
    seeds = [
        list(line.get_xdata()) for ax in (left, right) for line in ax.get_lines()
        if len(line.get_xdata()) == 3
    ]  # fmt: skip
    assert seeds == [list(rises) for rises in wanted]
    for bar, rises in zip(bars, wanted, strict=True):
        mean, half = interval(rises)
        [segment] = bar.lines[2][0].get_segments()
        assert bar.lines[0].get_xdata() == [mean]
        assert segment[:, 0] == pytest.approx([mean - half, mean + half])


def test_one_seed_of_a_network_with_one_stage_has_one_panel_and_no_interval():
    figure = replacements.interventions(frame(seeds=1, stages=()))
    [ax] = drawn(figure)
    [text] = figure.legends[0].get_texts()
    assert text.get_text() == "the one seed: no interval"
    for bar in ax.containers:
        assert not np.isfinite(bar.lines[2][0].get_segments()).any(axis=1).all()
