"""That the benchmark runs and says what it found; never how fast anything was."""

import os
import subprocess
import sys

import pytest
import torch
from conftest import ROOT

from benchmarks.__main__ import cases, goals
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
def test_a_part_of_it_prints_its_table_and_leaves_the_page_alone():
    page = ROOT / "benchmarks" / "RESULTS.md"
    before = page.read_text()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--only", "input: ours", "--device", "cpu"],
        cwd=ROOT, env=os.environ | {"BENCH": "short"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "| input: ours | " in done.stdout and page.read_text() == before


def test_a_goal_is_the_median_of_ratios_within_a_round():
    rates = {case.name: [1.0, 2.0, 40.0] for case in cases("cpu")}
    rates["fused step, SE-ResNet-20"] = [3.0, 8.0, 40.0]
    assert [ratio for _, ratio, _ in goals(rates, "cpu")] == [3.0, 1.0]
    assert len(list(goals({case.name: [1.0] for case in cases("cuda:0")}, "cuda:0"))) == 3
