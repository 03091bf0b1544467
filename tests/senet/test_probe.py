"""The probe against gates that were collected by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from senet import SEConfig, build
from senet.block import GATES, SqueezeExcite
from senet.probe import GateHistograms, GateProbe

CLASSES = 4


def images(number: int = 23, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES - 1, (number,), generator=random)  # the last class has none
    x = torch.randn(number, 3, 32, 32, generator=random)
    return (1 + labels[:, None, None, None]) * x, labels


def network(**choices) -> nn.Module:
    torch.manual_seed(1)
    model = build("resnet20", se=SEConfig(ratio=4, **choices)).eval()
    model.train()  # sets the batch norms to what they see, for sizes that stay moderate
    with torch.no_grad():
        model(images(64, seed=9)[0])
    return model.eval()


def by_hand(model: nn.Module, x: torch.Tensor) -> dict[str, np.ndarray]:
    """Each block's gates (B, C), from what it gets and the tables, without its forward."""
    gates = {}

    def keep(block: SqueezeExcite, args: tuple) -> None:
        u = args[0].flatten(2).transpose(1, 2)  # (B, HW, C)
        z = {
            "avg": lambda: u.mean(1), "max": lambda: u.amax(1), "none": lambda: u,
        }[block.config.squeeze]()  # fmt: skip
        s = GATES[block.config.gate](block.excite(z))
        gates[block.name] = (s.mean(1) if s.dim() == 3 else s).double().numpy()

    blocks = [module for module in model.modules() if isinstance(module, SqueezeExcite)]
    handles = [block.register_forward_pre_hook(keep) for block in blocks]
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return gates


@pytest.mark.parametrize("gate", ["sigmoid", "tanh", "relu", "softmax", "softmax_c"])
@pytest.mark.parametrize("squeeze", ["avg", "max", "none"])
def test_it_is_mean_and_deviation_of_what_the_gates_were(gate, squeeze):
    model, (x, labels) = network(gate=gate, squeeze=squeeze).double(), images()
    x = x.double()  # in float32 a batch of another size is rounded in another way
    with torch.no_grad():
        expected = model(x)
    with GateProbe(model, CLASSES) as probe:
        logits = torch.cat(
            [probe(*batch) for batch in zip(x.split(5), labels.split(5), strict=True)]
        )
    torch.testing.assert_close(logits, expected)
    found, truth = probe.statistics(), by_hand(model, x)
    assert list(found) == [f"SE_{stage}_{block}" for stage in (2, 3, 4) for block in (1, 2, 3)]
    for name, statistics in found.items():
        for c in range(CLASSES - 1):
            of_class = truth[name][labels == c]
            assert statistics.images[c] == len(of_class)
            np.testing.assert_allclose(statistics.mean[c], of_class.mean(0), rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(statistics.std[c], of_class.std(0), rtol=1e-3, atol=1e-6)
        assert statistics.images[-1] == 0 and statistics.mean[-1].isnan().all()
        assert (statistics.std[:-1] > 0).any()  # or there would be nothing to tell apart
        mean, std, between = statistics.overall()
        np.testing.assert_allclose(mean, truth[name].mean(0), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(std, truth[name].std(0), rtol=1e-3, atol=1e-6)
        own = np.stack([truth[name][labels == c].mean(0) for c in labels])  # each image's class
        np.testing.assert_allclose(between, own.std(0), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("squeeze", ["avg", "max", "none"])
def test_what_was_squeezed_is_kept_too_and_what_classes_explain_of_it(squeeze):
    model, (x, labels) = network(squeeze=squeeze).double(), images()
    seen: dict[str, torch.Tensor] = {}
    blocks = [module for module in model.modules() if isinstance(module, SqueezeExcite)]
    for block in blocks:
        block.register_forward_pre_hook(lambda b, args: seen.update({b.name: args[0].flatten(2)}))
    with GateProbe(model, CLASSES) as probe:
        probe(x.double(), labels)
    found = probe.squeezed()
    assert list(found) == [block.name for block in blocks]
    for name, statistics in found.items():
        u = seen[name].detach()  # (B, C, HW)
        z = (u.amax(2) if squeeze == "max" else u.mean(2)).numpy()
        np.testing.assert_allclose(statistics.mean[0], z[labels == 0].mean(0), rtol=1e-6, atol=1e-9)
        grand = ((z - z.mean(0)) ** 2).sum(0)
        between = sum(
            (labels == c).sum().item() * (z[labels == c].mean(0) - z.mean(0)) ** 2
            for c in range(CLASSES - 1)
        )
        np.testing.assert_allclose(
            statistics.class_share(), (between / grand)[grand > 0], rtol=1e-6
        )


def test_blocks_that_do_not_look_squeeze_nothing():
    for choices in ({"excitation": "constant"}, {"excitation": "static"}):
        with GateProbe(network(**choices), CLASSES) as probe:
            probe(*images())
        assert probe.squeezed() == {}


@pytest.mark.parametrize("position", ["standard", "pre", "post", "identity"])
def test_outputs_are_unchanged_and_the_hooks_come_off(position):
    model, (x, labels) = network(position=position), images()
    before = model(x)
    with GateProbe(model, CLASSES) as probe:
        assert torch.equal(probe(x, labels), before)
    assert torch.equal(model(x), before)
    assert not any(module._forward_hooks for module in model.modules())
    seen = probe.images.sum()
    model(x)
    assert probe.images.sum() == seen


def test_the_hooks_come_off_after_an_error():
    model = network()
    with pytest.raises(RuntimeError), GateProbe(model, CLASSES) as probe:
        probe(torch.zeros(2, 5, 32, 32), torch.zeros(2, dtype=torch.long))
    assert not any(module._forward_hooks for module in model.modules())


def test_a_constant_gate_is_one_half_for_everyone_and_a_plain_network_has_none():
    x, labels = images()
    with GateProbe(network(excitation="constant"), CLASSES) as probe:
        probe(x, labels)
    for statistics in probe.statistics().values():
        assert (statistics.mean[:-1] == 0.5).all() and (statistics.std[:-1] == 0).all()
    with GateProbe(build("resnet20"), CLASSES) as probe:
        probe(x, labels)
    assert probe.statistics() == {}


def test_two_blocks_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two blocks are called 'SE'"):
        GateProbe(nn.Sequential(SqueezeExcite(16), SqueezeExcite(16)), CLASSES)


@pytest.mark.parametrize("gate", ["sigmoid", "tanh", "relu", "softmax"])
def test_histograms_are_numpys_of_the_first_images_and_change_nothing(gate):
    model, (x, _) = network(gate=gate).double(), images(70)
    x = x.double()
    with torch.no_grad():
        expected = model(x)
        with GateHistograms(model) as histograms:
            first = model(x)
            model(torch.zeros_like(x))  # a second batch is not looked at
    assert torch.equal(first, expected)
    truth = by_hand(model, x)
    found = histograms.by_stage()
    assert list(found) == ["2", "3", "4"]
    for stage, row in found.items():
        gates = np.concatenate([truth[f"SE_{stage}_{b}"][:50].ravel() for b in (1, 2, 3)])
        gates = gates.astype(np.float32)
        counts, edges = np.histogram(gates, 20)
        assert sum(row["counts"]) == len(gates)
        assert np.abs(np.cumsum(row["counts"]) - np.cumsum(counts)).max() <= 2  # at the edges
        np.testing.assert_allclose([row["low"], row["high"]], edges[[0, -1]], rtol=1e-5)
        np.testing.assert_allclose(row["mean"], gates.mean(), rtol=1e-4)
        np.testing.assert_allclose(row["std"], gates.std(ddof=1), rtol=1e-3)
    assert not model(x).isnan().any() and not any(m._forward_hooks for m in model.modules())


def test_histograms_of_gates_that_are_fixed_learned_or_broken():
    x = images(8)[0]
    for choices, stages in (
        ({"excitation": "constant"}, []),
        ({"excitation": "static"}, [2, 3, 4]),
    ):
        model = network(**choices)
        with torch.no_grad(), GateHistograms(model) as histograms:
            model(x)
        found = histograms.by_stage()
        assert list(found) == [str(stage) for stage in stages]
        assert all(row["low"] < row["high"] for row in found.values())
    model = network()
    with torch.no_grad(), GateHistograms(model) as histograms:
        model(x * float("nan"))
    assert histograms.by_stage() == {}
