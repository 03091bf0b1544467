"""The block's arithmetic in C++ against torch's, forward and back."""

from collections.abc import Callable
from copy import deepcopy
from itertools import product
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_builds import BUILDS, DTYPES, maps, of_build, plainly
from torch import nn

from senet import SEConfig
from senet.block import GATES, SqueezeExcite
from senet.excitation import BIASES
from senet.fast import gates, kernels
from senet.fast.fused import is_ours
from senet.fast.passes import normalised
from senet.interventions import REPLACEMENTS, replaced

SQUEEZES = ("avg", "max", "avgmax")


def block_of(channels: int, dtype=torch.float64, **config) -> SqueezeExcite:
    block = SqueezeExcite(channels, SEConfig(**config)).to(dtype)
    with torch.no_grad():
        for weight in block.parameters():
            weight.mul_(3)  # so that gates are not all near that of the logit 0
    return block


def results(
    function: Callable, block: SqueezeExcite, x: torch.Tensor, norm: nn.BatchNorm2d
) -> list[torch.Tensor]:
    """y and all gradients of `plainly`, which is module by module, or of `normalised`."""
    parts, x = deepcopy((norm, block)), x.detach().clone().requires_grad_()
    y = function(x, *parts, None, False)
    (y * x.detach().cos()).sum().backward()
    return [y, x.grad, *(p.grad for part in parts for p in part.parameters())]


def gated(x: torch.Tensor, block: SqueezeExcite) -> torch.Tensor:
    return normalised(x, None, block, relu=False)


@pytest.mark.parametrize("build", BUILDS)
@settings(max_examples=40, deadline=None)
@given(
    squeeze=st.sampled_from(SQUEEZES), gate=st.sampled_from(list(GATES)),
    bias=st.sampled_from(list(BIASES)), groups=st.sampled_from([1, 2, 3, 5, 8]),
    hidden=st.integers(1, 80), images=st.integers(2, 21), seed=st.integers(0, 99),
)  # fmt: skip
def test_any_block_is_that_of_torch_forward_and_back(
    build, squeeze, gate, bias, groups, hidden, images, seed
):
    torch.manual_seed(seed)
    channels = 16 * groups
    ratio = channels // min(hidden, channels)
    block = block_of(channels, squeeze=squeeze, gate=gate, bias=bias, ratio=ratio)
    norm, x = nn.BatchNorm2d(channels).double(), maps(images, channels, 2, 1)
    with of_build(build), patch.object(gates, "by_torch", side_effect=AssertionError):
        plain, ours = (results(f, block, x, norm) for f in (plainly, normalised))
    # torch's gradient of the hard sigmoid has its 1/6 in float32, also for float64
    rounding = 1e-6 if gate == "hard_sigmoid" else 1e-9
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=rounding, atol=rounding)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("build", BUILDS)
def test_the_gradients_are_those_of_differences(build, gate):
    torch.manual_seed(1)
    block = block_of(16, squeeze="avgmax", gate=gate, bias="both", ratio=5)
    norm = nn.BatchNorm2d(16).double()
    weights = [*norm.parameters(), *block.parameters()]
    with of_build(build):
        assert torch.autograd.gradcheck(
            lambda x, *_: normalised(x, norm, block), (maps(3, 16, 2, 1), *weights)
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("build", BUILDS)
def test_two_times_are_equal_bits_and_near_the_truth(build, dtype):
    torch.manual_seed(0)
    number = kernels.TYPES[dtype]
    block, norm = block_of(256, number), nn.BatchNorm2d(256)
    x = maps(32, 256, 2, 2, dtype=dtype)
    with of_build(build):
        once, again = (results(normalised, block, x, norm.to(number)) for _ in range(2))
    truth = results(plainly, block.double(), x.double(), norm.double())
    assert all(map(torch.equal, once, again))
    rounding = {torch.bfloat16: 2e-2, torch.float32: 1e-4, torch.float64: 1e-9}[dtype]
    for ours, exact in zip(once[2:], truth[2:], strict=True):  # of all weights
        assert (ours - exact).norm() <= rounding * exact.norm()


def test_logits_out_of_range_saturate_as_in_torch_and_no_number_stays_none():
    x = maps(2, 16, 2, 2).detach()
    x[0] = torch.nan
    for gate in GATES:
        block = block_of(16, gate=gate, ratio=1)
        for times in (1, 1e4):
            with torch.no_grad():
                block.excite.expand.weight.mul_(times)
            y = gated(x, block)
            torch.testing.assert_close(y, block(x), equal_nan=True, msg=gate)


@pytest.mark.parametrize("how", REPLACEMENTS)
def test_gates_can_be_seen_and_replaced(how):
    torch.manual_seed(0)
    block, x = block_of(32), maps(5, 32, 3, 3).detach()
    before, seen = gated(x, block), []
    with replaced(block, how, {block.name: torch.rand(32)}):
        assert not torch.allclose(gated(x, block), before)
        torch.testing.assert_close(gated(x, block), block(x))
    for part in gates.parts(block):
        with part.register_forward_hook(lambda *args: seen.append(args)):
            torch.testing.assert_close(gated(x, block), before)
    assert len(seen) == len(gates.parts(block)) == 5
    assert torch.equal(gated(x, block), before)


def test_weights_that_do_not_learn_get_no_gradient():
    block = block_of(16, bias="both", ratio=4)
    block.excite.reduce.requires_grad_(False)
    x, norm = maps(4, 16, 2, 2), nn.BatchNorm2d(16).double()
    plain, ours = (results(f, block, x, norm) for f in (plainly, normalised))
    for a, b in zip(ours, plain, strict=True):
        assert (a is None and b is None) or torch.allclose(a, b)
    assert [g is None for g in ours[-4:]] == [True, True, False, False]


def test_what_is_not_in_cpp_is_torchs():
    z = torch.zeros(1, 16)
    assert gates.weights_of(SqueezeExcite(16), z) is not None
    others = [SqueezeExcite(16, squeeze="another"), SqueezeExcite(16, excitation="full"),
              SqueezeExcite(16).bfloat16(), *(SqueezeExcite(16) for _ in range(2))]  # fmt: skip
    others[-1].gate.function = torch.exp
    nn.utils.parametrizations.weight_norm(others[-2].excite.reduce)
    assert [gates.weights_of(block, z) for block in others] == [None] * 5


def test_a_copy_is_computed_as_the_block_it_is_a_copy_of():
    """A row of the table that a copy does not recognise would be computed as another one."""
    for squeeze, gate in product(SQUEEZES, GATES):
        block, x = block_of(16, squeeze=squeeze, gate=gate), maps(2, 16, 2, 2).detach()
        other = deepcopy(block)
        assert is_ours(other) and gates.weights_of(other, x.mean((2, 3))) is not None
        assert torch.equal(gated(x, other), gated(x, block))


@pytest.mark.parametrize(
    "own",
    [
        lambda logits: torch.sigmoid(logits.mean(-1, keepdim=True)),  # one for an image
        lambda logits: torch.sigmoid(logits.mean(0, keepdim=True)),  # one for a channel
        lambda logits: (logits > 0) * 0.5 + 0.25,
        lambda logits: logits > 0,
    ],
)
def test_a_gate_that_broadcasts_or_has_another_type_is_that_of_torch(monkeypatch, own):
    monkeypatch.setitem(GATES, "own", own)
    torch.manual_seed(0)
    block = block_of(16, torch.float32, gate="own", ratio=4)
    x = maps(4, 16, 6, 5, dtype=torch.float32).detach()
    seen = [x.clone().requires_grad_() for _ in range(2)]
    ours, theirs = gated(seen[0], deepcopy(block)), deepcopy(block)(seen[1])
    torch.testing.assert_close(ours, theirs)
    for y in (ours, theirs):
        (y * x.cos()).sum().backward()
    torch.testing.assert_close(seen[0].grad, seen[1].grad)
