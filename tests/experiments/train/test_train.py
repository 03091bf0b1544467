"""One run: what it computes, what it writes, and that it does so again."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from command_line import bare
from conftest import ROOT, tiny

from experiments.data.images import Images
from experiments.records.gates import SEEDS, unpack
from experiments.records.recipes import recipes
from experiments.records.record import Record
from experiments.records.results import read_result
from experiments.records.schedules import SCHEDULES, learning_rate
from experiments.train import devices, environment
from experiments.train.checkpoint import random_states, set_random_states
from experiments.train.devices import pick_slots
from experiments.train.environment import has_bf16, pick_precision
from experiments.train.evaluation import evaluate
from experiments.train.optimization import new_optimizer, total_steps
from experiments.train.train import train
from experiments.train.training import Interrupted, Watch

FILES = ["config.json", "metrics.jsonl", "summary.json", "predictions.npz"]


def trained(folder, data_dir, **changes) -> Record:
    record = Record(folder, tiny(**changes))
    train(record.config, record, data_dir)
    return record


def lines(record, name):
    return [json.loads(line) for line in (record.path / name).read_text().splitlines()]


SHORT = {"epochs": 1, "train_images": 16, "holdout": 10, "test_images": 10}


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    [{"precision": "fp32"}, {"precision": "bf16"} | SHORT],  # which not every processor has
    ids=["fp32", "bf16"],
)
def test_the_same_config_and_seed_end_in_the_same_bits(tmp_path, data_dir, recipe):
    changes = {"se": {"ratio": 4}, "recipe": recipe}
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
    assert [list(row["gates"]) for row in rows] == [["2", "3", "4"]] * 2
    assert rows[0]["gates"] != rows[1]["gates"]  # they are watched while they learn
    started, *epochs = lines(record, "timings.jsonl")
    assert started["step"] == 0 and [row["images"] for row in epochs] == [48, 48]
    assert environment["threads"] == 1 and environment["seconds"] > 0 and environment["data"]
    assert not {"seconds", "started", "commit"} & set(summary) | set(rows[0]) & {"seconds"}
    predictions = np.load(record.path / "predictions.npz")
    truth = np.load(data_dir / "cifar10.npz")["test_labels"][:40]
    wrong = 100 * np.mean(predictions["predicted"] != truth)
    assert summary["test_error"] == pytest.approx(wrong) and summary["test_images"] == 40
    assert np.array_equal(predictions["label"], truth)
    own = predictions["true_probability"].astype(float)
    assert -np.log(own).mean() == pytest.approx(summary["test_loss"], rel=0.01)
    right = predictions["predicted"] == truth
    assert np.array_equal(predictions["probability"][right], predictions["true_probability"][right])
    steps = [event[:2] for event in told if event[2] is None]  # also while it evaluates
    assert list(dict.fromkeys(steps)) == [(i, 6) for i in range(1, 7)]
    assert [event[2]["epoch"] for event in told if event[2]] == [1, 2]


WITHOUT_THE_COMPILER = """
import sys
from pathlib import Path

sys.modules["torch._dynamo"] = None  # so that its import fails, and says where it stands
from test_train import trained

trained(*map(Path, sys.argv[1:]), se={"ratio": 4})
"""


@pytest.mark.slow
def test_a_run_does_without_torchs_compiler(tmp_path, data_dir):
    """In a process of its own: that of the tests may have imported it for another one."""
    command = [sys.executable, "-c", WITHOUT_THE_COMPILER, str(tmp_path), str(data_dir)]
    places = [ROOT, ROOT / "tests", Path(__file__).parent]
    there = bare() | {"PYTHONPATH": os.pathsep.join(map(str, places))}
    done = subprocess.run(command, env=there, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("runs/*/*/summary.json"))


@pytest.mark.parametrize("nesterov", [False, True])
def test_our_sgd_computes_as_torchs_and_keeps_the_same_state(nesterov):
    recipe = recipes()["paper_shake_shake"].recipe.model_copy(update={"nesterov": nesterov})
    ours, theirs = (torch.nn.Linear(5, 3) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    first, second = new_optimizer(ours, recipe), torch.optim.SGD(
        theirs.parameters(), recipe.lr, recipe.momentum, nesterov=nesterov,
        weight_decay=recipe.weight_decay,
    )  # fmt: skip
    for _ in range(3):
        x = torch.randn(7, 5)
        for model, optimizer in ((ours, first), (theirs, second)):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step()
        first.load_state_dict(first.state_dict())
    assert all(a.equal(b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert repr(first.state_dict()) == repr(second.state_dict())


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


@pytest.mark.parametrize(
    "length",
    [{"iterations": 5, "milestones": [4]}, {"images": 70, "milestones": [56]}],
    ids=["iterations", "images"],
)
def test_a_training_may_end_in_the_middle_of_an_epoch(tmp_path, data_dir, length):
    recipe = {"epochs": None, "schedule": "steps"} | length
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


def test_wide_networks_drop_to_a_fifth_at_their_epochs():
    recipe = recipes()["paper_wide"].recipe
    steps = total_steps(recipe, 45_000)
    epochs = [0, 59, 60, 119, 120, 159, 160, 199]
    rates = [learning_rate(epoch * 352, steps, recipe) for epoch in epochs]
    assert rates == pytest.approx([0.1, 0.1, 0.02, 0.02, 0.004, 0.004, 0.0008, 0.0008])


def test_the_warm_up_is_at_a_tenth_and_comes_before_the_schedule():
    recipe = recipes()["paper_preactivation"].recipe
    steps = total_steps(recipe, 45_000)
    rates = [learning_rate(s, steps, recipe) for s in (0, 399, 400, 32_399, 32_400, 48_400)]
    assert rates == pytest.approx([0.01, 0.01, 0.1, 0.1, 0.01, 0.001])


def test_the_cosine_is_torchs():
    recipe = recipes()["paper_shake_shake"].recipe
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], recipe.lr)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    for step in range(20):
        assert learning_rate(step, 20, recipe) == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()


@pytest.mark.slow
@pytest.mark.parametrize("gate", ["sigmoid", "tanh", "relu", "softmax"])
def test_a_run_keeps_what_its_gates_did_and_what_they_are_worth(tmp_path, data_dir, gate):
    record = trained(tmp_path, data_dir, se={"gate": gate}, recipe={"intervention_images": 30})
    gates, summary = unpack(record.path / "gates.npz"), record.summary()
    assert gates.class_names[3] == "class 3" and gates.images.tolist() == [4] * 10
    assert list(gates.blocks) == [f"SE_{s}_{b}" for s in (2, 3, 4) for b in (1, 2, 3)]
    for block in gates.blocks.values():
        assert block.class_mean.shape == (10, len(block.mean))
        # as many images of each class: the mean over all is that of the classes
        np.testing.assert_allclose(block.class_mean.mean(0), block.mean, rtol=2e-3, atol=1e-5)
        np.testing.assert_allclose(block.class_mean.std(0), block.between, rtol=2e-2, atol=1e-4)
    spread = {name: block.std.mean() for name, block in gates.blocks.items()}
    assert gates.walk.block == max(spread, key=lambda name: spread[name])
    assert (np.diff(gates.walk.s[gates.walk.channels]) <= 0).all()
    truth = np.load(data_dir / "cifar10.npz")["test_images"][0]
    assert np.array_equal(gates.walk.image, truth)
    shares = summary["class_shares"]
    assert list(shares["gates"]) == list(shares["squeezed"]) == list(gates.blocks)
    for name, block in gates.blocks.items():
        assert shares["gates"][name] == pytest.approx(np.median(block.class_share()), rel=0.02)
    assert all(0 <= share <= 1 for share in shares["squeezed"].values())
    done = summary["interventions"]
    predicted = np.load(record.path / "predictions.npz")["predicted"][:30]
    labels = np.load(data_dir / "cifar10.npz")["test_labels"][:30]
    assert done["images"] == 30 and done["intact"] == pytest.approx(
        100 * np.mean(predicted != labels)
    )
    assert list(done["all"]) == ["mean", "another", "half", "one"]
    assert list(done["stages"]) == ["2", "3", "4"]


@pytest.mark.slow
@pytest.mark.parametrize("se", [None, {"excitation": "constant"}, {"excitation": "static"}])
def test_nothing_is_replaced_where_no_gate_looks_at_the_image(tmp_path, data_dir, se):
    record = trained(tmp_path, data_dir, se=se, recipe={"epochs": 1})
    assert record.summary()["interventions"] == record.summary()["class_shares"] == {}
    assert (record.path / "gates.npz").exists() == (se is not None)
    if se:
        gates = unpack(record.path / "gates.npz")
        assert gates.walk is None and all((b.std == 0).all() for b in gates.blocks.values())


def test_gates_are_kept_of_the_first_seeds_alone(tmp_path, data_dir):
    record = trained(tmp_path, data_dir, se={"ratio": 4}, recipe={"epochs": 1}, seed=SEEDS)
    assert not (record.path / "gates.npz").exists() and record.summary()["interventions"]
    assert read_result(record.path).summary["state"] == "done"


@pytest.mark.slow
def test_a_run_that_is_stopped_while_it_reads_the_test_set_goes_on_from_its_end(tmp_path, data_dir):
    config = tiny(se={"ratio": 4})
    record, told = Record(tmp_path, config), []

    def stop() -> bool:  # after the last step, at the second sign of life
        return [event for event in told if event[:2] == (6, 6)][4:] != []

    watch = Watch(lambda *event: told.append(event), stop=stop)
    with pytest.raises(Interrupted):
        train(config, record, data_dir, watch=watch)
    assert not record.finished and record.checkpoint.exists()
    train(config, record, data_dir)
    whole = Record(tmp_path / "whole", config)
    train(config, whole, data_dir)
    assert record.summary()["files"] == whole.summary()["files"]
    assert record.summary()["interventions"] == whole.summary()["interventions"]


def test_evaluation_is_cross_entropy_and_the_share_of_mistakes():
    random = np.random.default_rng(0)
    pixels, labels = random.integers(0, 256, (230, 32, 32, 3), np.uint8), np.arange(230) % 10
    images = Images(pixels, labels, (0.5,) * 3, (0.2,) * 3, torch.device("cpu"))
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10)).train()
    found = evaluate(model, images, torch.autocast("cpu", enabled=False))
    x, y = next(images.in_order(230))
    logits = model(x)
    assert found.loss == pytest.approx(F.cross_entropy(logits, y).item(), rel=1e-5)
    assert found.error == pytest.approx(100 * (logits.argmax(1) != y).double().mean().item())
    assert found.predictions["predicted"].tolist() == logits.argmax(1).tolist()
    assert math.isclose(found.error, 100 * np.mean(found.predictions["predicted"] != labels))
    distance = (logits.softmax(1) - F.one_hot(y, 10)).square().sum(1).mean().item()
    assert found.brier == pytest.approx(distance, rel=1e-5)


def test_no_clock_decides_what_changes_the_bits(monkeypatch):
    assert pick_precision("fp32", "cpu") == "fp32" and pick_precision("bf16", "cpu") == "bf16"
    for name, flags, expected, word in (
        ("AMD EPYC", {"avx512f", "avx512_bf16"}, "bf16", "avx512_bf16"),
        ("Intel(R) Xeon(R) Processor", {"avx512f", "avx512_bf16"}, "fp32", "avx512"),
        ("Intel(R) Xeon(R)", {"avx512f", "avx512_bf16", "amx_bf16"}, "bf16", "amx_bf16"),
        ("Neoverse-V1", {"asimd", "bf16"}, "bf16", "neon_bf16"),
        ("AMD EPYC", {"avx2"}, "fp32", "avx2"),
    ):
        monkeypatch.setattr(environment, "processor", lambda of=(name, flags): of)
        assert (pick_precision("auto", "cpu"), environment.instructions()) == (expected, word)
        assert has_bf16("cpu") == ("avx2" not in flags)
    assert pick_precision("auto", "mps") == "fp32"
    assert pick_slots(3, ["cpu"]) == ["cpu"] * 3
    gpus = ["cuda:0", "cuda:1"]
    assert pick_slots(None, gpus) == gpus and pick_slots(3, gpus) == [*gpus, "cuda:0"]


@pytest.mark.parametrize(
    ("text", "cores"), [("150000 100000", 2), ("10000 100000", 1), ("max 100000", 64), (None, 64)]
)
def test_a_containers_quota_of_processors_counts(tmp_path, monkeypatch, text, cores):
    monkeypatch.setattr(devices, "QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)), raising=False)
    if text:
        devices.QUOTA.write_text(text)
    assert devices.usable_cores() == cores and len(pick_slots(None, ["cpu"])) == cores


def test_the_generator_of_mps_goes_on_too(monkeypatch):
    state = {"mps": torch.ones(3, dtype=torch.uint8)}
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: state["mps"])
    monkeypatch.setattr(torch.mps, "set_rng_state", lambda new: state.update(mps=new))
    kept = random_states("mps")
    state["mps"] = torch.zeros(3, dtype=torch.uint8)
    set_random_states(kept, "mps")
    assert state["mps"].sum() == 3
    set_random_states({key: value for key, value in kept.items() if key != "mps"}, "mps")
