"""That the benchmark runs and says what it found; never how fast anything was."""

import json
from functools import partial

import pytest
import torch
import typer
from conftest import ROOT, call

from analysis.page.readme import filled
from benchmarks.__main__ import SECONDS, cases, goals, main, sentence
from benchmarks.measure import BATCH, KINDS


@pytest.mark.slow
@pytest.mark.parametrize("case", [c for c in cases("cpu") if "compiled" not in c.name],
                         ids=lambda case: case.name)  # fmt: skip
def test_every_case_does_a_batch_at_a_time(case):
    threads = torch.get_num_threads()
    assert KINDS[case.kind]("cpu", case.threads, *case.args)() == BATCH
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_captured_steps_of_two_runs_are_timed_as_one():
    threads = torch.get_num_threads()
    assert KINDS["captured"]("cpu", 1, "resnet20", {}, 2)() == 2 * BATCH
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_a_part_of_it_prints_its_table_and_leaves_the_page_alone(monkeypatch):
    monkeypatch.setitem(SECONDS, "short", 0.1)
    page = ROOT / "benchmarks" / "RESULTS.md"
    before = page.read_text()
    words = ("--only", "input: ours", "--device", "cpu")
    done = call(*words, main=partial(typer.run, main), BENCH="short")
    assert done.returncode == 0, done.stderr
    assert "| input: ours | " in done.stdout and page.read_text() == before


def test_the_ratios_of_the_page_are_those_of_the_kept_run():
    found = json.loads((ROOT / "benchmarks" / "cpu.json").read_text())
    text = (ROOT / "docs" / "speed.md").read_text()
    assert text == filled(text, {"bench": sentence(found)})
    rates, grid = found["rates"], found["grid"]
    ratios = [a / b for a, b in zip(rates["fused step, SE-resnet29b"],
                                    rates["fused step, resnet29b"], strict=True)]  # fmt: skip
    assert f"{sorted(ratios)[len(ratios) // 2]:.2f} of the speed" in sentence(found)
    assert f"{grid['2'] / grid['1']:.2f} of the time with 2 runs" in sentence(found)


def test_a_goal_is_the_median_of_ratios_within_a_round():
    rates = {case.name: [1.0, 2.0, 40.0] for case in cases("cpu")}
    rates["fused step, SE-ResNet-20"] = [3.0, 8.0, 40.0]
    assert [ratio for _, ratio, _ in goals(rates, "cpu")] == [3.0, 1.0]
    assert len(list(goals({case.name: [1.0] for case in cases("cuda:0")}, "cuda:0"))) == 3
