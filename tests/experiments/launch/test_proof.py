"""The checks of `make gpu-check` on a CPU: each finds nothing where all is well, and its fault."""

import json
import subprocess
from contextlib import contextmanager

import pytest
import torch

from experiments.launch import checks, proof
from experiments.launch.checks import Found
from experiments.launch.proof import CHECKS, NEEDED
from experiments.records.study_file import Arithmetic
from experiments.train import trial, trust
from experiments.train.arithmetic import Unfit, pick_arithmetic
from experiments.train.environment import pick_step
from experiments.train.epoch import Captured, Eager
from experiments.train.trial import Size, apart
from experiments.train.trust import step_of_gpu, why_not_captured

TINY = Size(steps=4, cells=4, cell_steps=3, threads=2, images=40, batch=16)
STATES = dict.fromkeys(CHECKS, "passed") | {"liveness": "skipped", "memory": "skipped"}
STATES |= {name: "measured" for name in CHECKS if name == "tf32" or "streams" in name}


def find(name: str) -> Found:
    return CHECKS[name].function(TINY, "cpu")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n == "resume" else n for n in CHECKS]
)
def test_a_check_passes_where_all_is_well(name, monkeypatch):
    monkeypatch.setattr("experiments.plan.rates.STEPS", 1)
    found = find(name)
    assert found.state == STATES[name] and found.says and CHECKS[name].about


class Stale(Captured):
    """As a graph whose learning rate was looked up when it was captured."""

    def once(self, size: int) -> None:
        self.step.zero_()
        super().once(size)


class Asks(Captured):
    def once(self, size: int) -> None:
        super().once(size)
        if self.sums[0].item() != self.sums[0].item():
            raise ValueError


def drifts(self, size: int) -> None:
    """Of one thread a step is another one."""
    ONCE(self, size)
    if self.images.labels[0] >= 0 and self.recipe.lr > 0.02:
        DRIFT["steps"] += 1
        self.sums += DRIFT["steps"]


ONCE, DRIFT = Captured.once, {"steps": 0}


def test_a_graph_that_computes_something_else_is_found(monkeypatch):
    monkeypatch.setattr(checks, "Captured", Stale)
    found = find("graph")
    assert found.state == "failed" and "4 steps with a graph and without are" in found.says


class Far(Eager):
    def epoch(self, *args):
        return (1.1 * sums for sums in super().epoch(*args))


def test_a_step_far_from_the_usual_one_is_found(monkeypatch):
    monkeypatch.setattr(checks, "Eager", Far)
    found = find("graph")
    assert found.state == "failed" and "from that of the usual step" in found.says


def test_a_step_that_waits_is_found(monkeypatch):
    monkeypatch.setattr(checks, "Captured", Asks)
    found = find("waiting")
    assert found.state == "failed" and "waits for the host" in found.says


@pytest.mark.parametrize("name", ["threads", "two sets"])
def test_runs_that_disturb_each_other_are_found(monkeypatch, name):
    DRIFT["steps"] = 0
    monkeypatch.setattr(Captured, "once", drifts)
    found = CHECKS[name].function(Size(**{**vars(TINY), "cells": 6}), "cpu")
    assert found.state == "failed" and "not as alone" in found.says


def no_room(kind: type[Exception]):
    """Takes the memory for the next step, which raises this."""

    @contextmanager
    def full(device: str):
        def once(self, size: int) -> None:
            raise kind("CUDA out of memory")

        Captured.once = once
        try:
            yield
        finally:
            Captured.once = ONCE

    return full


@contextmanager
def roomy(device: str):
    yield


@pytest.mark.parametrize(
    ("full", "state", "says"),
    [(no_room(torch.OutOfMemoryError), "passed", "ends one run"),
     (no_room(torch.AcceleratorError), "failed", "raised AcceleratorError"),
     (roomy, "failed", "went on")],
)  # fmt: skip
def test_a_capture_without_room_ends_as_it_should(full, state, says):
    found = checks.memory(TINY, "cpu", full)
    assert found.state == state and says in found.says


def test_two_runs_of_other_bits_are_found(monkeypatch):
    DRIFT["steps"] = 0

    def once(self, size: int) -> None:
        ONCE(self, size)
        DRIFT["steps"] += 1
        self.sums += DRIFT["steps"]

    monkeypatch.setattr(Captured, "once", once)
    assert find("same bits").state == "failed"


@pytest.mark.slow
def test_a_run_that_begins_anew_instead_of_going_on_is_found(monkeypatch):
    monkeypatch.setattr("experiments.launch.checks.run", lambda record, device, data_dir, kill_in: (
        RUN(record, device, data_dir, None) if kill_in is None else None))  # fmt: skip
    found = find("resume")
    assert found == Found("failed", "the killed run did not go on from its checkpoint")


RUN = checks.run


def test_how_far_apart_tensors_are():
    one, nan = torch.tensor([1.0, 4.0]), torch.tensor([float("nan"), 1.0])
    assert apart([one, nan[1:]], [one.clone(), nan[1:]]) == 0
    assert apart([one], [torch.tensor([1.0, 5.0])]) == pytest.approx(0.2)
    assert apart([one], [nan]) != 0 and not apart([one], [nan]) <= 1
    with pytest.raises(ValueError):
        apart([one], [])


def test_a_check_in_a_process_of_its_own_says_what_it_found():
    state, says = trust.asked("liveness", "cpu", {}, 600.0)
    assert (state, says) == ("skipped", "nothing is captured on a CPU")


@pytest.mark.parametrize(
    ("command", "says"),
    [("import sys; sys.exit('CUDA error: no')", "its check ended: CUDA error: no"),
     ("import sys; sys.exit(3)", "its check ended: exit status 3"),
     ("print('[]')", "its check ended: exit status 0"),
     ("import time; time.sleep(60)", "its check took more than 1 seconds")],
)  # fmt: skip
def test_a_process_that_ends_without_an_answer_is_told_of(monkeypatch, command, says):
    run = subprocess.run
    monkeypatch.setattr(
        trust.subprocess, "run", lambda words, **how: run([words[0], "-c", command], **how)
    )
    assert trust.asked("graph", "cpu", {}, 1.0 if "sleep" in command else 600.0) == ("ended", says)


# -- trust ------------------------------------------------------------------------------------

FACTS = {"gpu": "A GPU", "driver": "1", "torch": "2"}


@pytest.fixture
def with_gpu(monkeypatch, tmp_path):
    """A GPU whose proof ends as the test says; gives how often it was asked for."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(trust, "has_cuda", lambda: True)
    monkeypatch.setattr(trust, "gpu_facts", lambda device: FACTS)
    proofs: list[str] = []
    why_not_captured.cache_clear()

    def ends_as(state: str, says: str = "4 steps are 0.1 apart", **facts) -> list[str]:
        why_not_captured.cache_clear()  # as in a new process
        monkeypatch.setattr(trust, "gpu_facts", lambda device: FACTS | facts)
        monkeypatch.setattr(trust, "asked", lambda *_: proofs.append(state) or (state, says))
        return proofs

    yield ends_as
    why_not_captured.cache_clear()


def test_auto_is_captured_where_it_has_proved_equal_and_asks_once(with_gpu):
    proofs = with_gpu("passed")
    assert pick_step("auto", "cuda:0") == "captured"
    assert step_of_gpu("cuda:0").endswith("takes the captured step: it proved equal on A GPU")
    with_gpu("failed")  # another process: the answer is kept
    assert pick_step("auto", "cuda:0") == "captured" and proofs == ["passed"]


@pytest.mark.parametrize("changed", ["gpu", "driver", "torch"])
def test_another_gpu_driver_or_torch_has_to_prove_it_again(with_gpu, changed):
    proofs = with_gpu("passed")
    assert pick_step("auto", "cuda:0") == "captured"
    with_gpu("failed", **{changed: "another"})
    assert pick_step("auto", "cuda:0") == "plain" and proofs == ["passed", "failed"]
    assert step_of_gpu("cuda:0").endswith("not the captured one: 4 steps are 0.1 apart")


def test_a_proof_that_did_not_end_is_made_again_another_time(with_gpu):
    proofs = with_gpu("ended", "its check ended: Killed")
    assert pick_step("auto", "cuda:0") == pick_step("auto", "cuda:0") == "plain"
    with_gpu("passed")
    assert pick_step("auto", "cuda:0") == "captured" and proofs == ["ended", "passed"]


def test_without_a_gpu_nothing_is_asked(monkeypatch):
    why_not_captured.cache_clear()
    monkeypatch.setattr(trust, "has_cuda", lambda: False)
    monkeypatch.setattr(trust, "asked", lambda *_: pytest.fail("asked"))
    assert pick_step("auto", "cuda:0") == "plain"
    why_not_captured.cache_clear()


def test_a_study_that_was_begun_captured_is_refused_by_a_gpu_that_did_not_prove_it(with_gpu):
    recipe = trial.config_of(TINY).recipe
    begun = Arithmetic(precision="fp32", step="captured")
    with_gpu("passed")
    assert pick_arithmetic(recipe, begun, "cuda:0").step == "captured"
    with_gpu("failed", driver="another")
    with pytest.raises(Unfit, match=r"captured step, and here 4 steps are 0.1 apart: .*step=plain"):
        pick_arithmetic(recipe, begun, "cuda:0")
    own = recipe.model_copy(update={"step": "captured"})  # who asks for it, gets it
    assert pick_arithmetic(own, begun, "cuda:0").step == "captured"


def test_the_short_form_ends_at_the_first_that_fails(monkeypatch):
    asked = []

    def function(name, state):
        return lambda size, device: asked.append(name) or Found(state, name)

    for name, state in zip(NEEDED, ("passed", "failed", "passed"), strict=True):
        monkeypatch.setitem(CHECKS, name, proof.Check(function(name, state)))
    assert proof.short(TINY, "cpu") == Found("failed", NEEDED[1]) and asked == list(NEEDED[:2])
    assert json.dumps(vars(Found("passed", "")))
