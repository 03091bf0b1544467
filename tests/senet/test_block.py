"""The SE block against torchvision's, closed forms and published counts."""

import copy
import pickle
from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import EcaModule
from torch import nn
from torchvision.ops import SqueezeExcitation

from senet import SEConfig, SqueezeExcite
from senet.block import GATES, SQUEEZES
from senet.cost import count
from senet.excitation import BIASES, EXCITATIONS


def random_block(channels: int, **config) -> SqueezeExcite:
    block = SqueezeExcite(channels, SEConfig(**config))
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    return block


@settings(max_examples=25, deadline=None)
@given(
    channels=st.integers(1, 40),
    hidden=st.integers(1, 8),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7)),
    gate=st.sampled_from([("sigmoid", nn.Sigmoid), ("hard_sigmoid", nn.Hardsigmoid)]),
    layout=st.sampled_from([torch.contiguous_format, torch.channels_last]),
)
def test_equals_torchvision_in_values_and_gradients(channels, hidden, shape, gate, layout):
    ratio = max(1, channels // hidden)
    theirs = SqueezeExcitation(channels, channels // ratio, scale_activation=gate[1]).double()
    ours = SqueezeExcite(channels, SEConfig(ratio=ratio, gate=gate[0], bias="both")).double()
    layers = {"reduce": theirs.fc1, "expand": theirs.fc2}
    for name, layer in layers.items():
        own = getattr(ours.excite, name)
        own.weight.data.copy_(layer.weight.flatten(1))
        own.bias.data.copy_(layer.bias)
    batch, height, width = shape
    x = torch.randn(batch, channels, height, width, dtype=torch.double)
    x = x.to(memory_format=layout)
    ours_x, theirs_x = x.clone().requires_grad_(), x.clone().requires_grad_()
    ours_y, theirs_y = ours(ours_x), theirs(theirs_x)
    weights = torch.randn_like(theirs_y)
    (ours_y * weights).sum().backward()
    (theirs_y * weights).sum().backward()
    torch.testing.assert_close(ours_y, theirs_y)
    torch.testing.assert_close(ours_x.grad, theirs_x.grad)
    for name, layer in layers.items():
        own = getattr(ours.excite, name)
        torch.testing.assert_close(own.weight.grad, layer.weight.grad.flatten(1))
        torch.testing.assert_close(own.bias.grad, layer.bias.grad)


def test_a_published_count_of_one_block():
    assert count(SqueezeExcite(64, SEConfig(bias="second"))) == 576
    assert count(SqueezeExcite(64, SEConfig(bias="both"))) == 580
    assert count(SqueezeExcite(64)) == 512
    assert count(SqueezeExcite(64, ratio=8)) == 1024
    assert count(SqueezeExcite(64, SEConfig(bias="both"), "SE_2_1", ratio=8)) == 1024 + 8 + 64


@given(channels=st.integers(1, 300), ratio=st.integers(1, 300))
@settings(max_examples=50, deadline=None)
def test_the_hidden_width_is_exact_or_refused(channels, ratio):
    if ratio > channels:
        with pytest.raises(ValueError, match=f"largest ratio that works is {channels}$"):
            SqueezeExcite(channels, SEConfig(ratio=ratio))
    else:
        block = SqueezeExcite(channels, SEConfig(ratio=ratio))
        assert block.excite.reduce.out_features == channels // ratio


def test_avgmax_adds_the_logits_of_both_squeezes():
    block = random_block(12, squeeze="avgmax", ratio=3)
    x = torch.randn(2, 12, 5, 4)
    first, second = block.excite.reduce.weight, block.excite.expand.weight
    logits = sum((z @ first.T).relu() @ second.T for z in (x.mean((2, 3)), x.amax((2, 3))))
    torch.testing.assert_close(block(x), x * logits.sigmoid()[:, :, None, None])


def test_nosqueeze_equals_avg_on_constant_maps_and_only_there():
    avg, none = random_block(8, ratio=2), random_block(8, ratio=2, squeeze="none")
    none.load_state_dict(avg.state_dict())
    maps = torch.randn(3, 8, 1, 1).expand(3, 8, 4, 5)
    torch.testing.assert_close(none(maps), avg(maps))
    x = torch.randn(3, 8, 4, 5)
    assert not torch.allclose(none(x), avg(x))
    gate = none(x) / x  # one a pixel
    assert gate.std((2, 3)).min() > 0


@pytest.mark.parametrize("excitation", EXCITATIONS)
@pytest.mark.parametrize("gate", ["sigmoid", "softmax", "softmax_c"])  # the rest goes by element
def test_nosqueeze_is_the_block_on_each_pixel_alone(excitation, gate):
    one = random_block(8, ratio=2, excitation=excitation, gate=gate)
    none = SqueezeExcite(8, replace(one.config, squeeze="none"))
    none.load_state_dict(one.state_dict())
    x = torch.randn(3, 8, 4, 5)
    alone = one(x.permute(0, 2, 3, 1).reshape(-1, 8, 1, 1))  # each pixel as an image
    torch.testing.assert_close(none(x), alone.reshape(3, 4, 5, 8).permute(0, 3, 1, 2))


def test_settings_of_a_block_are_those_of_its_config():
    block = SqueezeExcite(16, SEConfig(ratio=2, gate="tanh"), ratio=4)
    assert block.config == SEConfig(ratio=4, gate="tanh")
    with pytest.raises(TypeError, match="raito"):
        SqueezeExcite(16, raito=4)


def test_max_is_torchs_pooling():
    block, x = random_block(12, squeeze="max", ratio=3), torch.randn(2, 12, 5, 4)
    plain = SqueezeExcite(12, SEConfig(ratio=3))
    plain.load_state_dict(block.state_dict())
    largest = nn.functional.adaptive_max_pool2d(x, 1)
    torch.testing.assert_close(block(x), x * plain(largest) / largest)


def test_the_diagonal_starts_as_torchs_layers_of_one_input():
    torch.manual_seed(0)
    ours = SqueezeExcite(4000, SEConfig(excitation="diagonal")).excite.weight
    theirs = nn.Linear(1, 4000).weight
    for share in (0, 0.25, 0.5, 0.75, 1):
        assert ours.quantile(share).item() == pytest.approx(theirs.quantile(share).item(), abs=0.1)


def test_a_block_says_its_name_and_width_where_it_is_printed():
    shown = repr(SqueezeExcite(32, name="SE_3_1"))
    assert shown.startswith("SqueezeExcite(\n  SE_3_1, 32 channels\n")


def test_softmax_competes_and_softmax_c_keeps_the_scale():
    share, scaled = random_block(16, gate="softmax"), random_block(16, gate="softmax_c")
    scaled.load_state_dict(share.state_dict())
    x = torch.rand(4, 16, 3, 3) + 1
    gates = share(x)[..., 0, 0] / x[..., 0, 0]
    torch.testing.assert_close(gates.sum(1), torch.ones(4))
    torch.testing.assert_close(scaled(x), 16 * share(x))


def test_the_controls_are_blind():
    x = torch.randn(5, 6, 3, 3)
    constant = SqueezeExcite(6, SEConfig(excitation="constant"))
    assert not list(constant.parameters()) and not constant.state_dict()
    assert torch.equal(constant(x), x / 2)
    static = SqueezeExcite(6, SEConfig(excitation="static"))
    assert count(static) == 6
    assert torch.equal(static(x), x / 2)
    nn.init.normal_(static.excite.logit)
    scale = static.excite.logit.sigmoid()[None, :, None, None]
    torch.testing.assert_close(static(x), x * scale)


@pytest.mark.parametrize("excitation", EXCITATIONS)
@pytest.mark.parametrize("squeeze", SQUEEZES)
def test_every_choice_trains_a_finite_step(squeeze, excitation):
    torch.manual_seed(0)
    for gate, bias in product(GATES, BIASES if excitation == "bottleneck" else ["none"]):
        config = SEConfig(squeeze=squeeze, excitation=excitation, gate=gate, bias=bias, ratio=4)
        block = SqueezeExcite(16, config)
        x = torch.randn(4, 16, 6, 6, requires_grad=True)
        y = block(x)
        assert y.shape == x.shape, config
        y.square().mean().backward()
        assert x.grad.isfinite().all(), config
        assert all(p.grad.isfinite().all() for p in block.parameters()), config


class Learned(nn.Module):
    """A gate with weights of its own."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.ones(channels))

    def forward(self, logits):
        return torch.sigmoid(self.slope * logits)


@pytest.mark.parametrize(
    ("row", "weights"),
    [
        (Learned, 8),
        (lambda channels: Learned(channels), 8),
        (lambda logits: 2 * torch.sigmoid(logits), 0),
        (torch.sigmoid, 0),
    ],
    ids=["class", "factory", "function", "builtin"],
)
def test_a_row_is_a_function_or_a_factory(monkeypatch, row, weights):
    monkeypatch.setitem(GATES, "own", row)
    block = SqueezeExcite(8, SEConfig(gate="own", ratio=4))
    assert sum(p.numel() for p in block.gate.parameters()) == weights
    assert block(torch.randn(2, 8, 3, 3)).isfinite().all()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"gate": "sigmod"}, "unknown gate 'sigmod': did you mean 'sigmoid'? allowed are sigmoid,"),
        ({"squeeze": "mean"}, "unknown squeeze 'mean': "),
        ({"excitation": "botleneck"}, "unknown excitation 'botleneck': did you mean 'bottleneck'?"),
        ({"bias": "first"}, "unknown bias 'first': allowed are none, both, second"),
        ({"ratio": 0}, "ratio 0 is not a positive whole number"),
        ({"ratio": 2.5}, "ratio 2.5 is not a positive whole number"),
        ({"stages": 2}, "stages 2 is neither 'all' nor a list of stages"),
        ({"stages": "some"}, "stages 'some' is neither 'all' nor a list of stages"),
    ],
)
def test_a_wrong_choice_is_named(config, message):
    with pytest.raises(ValueError) as error:
        SqueezeExcite(16, SEConfig(**config))
    assert message in str(error.value)


@pytest.mark.parametrize("squeeze", SQUEEZES)
@pytest.mark.parametrize("gate", GATES)
def test_a_block_can_be_copied_and_pickled(squeeze, gate):
    block = random_block(8, squeeze=squeeze, gate=gate, ratio=2)
    x = torch.randn(2, 8, 3, 3)
    for again in (copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
        assert torch.equal(again(x), block(x))


@pytest.mark.parametrize("channels", [16, 64, 128, 256, 512])
def test_the_convolution_along_the_channels_is_timms_eca(channels):
    theirs = EcaModule(channels=channels)
    ours = SqueezeExcite(channels, SEConfig(excitation="conv1d"))
    assert ours.excite.conv.weight.shape == theirs.conv.weight.shape  # the same k
    ours.excite.conv.load_state_dict(theirs.conv.state_dict())
    x = torch.randn(3, channels, 5, 4)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize(
    ("excitation", "parameters", "logits"),
    [
        ("full", 64 * 64, lambda excite, z: z @ excite.weight.weight.T),
        ("diagonal", 64, lambda excite, z: z * excite.weight),
        ("none", 0, lambda excite, z: z),
        ("static", 64, lambda excite, z: excite.logit.expand_as(z)),
        ("constant", 0, lambda excite, z: 0 * z),
    ],
)
@pytest.mark.parametrize("squeeze", ["avg", "none"])
def test_each_excitation_is_its_closed_form(excitation, parameters, logits, squeeze):
    block = random_block(64, excitation=excitation, squeeze=squeeze)
    x = torch.randn(2, 64, 3, 5)
    z = x.mean((2, 3)) if squeeze == "avg" or block.blind else x.flatten(2).transpose(1, 2)
    s = torch.sigmoid(logits(block.excite, z))
    s = s[:, :, None, None] if s.dim() == 2 else s.transpose(1, 2).unflatten(2, (3, 5))
    torch.testing.assert_close(block(x), x * s)
    assert count(block) == parameters


@pytest.mark.parametrize(
    ("gate", "start", "slope"),
    [
        ("sigmoid", 0.5, 0.25), ("tanh", 0, 1), ("relu", 0, None), ("hard_sigmoid", 0.5, 1 / 6),
        ("sigmoid_x2", 1, 0.5), ("tanh_plus1", 1, 1), ("relu_plus1", 1, 1),
        ("softmax", 1 / 7, None), ("softmax_c", 1, None),
    ],
)  # fmt: skip
def test_where_each_gate_begins_and_how_fast_it_moves(gate, start, slope):
    logits = torch.zeros(2, 7, dtype=torch.double, requires_grad=True)
    s = GATES[gate](logits)
    assert s.flatten().tolist() == pytest.approx([start] * 14)
    s.sum().backward()
    if slope is not None:
        assert logits.grad.flatten().tolist() == pytest.approx([slope] * 14)


def test_the_squeeze_of_another_image_is_that_of_the_one_before():
    block, x = random_block(8, squeeze="another", ratio=2), torch.randn(5, 8, 4, 4)
    plain = SqueezeExcite(8, SEConfig(ratio=2))
    plain.load_state_dict(block.state_dict())
    gates = plain(x) / x  # (5, 8, 4, 4), the same for each pixel
    torch.testing.assert_close(block(x), x * gates[:, :, :1, :1].roll(1, 0), rtol=1e-3, atol=1e-4)
