"""One run: what it computes, what it writes, and that it does so again."""

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import tiny

from experiments import environment
from experiments.config import recipes
from experiments.data import Images
from experiments.environment import pick_precision, pick_slots
from experiments.record import Record
from experiments.step import SCHEDULES, total_steps
from experiments.train import Watch, evaluate, train

FILES = ["config.json", "metrics.jsonl", "summary.json", "predictions.npz"]


def trained(folder, data_dir, **changes) -> Record:
    record = Record(folder, tiny(**changes))
    train(record.config, record, data_dir)
    return record


def lines(record, name):
    return [json.loads(line) for line in (record.path / name).read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_same_config_and_seed_end_in_the_same_bits(tmp_path, data_dir, precision):
    changes = {"se": {"ratio": 4}, "recipe": {"precision": precision}}
    first = trained(tmp_path / "a", data_dir, **changes)
    torch.randn(7)  # what happened before does not matter
    second = trained(tmp_path / "b", data_dir, **changes)
    for name in FILES:
        assert (first.path / name).read_bytes() == (second.path / name).read_bytes()
    other = trained(tmp_path / "a", data_dir, **changes, seed=1)
    assert lines(other, "metrics.jsonl") != lines(first, "metrics.jsonl")


@pytest.mark.slow
def test_a_record_holds_what_it_should(tmp_path, data_dir):
    told = []
    record = Record(tmp_path, tiny(se={"ratio": 8}))
    watch = Watch(report=lambda *event: told.append(event))
    train(record.config, record, data_dir, watch=watch)
    summary, environment = record.summary(), json.loads((record.path / "env.json").read_text())
    assert summary["state"] == record.state == "done"
    assert (summary["epochs"], summary["steps"], summary["train_images"]) == (2, 6, 48)
    assert summary["hidden"] == {"2": [2], "3": [4], "4": [8]}
    assert summary["parameters"] == 269_722 + 4_032
    rows = lines(record, "metrics.jsonl")
    assert [row["epoch"] for row in rows] == [1, 2] and [row["step"] for row in rows] == [3, 6]
    assert summary["val_error"] == rows[-1]["val_error"]
    started, *epochs = lines(record, "timings.jsonl")
    assert started["step"] == 0 and [row["images"] for row in epochs] == [48, 48]
    assert environment["threads"] == 1 and environment["seconds"] > 0 and environment["data"]
    assert not {"seconds", "started", "commit"} & set(summary) | set(rows[0]) & {"seconds"}
    predictions = np.load(record.path / "predictions.npz")
    truth = np.load(data_dir / "cifar10.npz")["test_labels"][:40]
    wrong = 100 * np.mean(predictions["predicted"] != truth)
    assert summary["test_error"] == pytest.approx(wrong) and summary["test_images"] == 40
    own = predictions["true_probability"].astype(float)
    assert -np.log(own).mean() == pytest.approx(summary["test_loss"], rel=0.01)
    right = predictions["predicted"] == truth
    assert np.array_equal(predictions["probability"][right], predictions["true_probability"][right])
    steps = [event[:2] for event in told if event[2] is None]  # also while it evaluates
    assert list(dict.fromkeys(steps)) == [(i, 6) for i in range(1, 7)]
    assert [event[2]["epoch"] for event in told if event[2]] == [1, 2]


@pytest.mark.slow
def test_a_run_learns(tmp_path, data_dir):
    recipe = {"epochs": 12, "lr": 0.05, "train_images": 80}
    record = trained(tmp_path, data_dir, se={}, recipe=recipe)
    rows = lines(record, "metrics.jsonl")
    assert rows[-1]["train_loss"] < 0.8 * rows[0]["train_loss"]
    assert record.summary()["train_error"] < 70  # chance is 90


@pytest.mark.slow
def test_a_run_that_diverges_is_a_result(tmp_path, data_dir):
    record = trained(tmp_path, data_dir, recipe={"lr": 1e30, "epochs": 5})
    summary = record.summary()
    assert summary["state"] == "diverged" and summary["test_error"] is None
    assert summary["reason"] == f"the loss of epoch {summary['epochs']} was not finite"
    assert summary["epochs"] < 5 and not (record.path / "predictions.npz").exists()
    for path in record.path.glob("*.json*"):
        assert "NaN" not in path.read_text() and "Infinity" not in path.read_text()


@pytest.mark.slow
def test_iterations_end_in_the_middle_of_an_epoch(tmp_path, data_dir):
    recipe = {"epochs": None, "iterations": 5, "schedule": "steps", "milestones": [4]}
    rows = lines(trained(tmp_path, data_dir, recipe=recipe), "metrics.jsonl")
    assert [row["step"] for row in rows] == [3, 5]
    assert [row["lr"] for row in rows] == pytest.approx([0.1, 0.01])


@pytest.mark.slow
def test_without_a_holdout_all_images_train_and_there_is_no_curve(tmp_path, data_dir):
    recipe = {"holdout": 0, "train_images": None, "epochs": 1}
    summary = trained(tmp_path, data_dir, recipe=recipe).summary()
    assert summary["train_images"] == 120 and summary["val_error"] is None


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 1000])
def test_one_cycle_rises_over_a_quarter_and_ends_at_zero(steps):
    recipe = recipes()["demo"].recipe
    shares = [SCHEDULES["onecycle"](step, steps, recipe) for step in range(steps + 1)]
    assert shares[0] == pytest.approx(0.2) and shares[-1] == 0
    assert all(0 <= share <= 1 for share in shares)
    if steps == 1000:
        assert shares.index(max(shares)) == 250 and max(shares) == 1
        assert shares[125] == pytest.approx(0.6) and shares[625] == pytest.approx(0.5)


def test_the_papers_schedule_divides_by_ten_at_its_milestones():
    recipe = recipes()["paper"].recipe
    shares = [SCHEDULES["steps"](s, 64_000, recipe) for s in (0, 31_999, 32_000, 47_999, 48_000)]
    assert shares == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    assert total_steps(recipe, 45_000) == 64_000
    assert total_steps(recipes()["fast"].recipe, 45_000) == 30 * 352  # the last batch is smaller


def test_evaluation_is_cross_entropy_and_the_share_of_mistakes():
    random = np.random.default_rng(0)
    pixels, labels = random.integers(0, 256, (230, 32, 32, 3), np.uint8), np.arange(230) % 10
    images = Images(pixels, labels, (0.5,) * 3, (0.2,) * 3, torch.device("cpu"))
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10)).train()
    loss, error, predictions = evaluate(model, images, torch.autocast("cpu", enabled=False))
    x, y = next(images.in_order(230))
    logits = model(x)
    assert loss == pytest.approx(F.cross_entropy(logits, y).item(), rel=1e-5)
    assert error == pytest.approx(100 * (logits.argmax(1) != y).double().mean().item())
    assert predictions["predicted"].tolist() == logits.argmax(1).tolist()
    assert math.isclose(error, 100 * np.mean(predictions["predicted"] != labels))


def test_no_clock_decides_what_changes_the_bits(monkeypatch):
    assert pick_precision("fp32", "cpu") == "fp32" and pick_precision("bf16", "cpu") == "bf16"
    for flags, expected in (({"avx512_bf16"}, "bf16"), ({"bf16"}, "bf16"), ({"avx2"}, "fp32")):
        monkeypatch.setattr(environment, "processor", lambda flags=flags: ("a processor", flags))
        assert pick_precision("auto", "cpu") == expected
    assert pick_precision("auto", "mps") == "fp32"
    assert pick_slots(3, ["cpu"]) == ["cpu"] * 3
    gpus = ["cuda:0", "cuda:1"]
    assert pick_slots(None, gpus) == gpus and pick_slots(3, gpus) == [*gpus, "cuda:0"]
