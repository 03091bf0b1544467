"""A run that was stopped and went on is the run that was not: bit for bit."""

import json
import random

import numpy as np
import pytest
import torch
from conftest import tiny
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from stopped_runs import SE, Stop, run, stop_in_the_middle

from experiments.records.parsing import ConfigError
from experiments.records.record import Record
from experiments.records.results import read_result
from experiments.train import arithmetic, checkpoint, training
from experiments.train.training import Interrupted, Watch
from senet.fast import kernels

SAME = ["config.json", "metrics.jsonl", "summary.json", "predictions.npz"]

# Each draws its random numbers in another way, or ends an epoch at another place.
KINDS = {
    "SE": SE,
    "cutout, nesterov": {"recipe": {"cutout": 8, "nesterov": True, "epochs": 3}},
    "shake-shake": {"network": "shake26_2x96d", "width": 0.125, "recipe": {"epochs": 3}},
    "iterations, milestones": {
        "recipe": {"epochs": None, "iterations": 8, "schedule": "steps", "milestones": [3, 6]}
    },
    "a last batch of two": {"recipe": {"train_images": 50, "epochs": 2}},
    "no holdout": {"recipe": {"holdout": 0, "train_images": None, "epochs": 2}},
}


def assert_same(ours: Record, theirs: Record) -> None:
    for name in SAME:
        assert (ours.path / name).read_bytes() == (theirs.path / name).read_bytes(), name
    read_result(ours.path)
    ours, theirs = (checkpoint.load(record.checkpoint, "cpu") for record in (ours, theirs))
    assert plain(ours) == plain(theirs)  # the weights, and all random states


def plain(value):
    """Tensors as lists, so that nested ones can be compared."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value.tolist() if isinstance(value, torch.Tensor) else value


@pytest.fixture(scope="module")
def whole(once, data_dir):
    """Each kind of run, never stopped."""
    configs = {name: tiny(**changes) for name, changes in KINDS.items()}

    def make(folder) -> None:
        for config in configs.values():
            run(folder, config, data_dir)

    folder = once("whole", make)
    return {name: Record(folder, config) for name, config in configs.items()}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@settings(
    max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(stops=st.lists(st.integers(0, 8), min_size=1, max_size=3))
@example(stops=[0])
@example(stops=[2, 0, 0])
def test_stopped_after_any_step_it_ends_in_the_same_bits(
    tmp_path_factory, data_dir, whole, kind, stops
):
    folder, config = tmp_path_factory.mktemp("stopped"), tiny(**KINDS[kind])
    stopped = 0
    for after in stops:
        try:
            record = run(folder, config, data_dir, Watch(stop=Stop(after)))
            break
        except Interrupted:
            stopped += 1
            assert Record(folder, config).state == "interrupted"
            random.random(), np.random.random(), torch.randn(3)  # other work in between
    else:
        record = run(folder, config, data_dir)
    assert_same(record, whole[kind])
    env = json.loads((record.path / "env.json").read_text())
    steps = [again["step"] for again in env.get("resumed", [])]
    assert len(steps) == stopped and steps == sorted(steps)
    timings = map(json.loads, (record.path / "timings.jsonl").read_text().splitlines())
    assert all(line.get("images", 0) >= 0 for line in timings)


class Killed(BaseException):
    """As SIGKILL: nothing is written after it."""


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(1, 18, 2))
def test_killed_at_any_moment_it_ends_in_the_same_bits(
    tmp_path, data_dir, whole, monkeypatch, moment
):
    """The moments are those between two files that are written, where a kill may hurt."""
    config, written = tiny(**SE), 0

    def count(function):
        def counted(*args, **kwargs):
            nonlocal written
            written += 1
            if written == moment:
                raise Killed
            return function(*args, **kwargs)

        return counted

    with monkeypatch.context() as patched, pytest.raises(Killed):
        for name in ("append", "finish", "write_predictions", "write_metrics", "note_start"):
            patched.setattr(Record, name, count(getattr(Record, name)))
        patched.setattr(checkpoint, "save", count(checkpoint.save))
        for name in ("watch_epoch", "evaluate"):
            patched.setattr(training, name, count(getattr(training, name)))
        run(tmp_path, config, data_dir, Watch(checkpoint_every=0))
        raise Killed  # later than all of them
    assert_same(run(tmp_path, config, data_dir, Watch(checkpoint_every=0)), whole["SE"])


@pytest.mark.slow
def test_checkpoints_come_at_epoch_ends_and_not_too_often(tmp_path, data_dir, monkeypatch):
    kept = []
    save = checkpoint.save
    monkeypatch.setattr(
        checkpoint,
        "save",
        lambda path, state: kept.append({**state["position"]}) or save(path, state),
    )
    config = tiny(recipe={"epochs": 3})
    run(tmp_path / "often", config, data_dir, Watch(checkpoint_every=0))
    assert [(at["step"], at["batch"]) for at in kept] == [(3, 0), (6, 0), (9, 0)]
    kept.clear()
    run(tmp_path / "seldom", config, data_dir)
    assert [at["step"] for at in kept] == [9]  # the weights of the finished run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[: len(data) // 2], "is damaged: its checksum does not fit"),
        (lambda data: b"", "is damaged: its checksum does not fit"),
        (lambda data: data[:5000] + bytes([data[5000] ^ 1]) + data[5001:], "is damaged"),
        (lambda data: data[:-1] + b"x", "is damaged"),
    ],
    ids=["cut short", "empty", "a bit flipped", "another checksum"],
)
def test_a_damaged_checkpoint_is_named_and_kept_and_the_run_starts_anew(
    tmp_path, data_dir, whole, damage, reason
):
    record = stop_in_the_middle(tmp_path, tiny(**SE), data_dir)
    bad = damage(record.checkpoint.read_bytes())
    record.checkpoint.write_bytes(bad)
    with pytest.raises(ConfigError, match="is damaged"):
        checkpoint.load(record.checkpoint, "cpu")
    notes = []
    run(tmp_path, record.config, data_dir, Watch(note=notes.append))
    assert_same(record, whole["SE"])
    assert len(notes) == 1 and str(record.checkpoint) in notes[0] and reason in notes[0]
    assert "starts anew" in notes[0]
    assert (record.path / "checkpoint.old-1.pt").read_bytes() == bad


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("device", "cuda", "was written on cuda"),
        ("data", "0123456789abcdef", "comes from other data: 0123456789abcdef"),
        (
            "fingerprint",
            {"losses": [1.0, 2.0, 3.0], "on": "another processor"},
            "by code that computes something else",
        ),
        (
            "step_fingerprint",
            {"losses": [1.0, 2.0, 3.0], "on": "another processor"},
            "by code that computes something else",
        ),
        (
            "kernels",
            "0123, another compiler",
            "computed by the kernels 0123, another compiler, and here are ",
        ),
    ],
)
def test_a_checkpoint_of_another_device_or_arithmetic_is_not_mixed_in(
    tmp_path, data_dir, whole, key, value, reason
):
    record = stop_in_the_middle(tmp_path, tiny(**SE), data_dir)
    state = checkpoint.load(record.checkpoint, "cpu")
    checkpoint.save(record.checkpoint, state | {key: value})
    notes = []
    run(tmp_path, record.config, data_dir, Watch(note=notes.append))
    assert_same(record, whole["SE"])
    assert reason in notes[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "first", "then"),
    [("precision", "fp32", "bf16"), ("step", "fused", "plain"), ("step", "plain", "fused")],
)
def test_a_resume_computes_as_its_checkpoint_did(
    tmp_path, data_dir, monkeypatch, what, first, then
):
    config = tiny(recipe={"epochs": 3})  # precision and step auto
    monkeypatch.setattr(arithmetic, f"pick_{what}", lambda name, device: first)
    whole = run(tmp_path / "whole", config, data_dir)
    record = stop_in_the_middle(tmp_path / "stopped", config, data_dir)
    monkeypatch.setattr(arithmetic, f"pick_{what}", lambda name, device: then)  # another machine
    run(tmp_path / "stopped", config, data_dir)
    assert_same(record, whole)
    assert read_result(record.path).env[what] == first


@pytest.mark.slow
def test_a_fused_run_starts_anew_where_no_compiler_is(tmp_path, data_dir, monkeypatch):
    config, notes = tiny(recipe={"epochs": 3}), []
    stop_in_the_middle(tmp_path, config, data_dir)
    monkeypatch.setattr(kernels, "library", lambda: None)
    record = run(tmp_path, config, data_dir, Watch(note=notes.append))
    assert "no compiler is here" in notes[0] and list(record.path.glob("checkpoint.old*.pt"))
    assert read_result(record.path).env["step"] == "plain"


@pytest.mark.slow
def test_a_full_disk_costs_the_checkpoint_and_not_the_run(tmp_path, data_dir, whole, monkeypatch):
    def full(path, state):
        raise OSError(28, "No space left on device")

    config, notes = tiny(**SE), []
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save", full)
        record = run(tmp_path, config, data_dir, Watch(note=notes.append, checkpoint_every=0))
    for name in SAME:
        theirs = whole["SE"].path / name
        assert (record.path / name).read_bytes() == theirs.read_bytes()
    assert len(notes) == 3 and f"{record.checkpoint}: No space left on device" in notes[0]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["lost", "edited"])
def test_a_lost_environment_costs_provenance_and_no_training(tmp_path, data_dir, whole, how):
    record = stop_in_the_middle(tmp_path, tiny(**SE), data_dir)
    path = record.path / "env.json"
    path.unlink() if how == "lost" else path.write_text(path.read_text().replace("cpu", "tpu"))
    run(tmp_path, record.config, data_dir)
    assert_same(record, whole["SE"])
    env = read_result(record.path).env
    assert str(path) in env["lost"] and env["resumed"][0]["step"] == 4 and env["device"] == "cpu"


@pytest.mark.slow
def test_a_checkpoint_that_is_a_folder_is_set_aside(tmp_path, data_dir, whole):
    record = stop_in_the_middle(tmp_path, tiny(**SE), data_dir)
    record.checkpoint.unlink()
    record.checkpoint.mkdir()
    for number in (1, 2):  # what was set aside before stays
        notes = []
        run(tmp_path, record.config, data_dir, Watch(note=notes.append))
        assert_same(record, whole["SE"])
        assert f"checkpoint.old-{number}.pt" in notes[0]
        (record.path / "summary.json").unlink()
        record.checkpoint.write_bytes(b"")


@pytest.mark.slow
def test_metrics_that_a_kill_cut_in_two_are_mended(tmp_path, data_dir, whole):
    record = stop_in_the_middle(tmp_path, tiny(**SE), data_dir)
    for name in ("metrics.jsonl", "timings.jsonl"):
        with (record.path / name).open("a") as file:
            file.write('{"epoch": 2, "tr')
    run(tmp_path, record.config, data_dir)
    assert_same(record, whole["SE"])
