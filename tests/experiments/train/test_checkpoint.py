"""A checkpoint is a file of torch, and one that this version cannot use is set aside."""

import random

import numpy as np
import pytest
import torch
from conftest import tiny
from stopped_runs import SE, stop_in_the_middle

from experiments.records.record import Record
from experiments.train import checkpoint
from experiments.train.resume import find_checkpoint


def test_a_checkpoint_is_an_ordinary_file_of_torch(tmp_path):
    state = {"tensor": torch.arange(5), "rows": [{"epoch": 1, "val_error": None}]}
    checkpoint.save(tmp_path / "c.pt", state)
    opened = torch.load(tmp_path / "c.pt", weights_only=True)
    assert opened["rows"] == state["rows"] and torch.equal(opened["tensor"], state["tensor"])
    assert checkpoint.load(tmp_path / "c.pt", "cpu")["rows"] == state["rows"]


def test_the_states_of_all_generators_come_back():
    checkpoint.seed_all(3)
    states = checkpoint.random_states("cpu")
    first = random.random(), np.random.random(), torch.rand(2).tolist()
    checkpoint.set_random_states(states, "cpu")
    assert (random.random(), np.random.random(), torch.rand(2).tolist()) == first


def without(state: dict, *path: str | int) -> None:
    for key in path[:-1]:
        state = state[key]
    del state[path[-1]]


OTHER = {
    "weights with other names": lambda s: s.update(model={"a": torch.zeros(3)}),
    "a weight of another shape": lambda s: s["model"].update({"conv1.weight": torch.zeros(3)}),
    "weights that are a list": lambda s: s.update(model=[]),
    "a lost weight": lambda s: without(s, "model", next(iter(s["model"]))),
    "an optimiser without groups": lambda s: without(s, "optimizer", "param_groups"),
    "momentum of another shape": lambda s: s["optimizer"]["state"][0].update(
        momentum_buffer=torch.zeros(7)
    ),
    "a lost generator": lambda s: without(s, "random", "numpy"),
    "a generator in another state": lambda s: s["random"].update(torch=torch.zeros(3)),
    "a step that is text": lambda s: s["position"].update(step="4"),
    "sums of another shape": lambda s: s["position"].update(sums=torch.zeros(5)),
    "an order that is none": lambda s: s["position"].update(order=torch.zeros(5)),
    "rows without epochs": lambda s: s["position"].update(rows=[{}]),
    "rows that are no list": lambda s: s["position"].update(rows=5),
    "a precision of a later version": lambda s: s.update(precision="fp8"),
    "a fingerprint that is none": lambda s: s.update(fingerprint=5),
}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, data_dir) -> Record:
    return stop_in_the_middle(tmp_path_factory.mktemp("stopped"), tiny(**SE), data_dir)


@pytest.mark.parametrize("change", OTHER.values(), ids=OTHER)
def test_a_checkpoint_whose_checksum_fits_and_nothing_else_is_set_aside(stopped, change):
    whole = stopped.checkpoint.read_bytes()
    saved = checkpoint.load(stopped.checkpoint, "cpu")
    marks = {key: saved[key] for key in ("data", "fingerprint")}
    args = (stopped, "cpu", marks, lambda how: saved["step_fingerprint"])
    assert find_checkpoint(*args, pytest.fail) is not None
    change(other := checkpoint.load(stopped.checkpoint, "cpu"))
    checkpoint.save(stopped.checkpoint, other)
    notes: list[str] = []
    try:
        assert find_checkpoint(*args, notes.append) is None
    finally:
        [kept] = stopped.path.glob("checkpoint.old-*.pt")
        kept.unlink()
        stopped.checkpoint.write_bytes(whole)
    [said] = notes
    assert "is not what this version writes" in said and "\n" not in said
