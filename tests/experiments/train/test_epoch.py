"""The loop that a GPU captures, without the graph: as the eager one; and runs that share a process.

What it does on a GPU is tested where there is one.
"""

import threading

import faults
import numpy as np
import pytest
import torch
from conftest import tiny, tiny_settings
from torch.utils._python_dispatch import TorchDispatchMode

from experiments.data.images import Images
from experiments.launch.events import Ended, Progressed, Requeued, Started
from experiments.launch.local import Local
from experiments.plan import rates
from experiments.plan.estimate import times
from experiments.records.parsing import ConfigError
from experiments.records.record import Record, keep_code
from experiments.records.results import read_result
from experiments.records.study_file import Arithmetic
from experiments.study.settings import parse_settings
from experiments.study.study import expand
from experiments.train import epoch as loop
from experiments.train import train
from experiments.train.environment import pick_step
from experiments.train.epoch import Captured, Eager, draws_nothing, new_loop
from experiments.train.optimization import arithmetic, build_network
from experiments.train.training import Interrupted, Watch

DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    ),
]


def pictures(device: str, number: int = 40) -> Images:
    random = np.random.default_rng(0)
    labels = random.integers(0, 10, number)
    images = random.integers(0, 30, (number, 32, 32, 3)) + 22 * labels[:, None, None, None]
    place = torch.device(device)
    return Images(images.astype(np.uint8), labels, (0.4,) * 3, (0.3,) * 3, place, padded=True)


def config(**recipe):
    return tiny(se={"ratio": 4}, recipe={"batch_size": 16, "lr": 0.02, "nesterov": True} | recipe)


def network(device: str, seed: int = 0):
    torch.manual_seed(seed)
    return build_network(config()).to(device, memory_format=torch.channels_last).train()


def trained(of, device: str, images: Images, steps: int = 6) -> tuple[list, list[torch.Tensor]]:
    """The sums of two epochs of three steps, the last of them of 8 images, and the weights."""
    random, sums = torch.Generator(device).manual_seed(0), []
    for step in range(0, steps, 3):
        sums += [one.tolist() for one in of.epoch(random, step, 0)]
    return sums, [value.clone() for value in of.model.state_dict().values()]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("recipe", [{}, {"cutout": 8, "schedule": "cosine"}], ids=str)
def test_captured_steps_are_the_eager_ones(device, recipe):
    images, recipe = pictures(device), config(**recipe).recipe
    rest = (images, recipe, 6, arithmetic(device, "fp32"))
    plain, weights = trained(Eager(network(device), *rest), device, images)
    ours, others = trained(Captured(network(device), *rest), device, images)
    assert len(plain) == 6
    np.testing.assert_allclose(np.array(ours)[:, 0], np.array(plain)[:, 0], rtol=1e-4)
    for a, b in zip(weights, others, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("device", DEVICES)
def test_a_loop_goes_on_in_an_epoch_and_with_another_seed(device):
    images = pictures(device)
    rest = (images, config().recipe, 6, arithmetic(device, "fp32"))
    whole, weights = trained(Captured(network(device, 1), *rest), device, images)

    other = Captured(network(device, 2), *rest)
    trained(other, device, images)
    other.adopt(network(device, 1))
    again, same = trained(other, device, images)
    assert again == whole and all(map(torch.equal, weights, same))

    first, second = Captured(network(device, 1), *rest), Captured(network(device, 3), *rest)
    random = torch.Generator(device).manual_seed(0)
    begun = first.epoch(random, 0, 0)
    assert [next(begun).tolist(), next(begun).tolist()] == whole[:2]
    second.model.load_state_dict(first.model.state_dict())
    second.restore(first.optimizer.state_dict())
    rest_of_it = [one.tolist() for one in second.epoch(random.manual_seed(0), 2, 2)]
    assert rest_of_it == whole[2:3]


def test_a_warm_up_changes_nothing_and_stays_within_the_epoch():
    """Also at the last step of a training, whose batch is the smaller one."""
    images = pictures("cpu")
    rest = (images, config().recipe, 3, arithmetic("cpu", "fp32"))
    whole, weights = trained(Captured(network("cpu"), *rest), "cpu", images, 3)
    ours = Captured(network("cpu"), *rest)
    launch = ours.launch
    ours.launch = lambda size: (ours.warm_up(size), launch(size))
    sums, others = trained(ours, "cpu", images, 3)
    assert sums == whole and all(map(torch.equal, weights, others))


class Asked(TorchDispatchMode):
    """Which operations make Python wait for a number, or bring one from it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if any(word in str(function) for word in ("_local_scalar", "nonzero", "lift_fresh")):
            self.seen.append(str(function))
        return function(*args, **kwargs or {})


def test_a_captured_step_asks_python_for_nothing():
    images = pictures("cpu")
    ours = Captured(network("cpu"), images, config().recipe, 6, arithmetic("cpu", "bf16"))
    ours.draws[:4].copy_(images.draw(torch.Generator()))
    with Asked() as asked:
        ours.once(16)
    assert asked.seen == []
    with Asked() as asked:  # it would notice
        ours.sums[0].item(), torch.tensor(1.0)
    assert len(asked.seen) == 2


@pytest.mark.parametrize(
    ("network", "se", "nothing"),
    [("resnet29b", {}, True), ("preresnet20", None, True), ("shake26_2x32d", {}, False),
     ("vgg16_bn", None, False), ("resnet20", {"block": "timm_eca"}, False)],
)  # fmt: skip
def test_which_networks_draw_random_numbers(network, se, nothing):
    assert draws_nothing(tiny(network=network, se=se)) is nothing


def test_the_captured_step_is_for_gpus():
    assert pick_step("captured", "cuda:1") == "captured"
    with pytest.raises(ConfigError, match="'captured' needs a GPU"):
        pick_step("captured", "cpu")


@pytest.fixture
def captured_here(monkeypatch):
    """Training takes the captured loop on a CPU, too."""
    monkeypatch.setattr("experiments.train.arithmetic.pick_step", lambda name, device: "captured")
    monkeypatch.setattr("experiments.train.arithmetic.why_not_captured", lambda device: "")
    monkeypatch.setattr(loop, "KEPT", threading.local())


def result(folder, seed: int, data_dir, watch=None):
    record = Record(folder, config(precision="fp32", epochs=3).model_copy(update={"seed": seed}))
    train.train(record.config, record, data_dir, watch=watch or Watch())
    return read_result(record.path)


def test_seeds_one_after_the_other_are_as_each_alone(
    tmp_path, data_dir, captured_here, monkeypatch
):
    made = []
    monkeypatch.setattr(loop, "Captured", lambda *args: made.append(Captured(*args)) or made[-1])
    together = [result(tmp_path / "one", seed, data_dir) for seed in (0, 1)]
    assert len(made) == 1
    for seed, ours in enumerate(together):
        loop.KEPT.cell = None
        alone = result(tmp_path / f"alone{seed}", seed, data_dir)
        assert ours.metrics == alone.metrics and ours.summary == alone.summary
        assert ours.env["step"] == "captured"
    assert together[0].metrics != together[1].metrics


def test_a_captured_run_is_the_plain_one_and_goes_on_where_it_was(
    tmp_path, data_dir, captured_here, monkeypatch
):
    whole = result(tmp_path / "whole", 0, data_dir)
    for steps in (2, 3):  # within an epoch, and at the end of one
        seen, folder = [], tmp_path / str(steps)
        watch = train.Watch(lambda *_: seen.append(0), stop=lambda: len(seen) >= steps)  # noqa: B023
        with pytest.raises(Interrupted):
            result(folder, 0, data_dir, watch)
        loop.KEPT.cell = None  # a new process
        ours = result(folder, 0, data_dir)
        assert ours.metrics == whole.metrics and ours.summary == whole.summary
    monkeypatch.setattr("experiments.train.arithmetic.pick_step", lambda name, device: "plain")
    plain = result(tmp_path / "plain", 0, data_dir)
    curves = [[row["train_loss"] for row in run.metrics] for run in (whole, plain)]
    assert curves[0] == pytest.approx(curves[1], rel=1e-3)


def test_a_network_that_cannot_be_captured_goes_on_plainly_in_a_study_that_is_captured(
    tmp_path, data_dir, captured_here
):
    drawn = tiny(network="shake26_2x32d", recipe={"precision": "fp32"})
    whole, stopped = (
        Record(tmp_path / name, drawn, Arithmetic(precision="fp32", step="captured"))
        for name in ("whole", "stopped")
    )
    train.train(drawn, whole, data_dir)
    notes, seen = [], []
    watch = train.Watch(lambda *_: seen.append(0), notes.append, lambda: len(seen) == 2)
    with pytest.raises(Interrupted):
        train.train(drawn, stopped, data_dir, watch=watch)
    train.train(drawn, stopped, data_dir, watch=train.Watch(note=notes.append))
    ours, theirs = (read_result(record.path) for record in (stopped, whole))
    assert ours.summary == theirs.summary and ours.env["step"] == "plain" and notes == []
    assert next(times(whole, "cpu", is_here=True)) == theirs.env["seconds"]


@pytest.fixture
def runs(tmp_path, data_dir):
    """Records of a grid in which a run raises and another ends its process; and trains them."""
    grid = faults.write(tmp_path, "raises", "killed")
    words = tiny_settings(epochs=40)  # the neighbours still train when the process ends
    settings = parse_settings([word for word in words if word != "--set"])
    study = expand(grid, dataset="cifar10", network="resnet20", recipe="smoke", settings=settings)

    def train_all(name: str, is_together: bool) -> dict[str, tuple[str, Record]]:
        results = tmp_path / name
        keep_code(results, study.code)
        named = {Record(results, config): label for label, config in study.runs()}
        said = {label: [] for label in named.values()}
        slots = ["cpu"] * (len(named) if is_together else 2)
        with Local(slots, data_dir, together=named if is_together else ()) as local:
            for event in local.train(named):
                if isinstance(event, Requeued | Ended):
                    said[named[event.record]].append(event)
        return {label: (said[label], record) for record, label in named.items()}

    return train_all


@pytest.mark.slow
def test_runs_that_share_a_process_are_as_alone_and_its_end_is_that_of_one_of_them(runs):
    alone, together = runs("alone", False), runs("together", True)
    for label, (said, record) in together.items():
        *before, last = said
        theirs, their_record = alone[label]
        assert last.outcome == theirs[-1].outcome, label
        if label == "raises":
            assert last.outcome.kind == "ZeroDivisionError"
        elif label == "killed":
            [again] = before
            assert "shared with others" in again.sentence and last.outcome.kind == "killed"
        else:
            ours, other = read_result(record.path), read_result(their_record.path)
            assert ours.metrics == other.metrics and ours.summary == other.summary
    assert sum(len(said) == 2 for said, _ in together.values()) >= 2  # neighbours, too


def test_a_thread_that_has_trained_a_cell_is_given_its_next_seed(tmp_path, data_dir):
    configs = [tiny(se={"ratio": ratio}, seed=seed) for seed in (0, 1) for ratio in (2, 4, 8)]
    records = [Record(tmp_path, config) for config in configs]
    with Local(["cpu", "cpu"], data_dir, together=records) as local:
        begun = [
            event.record.config for event in local.train(records) if isinstance(event, Started)
        ]
        processes = {worker.process for worker in local.shared.idle["cpu"]}
    assert len(processes) == 1 and len(begun) == len(records)
    ratios = [config.se.ratio for config in begun]
    assert ratios[:2] == [2, 4] and sorted(ratios[2:4])[0] in (2, 4)  # and not 8 first
    assert all(record.state == "done" for record in records)


def test_the_next_loop_of_another_cell_is_a_new_one():
    loop.KEPT = threading.local()
    images, autocast = pictures("cpu"), arithmetic("cpu", "fp32")
    found = [
        new_loop("captured", one, network("cpu"), images, 6, autocast)
        for one in (config(), config().model_copy(update={"seed": 7}), config(lr=0.5))
    ]
    assert found[0] is found[1] is not found[2]


def test_how_many_at_once_is_measured_until_it_does_not_pay(monkeypatch):
    """With a machine that has room for three: its rate is known in closed form."""
    monkeypatch.setattr(rates, "rate", lambda runs, batch: 1000.0 * min(len(runs), 3))
    monkeypatch.setattr(rates, "_begun", lambda *args: None)
    found = rates.rates(config(), "cpu")
    assert found == {1: 1000.0, 2: 2000.0, 4: 3000.0, 8: 3000.0} and rates.best(found) == 4
    monkeypatch.setattr(rates, "has_room", lambda device: False)
    assert rates.rates(config(), "cpu") == {1: 1000.0}

    def full(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(rates, "_begun", full)
    assert rates.rates(config(), "cpu") == {} and rates.best({}) == 1


@pytest.mark.parametrize("device", DEVICES)
def test_the_rates_are_of_real_steps(monkeypatch, device):
    monkeypatch.setattr(rates, "STEPS", 2)
    found = rates.rates(config(), device, most=2)
    assert found[1] > 0 and set(found) == {1, 2}


@pytest.mark.slow
def test_runs_that_share_a_process_write_their_checkpoints_when_told_to_stop(tmp_path, data_dir):
    records = [Record(tmp_path, tiny(recipe={"epochs": 400}, seed=seed)) for seed in (0, 1)]
    heard = set()
    with Local(["cpu", "cpu"], data_dir, together=records) as local:
        for event in local.train(records):
            heard |= {event.record} if isinstance(event, Progressed) else set()
            if len(heard) == 2:
                break
    assert [record.state for record in records] == ["interrupted"] * 2
    assert all(record.checkpoint.exists() for record in records)
