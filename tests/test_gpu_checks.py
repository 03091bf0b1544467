"""The checks of `make gpu-check` on a CPU: each finds nothing where all is well, and its fault."""

from contextlib import contextmanager

import pytest
import torch

from benchmarks import gpu_checks as checks
from benchmarks.gpu_checks import CHECKS
from experiments.train import proof, trust
from experiments.train.epoch import Captured, Eager
from experiments.train.proof import Found
from experiments.train.trial import Size, apart

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
    monkeypatch.setattr(proof, "Captured", Stale)
    found = find("graph")
    assert found.state == "failed" and "4 steps with a graph and without are" in found.says


class Far(Eager):
    def epoch(self, *args):
        return (1.1 * sums for sums in super().epoch(*args))


def test_a_step_far_from_the_usual_one_is_found(monkeypatch):
    monkeypatch.setattr(proof, "Eager", Far)
    found = find("graph")
    assert found.state == "failed" and "from that of the usual step" in found.says


def test_a_step_that_waits_is_found(monkeypatch):
    monkeypatch.setattr(proof, "Captured", Asks)
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
    monkeypatch.setattr("benchmarks.gpu_checks.run", lambda record, device, data_dir, kill_in: (
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
    state, says = trust.asked(["benchmarks.gpu_checks", "liveness", "cpu"], {}, 600.0)
    assert (state, says) == ("skipped", "nothing is captured on a CPU")
