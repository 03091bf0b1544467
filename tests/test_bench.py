"""That the benchmark runs and says what it found; never how fast anything was."""

import json
import statistics
from functools import partial
from itertools import pairwise
from multiprocessing import forkserver

import pytest
import torch
import typer
from command_line import call
from conftest import ROOT

from analysis.page.readme import filled
from benchmarks import grids, measure, pages
from benchmarks.__main__ import main
from benchmarks.cases import LADDER, cases, goals, is_for_a_goal, sized
from benchmarks.measure import ADDED, BATCH, KINDS
from benchmarks.rounds import SECONDS

CASES = list(cases("cpu", is_full=True))


@pytest.mark.slow
@pytest.mark.parametrize("case", [c for c in CASES if "compiled" not in c.name],
                         ids=lambda case: case.name)  # fmt: skip
def test_every_case_does_a_batch_at_a_time(case, monkeypatch):
    made = measure.pictures(BATCH)
    monkeypatch.setattr(measure, "pictures", lambda number: made)  # and not 20,000
    threads = torch.get_num_threads()
    batch = next((size for size in (32, 64) if case.name == sized(case.name[:-10], size)), BATCH)
    assert KINDS[case.kind]("cpu", case.threads, *case.args)() == batch
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_captured_steps_of_two_runs_are_timed_as_one():
    threads = torch.get_num_threads()
    assert KINDS["captured"]("cpu", 1, "resnet20", {}, 2)() == 2 * BATCH
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_a_part_of_it_prints_its_table_and_leaves_the_page_alone(monkeypatch):
    monkeypatch.setitem(SECONDS, "short", 0.1)
    before, preload = pages.RESULTS.read_text(), list(forkserver._forkserver._preload_modules)
    words = ("--only", "input: ours", "--device", "cpu")
    done = call(*words, main=partial(typer.run, main), BENCH="short")
    assert done.returncode == 0, done.stderr
    assert "| input: ours | " in done.stdout and pages.RESULTS.read_text() == before
    assert forkserver._forkserver._preload_modules == preload  # what the runs of other tests need


@pytest.mark.slow
def test_a_whole_grid_is_timed_from_its_command_to_its_figures(monkeypatch):
    monkeypatch.setitem(grids.CELLS, 2, {"se.ratio": [4, 8]})
    found = grids.measured(2, 2, "cpu", images=32)
    assert 0 < found["start_up"] < found["seconds"] and 0 < found["serial"] < 1
    assert found["again"] > 0


def test_each_rung_of_the_ladder_adds_one_thing_on_one_thread():
    rungs = [case for case in CASES if case.name.startswith(LADDER)]
    usual = [set(case.args[3:]) for case in rungs if case.kind == "usual"]
    assert usual[0] == set() and {case.threads for case in rungs} == {1}
    assert all(len(b - a) == 1 and a < b for a, b in pairwise(usual))
    assert usual[-1] <= set(ADDED) and set(ADDED) - usual[-1] <= {"bf16"}
    assert [case.kind for case in rungs[len(usual) :]] == ["ours", "ours"]
    assert rungs[-1].processes > rungs[-2].processes or rungs[-1].processes == 1


def found(kind: str = "avx2") -> dict:
    """A run in which every case was as fast as its place in the list."""
    names = [case.name for case in cases("cpu")]
    rates = {name: [n, 2.0 * n, 40.0 * n] for n, name in enumerate(names, 1)}
    grid = {"cells": 8, "workers": 2, "seconds": 30.0, "start_up": 4.0, "serial": 0.25, "again": 3}
    return {
        "kind": kind,
        "machine": {"processor": "one, 2 cores", "device": "cpu"},
        "rounds": 3,
        "rates": rates,
        "memory": dict.fromkeys(names, 500.0),
        "grids": [grid],
        "goals": [list(goal) for goal in goals(rates, [grid], "cpu", kind)],
    }


def test_a_run_replaces_the_section_of_its_own_kind_of_processor_alone():
    text = pages.RESULTS.read_text()
    first = pages.put(text, "avx2", "one\n")
    both = pages.put(first, "neon", "other\n")
    assert pages.put(pages.put(both, "avx2", "three\n"), "avx2", "one\n") == both
    assert both.count("<!-- avx2 -->\none\n<!-- end of avx2 -->") == 1
    for section in ("<!-- avx2 -->\none\n<!-- end of avx2 -->\n\n",
                    "<!-- neon -->\nother\n<!-- end of neon -->\n\n"):  # fmt: skip
        both = both.replace(section, "")
    assert both == text


def test_what_the_checks_of_a_gpu_and_of_size_keep_is_no_run_of_a_processor(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "HERE", tmp_path)
    for name, kept in {"avx2": found(), "gpu": {"machine": {"gpu": "A GPU"}}, "size": {}}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(kept))
    assert [one["kind"] for one in pages.kept()] == ["avx2"]


def test_the_page_has_every_rate_and_what_each_rung_brings():
    one = found()
    lines = pages.page(one).splitlines()
    for name, rates in one["rates"].items():
        [line] = [s for s in lines if s.startswith(f"| {name.removeprefix(LADDER)} |")]
        assert f"| {statistics.median(rates):,.0f} |" in line
    rung = next(s for s in lines if s.startswith(f"| + {ADDED[-1]} |"))
    n = [line for line in one["rates"] if line.startswith(LADDER)].index(f"{LADDER}+ {ADDED[-1]}")
    assert f"| {(n + 1) / n:.2f} | {n + 1:.2f} |" in rung  # rates are 1, 2, 3, ...
    assert "| 8 | 2 | 30.0 | 4.0 | 25 % | 3.0 |" in lines


def test_the_ratios_of_the_page_are_those_of_the_kept_runs():
    text = (ROOT / "docs" / "speed.md").read_text()
    assert text == filled(text, {"bench": pages.sentences()})
    for one in pages.kept():
        rates = one["rates"]
        ratios = [a / b for a, b in zip(rates["fused step, SE-resnet29b"],
                                        rates["fused step, resnet29b"], strict=True)]  # fmt: skip
        assert f"{sorted(ratios)[len(ratios) // 2]:.2f} of the speed" in pages.sentence(one)
        text = pages.RESULTS.read_text()
        assert pages.put(text, one["kind"], pages.page(one)) == text


@pytest.mark.parametrize(("kind", "number"), [("amx_bf16", 3), ("avx2", 15), ("neon", 0)])
def test_a_goal_is_the_median_of_ratios_within_a_round(kind, number):
    rates = {case.name: [1.0, 2.0, 40.0] for case in cases("cpu")}
    rates["fused step, SE-resnet29b"] = [3.0, 8.0, 40.0]
    asked = {what: ratio for what, ratio, _ in goals(rates, [], "cpu", kind)}
    assert len(asked) == number
    assert {ratio for what, ratio in asked.items() if "convolutions" in what} <= {3.0}


def test_a_gpu_has_goals_of_its_own_which_need_a_few_cases_alone():
    rates = {case.name: [1.0] for case in cases("cuda:0") if is_for_a_goal(case)}
    assert len(list(goals(rates, [], "cuda:0", "avx2"))) == 3
    assert len(rates) < 10 < len(list(cases("cuda:0")))


@pytest.mark.parametrize(("again", "ratio"), [([1.0, 2.5], 2.0), ([1.0, 10.0], 0.5)])
def test_no_finished_grid_is_to_take_more_than_five_seconds_again(again, ratio):
    [(_, measured, goal)] = goals({}, [{"again": s} for s in again], "cpu", "neon")
    assert (measured, goal) == (ratio, 1.0)
