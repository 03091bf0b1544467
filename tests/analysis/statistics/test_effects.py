"""Main effects and interactions, against least squares."""

import math
from itertools import product

import numpy as np
import pandas as pd
import pytest
from made import made
from scipy import stats

from analysis.statistics.effects import effects, factors, notes
from analysis.statistics.stats import moderate, pool
from analysis.study import Study


def crossed(random: np.random.Generator, seeds: int) -> Study:
    """The factorial study with errors that are drawn."""
    rows = [row.label for row in made("factorial", {}).asked.rows]
    return made("factorial", {row: list(random.normal(9, 1, seeds)) for row in rows}, seeds=seeds)


def coded(level: str, levels: list[str]) -> list[float]:
    """Sum-to-zero coding: the last level is minus one everywhere."""
    return (
        [float(level == other) for other in levels[:-1]]
        if level != levels[-1]
        else [-1.0] * (len(levels) - 1)
    )


def test_factors_are_what_is_crossed():
    assert factors(made("factorial", {})) == {
        "squeeze": ["avg", "max"],
        "gate": ["sigmoid", "tanh", "softmax_c"],
        "ratio": ["2", "8"],
        "position": ["standard", "pre", "post", "identity"],
    }
    assert factors(made("ratio", {})) == {} and factors(made("control", {})) == {}
    assert factors(made("depth", {})) == {}


@pytest.mark.parametrize("seeds", [2, 3])
def test_effects_are_those_of_least_squares(seeds):
    study = crossed(np.random.default_rng(seeds), seeds)
    table, levels = effects(study).set_index(["term", "level"]), factors(study)
    terms = [(a,) for a in levels] + [
        (a, b) for i, a in enumerate(levels) for b in list(levels)[i + 1 :]
    ]
    matrix, y = [], []
    for row in study.varied:
        own = study.levels[row]
        line = [1.0]
        for term in terms:
            codes = [coded(own[name], levels[name]) for name in term]
            line += [math.prod(values) for values in product(*codes)]
        for error in study.errors(row):
            matrix.append(line)
            y.append(error)
    beta = np.linalg.lstsq(np.array(matrix), np.array(y), rcond=None)[0]
    place = 1
    for term in terms:
        width = math.prod(len(levels[name]) - 1 for name in term)
        part = beta[place : place + width]
        place += width
        for combination in product(*(levels[name] for name in term)):
            codes = [coded(v, levels[name]) for v, name in zip(combination, term, strict=True)]
            wanted = sum(b * math.prod(c) for b, c in zip(part, product(*codes), strict=True))
            found = table.loc[(" x ".join(term), ", ".join(combination))]
            assert found.effect == pytest.approx(wanted, abs=1e-9)
    assert len(table) == 11 + 44


def test_the_interval_of_a_main_effect_by_hand():
    """Two levels of 24 rows and two seeds each: the effect is half their difference."""
    study = crossed(np.random.default_rng(7), 2)
    table = effects(study).set_index(["term", "level"])
    errors = {row: np.array(study.errors(row)) for row in study.varied}
    pooled = pool([study.errors(row) for row in study.rows])
    own = [moderate(e, pooled).variance for e in errors.values()]
    half = stats.t.ppf(0.975, pooled.freedom) * math.sqrt(sum(own) / 2) / 48
    avg = np.concatenate([errors[r] for r in errors if study.levels[r]["squeeze"] == "avg"]).mean()
    every = np.concatenate(list(errors.values())).mean()
    found = table.loc["squeeze", "avg"]
    assert found.effect == pytest.approx(avg - every)
    assert found.high - found.effect == pytest.approx(half)


def test_intervals_leave_out_zero_in_one_of_twenty_where_there_is_no_effect():
    random, wrong = np.random.default_rng(0), []
    for _ in range(30):
        table = effects(crossed(random, 2))
        wrong += list((table.low > 0) | (table.high < 0))
    assert np.mean(wrong) <= 0.07  # 5 % within what 30 studies can tell


def test_one_seed_has_intervals_from_the_interactions_of_three_and_more():
    random, wrong = np.random.default_rng(0), []
    for _ in range(20):
        study = crossed(random, 1)
        for row in ("no SE", "gate fixed at 1/2"):
            study.runs.loc[(study.runs.row == row) & (study.runs.seed > 0), "state"] = "missing"
        table = effects(study)
        assert len(table) == 55 and table.low.notna().all()
        wrong += list((table.low > 0) | (table.high < 0))
    assert np.mean(wrong) <= 0.08
    assert "of the interactions of three and more" in " ".join(notes(study, table))


def test_a_row_without_a_result_leaves_no_effects():
    study = crossed(np.random.default_rng(0), 2)
    study.runs.loc[study.runs.row == "max, tanh, 2, pre", "state"] = "failed"
    assert effects(study).empty and isinstance(effects(study), pd.DataFrame)
