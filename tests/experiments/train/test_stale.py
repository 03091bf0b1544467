"""A fingerprint changes with the arithmetic and nothing else; what is stale is trained anew."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command_line import call
from conftest import ROOT, tiny, tiny_words, write_grid
from hypothesis import given
from hypothesis import strategies as st

from experiments.data import images as data
from experiments.data.datasets import load_data
from experiments.records.lock import hold
from experiments.records.record import Record
from experiments.records.results import read_result
from experiments.records.schedules import SCHEDULES
from experiments.records.study_file import Arithmetic
from experiments.train import optimization as step
from experiments.train.epoch import Captured
from experiments.train.fingerprint import fingerprint, step_fingerprint
from experiments.train.stale import Fault, is_still, same, seen_in, set_aside, verify
from experiments.train.train import train
from senet import block
from senet.fast import fused, kernels


@pytest.fixture(scope="module")
def arrays(data_dir):
    return load_data("cifar10", data_dir)


CONFIG = tiny(se={"ratio": 4})


def test_it_is_the_same_in_every_process_and_for_every_seed(arrays, data_dir):
    first = fingerprint(CONFIG, arrays)
    torch.randn(5)
    assert (
        fingerprint(CONFIG, arrays) == fingerprint(tiny(se={"ratio": 4}, seed=7), arrays) == first
    )
    assert len(first["losses"]) == 3 and all(loss > 0 for loss in first["losses"])
    code = (
        "import sys, json, torch; sys.path.insert(0, 'tests'); from conftest import tiny;"
        "from pathlib import Path; from experiments.data.datasets import load_data;"
        "from experiments.train.fingerprint import fingerprint;"
        "config = tiny(se={'ratio': 4});"
        "print(json.dumps(fingerprint(config, load_data('cifar10', Path(sys.argv[1])))))"
    )
    command = [sys.executable, "-c", code, str(data_dir)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == first


def test_its_first_loss_is_that_of_the_first_batch(arrays):
    """By hand: seed 0, the first eight images of the first batch, cross-entropy in float32."""
    torch.manual_seed(0)
    model = step.build_network(CONFIG).to(memory_format=torch.channels_last).train()
    training, _, _ = data.split(arrays, CONFIG.recipe, torch.device("cpu"))
    x, y = next(training.shuffled(16, torch.Generator().manual_seed(0)))
    loss = torch.nn.functional.cross_entropy(model(x[:8]), y[:8]).item()
    assert fingerprint(CONFIG, arrays)["losses"][0] == pytest.approx(loss, rel=1e-6)


def no_decay_of_scales(model, recipe):
    """What some trainings do, and the paper does not."""
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1]},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=0.1, momentum=0.9, weight_decay=recipe.weight_decay)


PLAIN = torch.nn.functional.cross_entropy


def smoothed(logits, labels):
    return PLAIN(logits, labels, label_smoothing=0.01)


CHANGES = {
    "a gate": (block.GATES, "sigmoid", lambda logits: torch.sigmoid(1.001 * logits)),
    "a squeeze": (block.SQUEEZES, "avg", lambda pixels: pixels.sum(1) / (pixels.shape[1] - 1)),
    "the schedule": (SCHEDULES, "onecycle", lambda now, steps, recipe: 0.3),
    "what decays": ("experiments.train.fingerprint", "new_optimizer", no_decay_of_scales),
    "the crop": ("experiments.data.images", "PAD", 3),
    "the loss": ("experiments.train.optimization.F", "cross_entropy", smoothed),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_of_the_arithmetic_changes_it(arrays, monkeypatch, what):
    place, name, value = CHANGES[what]
    before = fingerprint(CONFIG, arrays)
    monkeypatch.setattr(data, "SHARED", {})  # images that were padded before
    if isinstance(place, str):
        monkeypatch.setattr(f"{place}.{name}", value)
    else:
        monkeypatch.setitem(place, name, value)
    assert not same(fingerprint(CONFIG, arrays), before)


def test_a_refactoring_that_changes_no_number_does_not(arrays, monkeypatch):
    before = fingerprint(CONFIG, arrays)
    monkeypatch.setitem(block.GATES, "sigmoid", lambda logits: logits.sigmoid())
    monkeypatch.setitem(block.SQUEEZES, "avg", lambda pixels: pixels.sum(dim=1) / pixels.size(1))
    assert same(fingerprint(CONFIG, arrays), before)


def test_another_rounding_does_not_but_a_control_does(arrays):
    """Two threads and no oneDNN stand for another processor."""
    before = fingerprint(CONFIG, arrays)
    torch.set_num_threads(2)
    try:
        with torch.backends.mkldnn.flags(enabled=False):
            rounded = fingerprint(CONFIG, arrays) | {"on": "another processor"}
    finally:
        torch.set_num_threads(1)
    assert rounded["losses"] != before["losses"] and same(rounded, before)
    other = fingerprint(tiny(se={"excitation": "constant"}), arrays) | {"on": "another processor"}
    assert not same(other, before)


losses = st.lists(st.none() | st.floats(0.1, 10), min_size=1, max_size=3)


@given(losses, losses, st.booleans())
def test_sameness_is_symmetric_and_exact_on_one_machine(a, b, moved):
    ours, theirs = {"losses": a, "on": "x"}, {"losses": b, "on": "y" if moved else "x"}
    assert same(ours, ours) and same(ours, theirs) == same(theirs, ours)
    if not moved:
        assert same(ours, theirs) == (a == b)
    if len(a) != len(b):
        assert not same(ours, theirs)


@pytest.mark.slow
def test_stale_runs_are_marked_kept_and_trained_again(tmp_path, data_dir):
    words = [write_grid(tmp_path), *tiny_words()]
    there = {"DATA_DIR": str(data_dir), "RESULTS": str(tmp_path / "results")}
    first = call("run", *words, **there)
    assert first.returncode == 0, first.stdout + first.stderr
    paths = sorted((tmp_path / "results" / "runs").glob("*/seed0"))
    stale = next(path for path in paths if "ratio4" in path.parent.name)
    old = read_result(stale)
    changed = {**old.env["fingerprint"], "losses": [2.0, 2.0, 2.0]}  # of the code of another day
    Record(tmp_path / "results", old.config).write_environment(old.env | {"fingerprint": changed})
    marked = call("status", "--verify", **there)
    assert marked.returncode == 1 and "%, stale" in marked.stdout
    assert "its first losses were 2, 2, 2, and are " in marked.stdout

    # without the data nothing can be said, and nothing is touched
    nowhere = call("status", "--verify", **there | {"DATA_DIR": str(tmp_path / "no data")})
    assert nowhere.returncode == 1 and "%, unknown" in nowhere.stdout
    assert "%, stale" not in nowhere.stdout and "cifar10.npz is not there" in nowhere.stdout

    again = call("retry", "--stale", *words, **there)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "1 of 2 runs are there, 1 to train" in again.stdout
    new = read_result(stale)
    assert new.summary == old.summary and new.env["fingerprint"] == old.env["fingerprint"]
    [kept] = (tmp_path / "results" / "stale").glob("*/seed0-1")
    assert f"kept in {kept}" in again.stdout and (kept / "checkpoint.pt").exists()
    assert call("status", "--verify", **there).returncode == 0

    elsewhere = {**new.env["step_fingerprint"], "device": "cuda"}
    Record(tmp_path / "results", old.config).write_environment(
        new.env | {"step_fingerprint": elsewhere}
    )
    unchecked = call("status", "--verify", **there)  # nothing is wrong with it
    assert unchecked.returncode == 0 and "no cuda is here" in unchecked.stdout


def set_stale_aside(fault: Fault) -> Path | None:
    return set_aside(fault.path, lambda: is_still(fault))


def test_what_another_runner_sees_to_is_not_set_aside(tmp_path, data_dir):
    record = Record(tmp_path, CONFIG)
    train(CONFIG, record, data_dir)
    judged = seen_in(read_result(record.path).env)
    with hold(record.path):
        assert set_stale_aside(Fault(record.path, "stale", "", judged)) is None
    assert set_stale_aside(Fault(record.path, "stale", "", {"fingerprint": {}})) is None
    assert read_result(record.path)
    place = set_stale_aside(Fault(record.path, "stale", "", judged))
    assert (place / "summary.json").exists() and not (place / "lock").exists()
    assert set_stale_aside(Fault(record.path, "stale", "", judged)) is None


def test_the_fingerprint_does_not_touch_the_run(tmp_path, data_dir, monkeypatch):
    a, b = (Record(tmp_path / name, CONFIG) for name in "ab")
    train(CONFIG, a, data_dir)
    monkeypatch.setattr("experiments.train.train.fingerprint", lambda *_: {"losses": [], "on": ""})
    train(CONFIG, b, data_dir)
    assert (a.path / "summary.json").read_bytes() == (b.path / "summary.json").read_bytes()


# -- the step that trains ---------------------------------------------------------------------

FUSED = Arithmetic(precision="fp32", step="fused")


@pytest.mark.parametrize("step", ["plain", "fused", "captured"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_step_computes_what_the_plain_one_does_up_to_rounding(arrays, step, precision):
    plain = fingerprint(CONFIG, arrays)
    ours = step_fingerprint(CONFIG, arrays, "cpu", Arithmetic(precision=precision, step=step))
    assert same(ours, plain | {"on": "another processor"})
    assert (ours["precision"], ours["step"], ours["device"]) == (precision, step, "cpu")
    if (step, precision) == ("plain", "fp32"):
        assert ours["losses"] == plain["losses"]


def wrong_by_a_little(x, *args, **kwargs):
    y = PLAIN_PASSES(x, *args, **kwargs)
    return tuple(1.01 * one for one in y) if isinstance(y, tuple) else 1.01 * y


PLAIN_PASSES = fused.normalised


def test_a_change_of_the_fused_step_alone_is_seen_by_its_fingerprint(arrays, monkeypatch):
    plain, before = fingerprint(CONFIG, arrays), step_fingerprint(CONFIG, arrays, "cpu", FUSED)
    assert step_fingerprint(CONFIG, arrays, "cpu", FUSED) == before
    monkeypatch.setattr(fused, "normalised", wrong_by_a_little)
    after = step_fingerprint(CONFIG, arrays, "cpu", FUSED)
    assert fingerprint(CONFIG, arrays) == plain
    assert not same(after, before) and not same(after, before | {"on": "another compiler"})


class Stale(Captured):
    """Takes the first learning rate at every step."""

    def once(self, size: int) -> None:
        self.step.zero_()
        super().once(size)


def test_a_change_of_the_captured_step_alone_is_seen_by_its_fingerprint(arrays, monkeypatch):
    config, how = CONFIG, Arithmetic(precision="fp32", step="captured")
    before = step_fingerprint(config, arrays, "cpu", how)
    assert step_fingerprint(config, arrays, "cpu", how) == before
    monkeypatch.setattr("experiments.train.fingerprint.Captured", Stale)
    assert not same(step_fingerprint(config, arrays, "cpu", how), before)


def test_other_kernels_are_other_rounding(arrays, monkeypatch):
    ours = step_fingerprint(CONFIG, arrays, "cpu", FUSED)
    monkeypatch.setattr(kernels, "built", lambda: (None, "0123, another compiler"))
    other = step_fingerprint(CONFIG, arrays, "cpu", FUSED)
    assert ours["on"] != other["on"] and "another compiler" in other["on"]


@pytest.fixture(scope="module")
def cell(once, data_dir) -> Path:
    """The folder of a finished run by the fused step. To be read only."""

    def make(folder: Path) -> None:
        record = Record(folder, CONFIG, FUSED)
        train(CONFIG, record, data_dir)

    return Record(once("a fused run", make), CONFIG).path


@pytest.fixture
def in_this_process(monkeypatch):
    """What recomputes is asked in this process, whose code a test may change."""
    monkeypatch.setattr(
        "experiments.processes.fork_server.call_in_process", lambda function, *args: function(*args)
    )


CASES = {
    "as it was": (lambda env: env, []),
    "of an older version": (lambda env: drop(env, "step_fingerprint"), []),
    "its step is stale": (lambda env: of_step(env, losses=[2.0] * 3), ["stale"]),
    "of other kernels, close": (lambda env: of_step(env, on="another", losses=near(env)), []),
    "of other kernels, far": (lambda env: of_step(env, on="another", losses=[2.0] * 3), ["stale"]),
    "trained on a GPU": (lambda env: of_step(env, device="cuda"), ["unchecked"]),
    "plain step is stale": (
        lambda env: env | {"fingerprint": env["fingerprint"] | {"losses": [2.0] * 3}}, ["stale"],
    ),
}  # fmt: skip


def drop(env: dict, key: str) -> dict:
    return {k: v for k, v in env.items() if k != key}


def of_step(env: dict, **changes) -> dict:
    return env | {"step_fingerprint": env["step_fingerprint"] | changes}


def near(env: dict) -> list[float]:
    return [loss * (1 + 1e-6) for loss in env["step_fingerprint"]["losses"]]


@pytest.mark.parametrize("case", CASES)
def test_verify_knows_the_step_that_trained(tmp_path, data_dir, cell, in_this_process, case):
    change, kinds = CASES[case]
    path = Record(tmp_path, CONFIG).path
    shutil.copytree(cell, path)
    env = change(read_result(path).env)
    Record(tmp_path, CONFIG).write_environment(env)
    found = list(verify([path], data_dir))
    assert [fault.kind for fault in found] == kinds
    for fault in found:
        assert fault.is_wrong == (kinds != ["unchecked"])
        said = "the fused step, which trained it" if kinds == ["unchecked"] else "by the fused step"
        assert (said in fault.reason) == (case != "plain step is stale")
        assert kinds == ["unchecked"] or is_still(fault)


def test_verify_checks_what_it_can_where_no_compiler_is(
    data_dir, cell, in_this_process, monkeypatch
):
    monkeypatch.setattr(kernels, "library", lambda: None)
    monkeypatch.setattr(kernels, "built", lambda: (None, "there is no C++ compiler c++"))
    [fault] = verify([cell], data_dir)
    assert fault.kind == "unchecked" and "there is no C++ compiler" in fault.reason
