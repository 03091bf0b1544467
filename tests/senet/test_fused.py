"""The fused step against the plain one: module by module, with torch's own batch norm."""

from copy import deepcopy
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from conftest import tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_builds import BUILDS, DTYPES, maps, of_build, plainly
from torch import nn

from experiments.records.record import Record
from experiments.records.results import read_result
from experiments.train import train
from experiments.train.environment import has_bf16
from experiments.train.optimization import arithmetic, new_forward, train_step
from senet import SEConfig, build
from senet.block import SqueezeExcite
from senet.fast import kernels
from senet.fast.fused import fused, is_ours
from senet.fast.passes import normalised


def parts(
    channels: int, squeeze: str | None, dtype=torch.float64, mode: str = "training"
) -> tuple[nn.BatchNorm2d | None, nn.Module | None]:
    norm = nn.BatchNorm2d(channels).to(dtype).train(mode == "training")
    nn.init.normal_(norm.weight, 1, 0.5), nn.init.normal_(norm.bias)
    nn.init.normal_(norm.running_mean), nn.init.uniform_(norm.running_var, 0.5, 2)
    norm = None if mode == "no norm" else norm
    if squeeze is None:
        return norm, None
    return norm, SqueezeExcite(channels, SEConfig(squeeze=squeeze, ratio=4)).to(dtype)


MODES = ["training", "evaluation", "no norm"]
KINDS = list(product(MODES, [None, "avg", "max", "avgmax"], [False, True], [False, True]))
ALL_KINDS = [(BUILDS[0], *kind) for kind in KINDS]
ALL_BUILDS = [
    (build, "training", *kind)
    for build, *kind in product(BUILDS[1:], ["avgmax"], [False, True], [True])
]


@pytest.mark.parametrize(
    ("build", "mode", "squeeze", "has_shortcut", "relu"), ALL_KINDS + ALL_BUILDS
)
def test_the_gradients_are_those_of_differences(build, mode, squeeze, has_shortcut, relu):
    torch.manual_seed(0)
    norm, block = parts(16, squeeze, mode=mode)
    inputs = [maps(2, 16, 2, 1)] + [maps(2, 16, 2, 1)] * has_shortcut
    weights = [p for part in (norm, block) if part is not None for p in part.parameters()]

    def function(x, *rest):  # gradcheck moves the weights where they are
        return normalised(x, norm, block, rest[0] if has_shortcut else None, relu)

    with of_build(build):
        assert torch.autograd.gradcheck(function, (*inputs, *weights), fast_mode=False)


@settings(max_examples=60 + 20 * (len(BUILDS) - 1), deadline=None)
@given(
    build=st.sampled_from(BUILDS),
    images=st.integers(1, 5), groups=st.sampled_from([1, 2, 3, 4, 8]), side=st.integers(1, 9),
    kind=st.sampled_from(KINDS), ties=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_any_shape_is_that_of_torch_forward_and_back(build, **drawn):
    with of_build(build):
        check_shape(**drawn)


def check_shape(images, groups, side, kind, ties, seed):
    torch.manual_seed(seed)
    mode, squeeze, has_shortcut, relu = kind
    shape = images + 1, 16 * groups, side, side + 1
    norm, block = parts(shape[1], squeeze, mode=mode)
    theirs = deepcopy((norm, block))
    x, shortcut = maps(*shape), maps(*shape) if has_shortcut else None
    if ties:  # of which there are many in bf16
        x = x.detach().round().requires_grad_()
    copies = [None if t is None else t.detach().clone().requires_grad_() for t in (x, shortcut)]
    y = normalised(x, norm, block, shortcut, relu)
    one, other = y if has_shortcut else (y, torch.zeros(()))
    expected = plainly(copies[0], *theirs, copies[1], relu)
    torch.testing.assert_close(one, expected)
    weights = torch.randn_like(one)
    ((one * weights).sum() + (other * weights.cos()).sum()).backward()
    (expected * (weights + weights.cos() * has_shortcut)).sum().backward()
    torch.testing.assert_close(x.grad, copies[0].grad)
    if has_shortcut:
        torch.testing.assert_close(shortcut.grad, copies[1].grad)
    for ours, their in zip((norm, block), theirs, strict=True):
        for a, b in zip(tensors(ours), tensors(their), strict=True):
            torch.testing.assert_close(a, b)


def test_each_way_back_is_of_its_own_way_forward():
    """The same modules twice: in whatever order they go back, and once more, it is the same."""
    norm, block = parts(16, "avgmax")
    inputs = [maps(3, 16, 2, 2) for _ in range(2)]
    outputs = [normalised(x, norm, block, x)[0].square().sum() for x in inputs]
    wanted = [*inputs, *norm.parameters(), *block.parameters()]
    pairs = [torch.autograd.grad(y, wanted, retain_graph=True, allow_unused=True) for y in outputs]
    again = [torch.autograd.grad(y, wanted, allow_unused=True) for y in reversed(outputs)]
    for one, other in zip(pairs, reversed(again), strict=True):
        for a, b in zip(one, other, strict=True):
            assert (a is None and b is None) or torch.equal(a, b)


def test_an_output_that_was_changed_in_place_is_refused_on_the_way_back():
    y, _ = normalised(maps(2, 16, 2, 2), nn.BatchNorm2d(16).double(), shortcut=maps(2, 16, 2, 2))
    with torch.no_grad():
        y.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def tensors(module: nn.Module | None) -> list[torch.Tensor]:
    if module is None:
        return []
    return [p.grad for p in module.parameters()] + [b.double() for b in module.buffers()]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("build", BUILDS)
def test_in_each_type_it_is_closer_to_the_truth_than_module_by_module(build, dtype):
    """bf16 is rounded once, not after each module."""
    torch.manual_seed(0)
    norm, block = parts(64, "avg", kernels.TYPES[dtype])
    x, shortcut = (maps(4, 64, 8, 8, dtype=dtype).detach() for _ in range(2))
    exact = [deepcopy(part).double() for part in (norm, block)]
    truth = plainly(x.double(), *exact, shortcut.double(), True)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        plain = plainly(x, *deepcopy((norm, block)), shortcut, True)
        with of_build(build):
            ours, _ = normalised(x, norm, block, shortcut)
    assert ours.dtype == dtype and ours.is_contiguous(memory_format=torch.channels_last)
    off = [(y.double() - truth).abs().max().item() for y in (ours, plain)]
    assert off[0] <= 1.01 * off[1] or off[0] < 1e-5


def test_what_is_not_a_number_stays_so():
    """A training that diverges is told by its loss: a ReLU must not hide it."""
    x = maps(1, 16, 1, 8, dtype=torch.bfloat16).detach()
    x[0, 3, 0, 5] = torch.nan
    y = normalised(x, nn.BatchNorm2d(16))
    assert y[:, 3].isnan().all() and y.isnan().sum() == 8


NETWORKS = [
    ("resnet20", {}),
    ("resnet20", {"se": SEConfig()}),
    ("resnet20", {"se": SEConfig(excitation="static"), "shortcut": "projection"}),
    ("resnet20", {"se": SEConfig(squeeze="avgmax")}),
    ("resnet20", {"se": SEConfig(squeeze="another")}),
    ("resnet29b", {"se": SEConfig(squeeze="max")}),
    ("resnet20", {"se": SEConfig(squeeze="none")}),
    ("resnet20", {"se": SEConfig(stages=(3,)), "width": 0.5}),  # 8 channels in the first stage
    *(("resnet29b", {"se": SEConfig(position=position, gate="tanh")})
      for position in ("standard", "pre", "post", "identity", "3x3")),
    ("preresnet20", {"se": SEConfig(position="pre")}),
    ("wrn16_2", {"se": SEConfig()}),
    ("shake26_2x32d", {"se": SEConfig(), "width": 0.5}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options"), NETWORKS, ids=str)
def test_a_network_is_the_plain_one_in_its_losses_gradients_and_statistics(name, options):
    torch.manual_seed(0)
    model = build(name, classes=10, **options).double().to(memory_format=torch.channels_last)
    other = deepcopy(model)
    x, y = maps(6, 3, 32, 32), torch.arange(6)
    for network in (model, fused(other)):
        torch.manual_seed(1)  # Shake-Shake draws
        F.cross_entropy(network(x.detach()), y).backward()
    for (name, a), (_, b) in zip(model.named_parameters(), other.named_parameters(), strict=True):
        torch.testing.assert_close(b.grad, a.grad, rtol=1e-6, atol=1e-9, msg=name)
    for a, b in zip(model.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(a, b)
    with torch.no_grad():
        torch.testing.assert_close(fused(other).eval()(x), model.eval()(x))


@pytest.mark.parametrize(
    ("name", "position", "groups"),
    # a norm is a group, with the block after it; any other block is one of its own
    [("resnet20", "standard", 19), ("resnet29b", "3x3", 31), ("resnet29b", "pre", 31 + 9),
     ("resnet29b", "post", 31 + 9), ("resnet29b", "identity", 31 + 6),
     ("preresnet20", "standard", 19 + 9), ("wrn16_2", "standard", 13 + 6)],
)  # fmt: skip
def test_what_it_covers_is_computed_by_it(monkeypatch, name, position, groups):
    """No norm, no block and no ReLU is called: each group is two passes, and two back."""
    seen = []
    call = kernels.call
    monkeypatch.setattr(
        kernels, "call", lambda name, **maps: (seen.append(name), call(name, **maps))
    )
    model = build(name, se=SEConfig(position=position))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | SqueezeExcite | nn.ReLU):
            module.register_forward_hook(lambda module, *_: pytest.fail(str(module)))
    fused(model)(torch.randn(2, 3, 32, 32)).sum().backward()
    blocks = sum(isinstance(module, SqueezeExcite) for module in model.modules())
    wanted = dict.fromkeys(("measure", "combine", "reduce", "spread"), groups)
    wanted |= dict.fromkeys(("excite", "excite_back"), blocks)
    assert {name: seen.count(name) for name in seen} == wanted
    seen.clear()
    with torch.no_grad():
        fused(model).eval()(torch.randn(2, 3, 32, 32))
    wanted = {"measure": blocks, "excite": blocks, "combine": groups}
    assert {name: seen.count(name) for name in seen} == wanted


def test_a_block_that_looks_at_each_pixel_is_not_covered():
    assert is_ours(SqueezeExcite(16)) and not is_ours(SqueezeExcite(16, SEConfig(squeeze="none")))


def curve(model: nn.Module, step: str, dtype: torch.dtype) -> torch.Tensor:
    """The losses of 12 steps on three batches."""
    model, random = deepcopy(model).to(dtype), torch.Generator().manual_seed(0)
    y = torch.arange(16) % 10
    batches = torch.randn(3, 16, 3, 32, 32, generator=random, dtype=torch.float64)
    batches = 0.2 * (batches + y[:, None, None, None]).to(dtype)
    forward, optimizer = new_forward(model, step), torch.optim.SGD(model.parameters(), momentum=0.9)
    exact = arithmetic("cpu", "fp32")
    losses = [train_step(forward, optimizer, batches[i % 3], y, 0.02, exact)[0] for i in range(12)]
    return torch.stack(losses).double()


@pytest.mark.parametrize("name", ["resnet20", "resnet29b"])
def test_a_training_has_the_curve_of_the_plain_one_up_to_rounding(name):
    """In double it is the same; in float no farther from that than the plain one is."""
    torch.manual_seed(0)
    model = build(name, se=SEConfig(ratio=4), classes=10).to(memory_format=torch.channels_last)
    truth = curve(model, "plain", torch.float64)
    assert truth[-1] < truth[0]  # it learns
    torch.testing.assert_close(curve(model, "fused", torch.float64), truth, rtol=1e-6, atol=0)
    plain = curve(model, "plain", torch.float32)
    for each in BUILDS if name == "resnet20" else BUILDS[:1]:
        with of_build(each):
            ours, again = (curve(model, "fused", torch.float32) for _ in range(2))
        assert torch.equal(ours, again) and not torch.equal(plain, ours)  # they are two programs
        assert (ours - truth).abs().mean() <= 1.5 * (plain - truth).abs().mean(), each


def losses(step: str, precision: str, seed: int, folder, data_dir) -> list[float]:
    recipe = {"step": step, "precision": precision, "epochs": 6, "batch_size": 16}
    config = tiny(se={"ratio": 4}, recipe=recipe, seed=seed)
    record = Record(folder, config)
    train.train(config, record, data_dir)
    result = read_result(record.path)
    assert result.env["step"] == step
    return [row["train_loss"] for row in result.metrics]


@pytest.mark.slow
@pytest.mark.skipif(
    not has_bf16("cpu"),
    reason="this processor has no bf16 instructions, and takes minutes without",
)
def test_a_training_in_bf16_ends_among_plain_ones_of_five_seeds(tmp_path, data_dir):
    plain = [losses("plain", "bf16", seed, tmp_path, data_dir)[-1] for seed in range(5)]
    for number, each in enumerate(BUILDS):  # one for each width of vectors
        with of_build(each):
            ours = losses("fused", "bf16", 0, tmp_path / str(number), data_dir)[-1]
        assert min(plain) <= ours <= max(plain), each
