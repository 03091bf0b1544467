"""The families of the paper against torchvision, timm and the literature's counts."""

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from conftest import ROOT
from test_networks import randomise
from torch import nn

from senet import SEConfig, SqueezeExcite, build, list_networks
from senet.cost import cost, count
from senet.networks import NETWORKS, se_resnet50
from senet.residual import POSITIONS, Mixed, ResidualUnit, Shake, Unit


def meta(name: str, **options) -> nn.Module:
    with torch.device("meta"):
        return build(name, **options)


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("resnet110", 1.7), ("preresnet110", 1.7), ("preresnet164", 1.7), ("wrn16_2", 0.7),
        ("wrn16_8", 11.0), ("wrn28_10", 36.5), ("shake26_2x32d", 2.9), ("shake26_2x96d", 26.2),
        ("shake29_2x4x64d", 34.4),
    ],
)  # fmt: skip
def test_counts_of_the_literature(name, millions):
    assert round(count(meta(name)) / 1e6, 1) == millions


@pytest.mark.parametrize(
    "name",
    ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d"],
)
def test_counts_and_operations_are_torchvisions(name):
    with torch.device("meta"):
        theirs = getattr(torchvision.models, name)()
    ours = cost(meta(name), 224)
    assert ours.parameters == count(theirs)
    assert ours.multiply_adds / 1e9 == pytest.approx(
        {"resnet18": 1.814, "resnet34": 3.664, "resnet50": 4.089, "resnet101": 7.801,
         "resnet152": 11.514, "resnext50_32x4d": 4.230}[name], abs=6e-4
    )  # fmt: skip


def test_exact_counts_of_se_resnet50():
    assert count(meta("resnet50")) == 25_557_032
    assert count(meta("resnet50", se=SEConfig())) == 28_071_976
    assert count(meta("resnet50", se=SEConfig(bias="both"))) == 28_088_024
    with torch.device("meta"):
        assert count(se_resnet50()) == 28_071_976
        assert se_resnet50(classes=10).classifier.out_features == 10


def test_torch_hub_loads_from_a_checkout():
    with torch.device("meta"):
        model = torch.hub.load(str(ROOT), "se_resnet50", source="local")
    assert count(model) == 28_071_976


@pytest.mark.parametrize(
    ("se", "millions"),
    [
        (None, 25.6),  # Table 10
        ({"ratio": 2}, 45.7), ({"ratio": 4}, 35.7), ({"ratio": 8}, 30.7), ({"ratio": 16}, 28.1),
        ({"ratio": 32}, 26.9),
        ({"stages": (2,)}, 25.6), ({"stages": (3,)}, 25.7), ({"stages": (4,)}, 26.4),  # Table 13
        ({"position": "3x3"}, 25.8),  # Table 15
        ({"squeeze": "none"}, 28.1),  # Table 16
    ],
)  # fmt: skip
def test_counts_of_the_papers_ablations(se, millions):
    model = meta("resnet50", se=None if se is None else SEConfig(**se))
    assert count(model) / 1e6 == pytest.approx(millions, abs=0.12)


@pytest.mark.parametrize(
    ("name", "giga"), [("resnet50", 3.858), ("resnet101", 7.570), ("resnet152", 11.282)]
)
def test_operations_with_the_papers_stride(name, giga):
    assert cost(meta(name, stride_on="1x1"), 224).multiply_adds / 1e9 == pytest.approx(
        giga, abs=6e-4
    )


def test_nosqueeze_adds_operations_to_resnet50():
    plain, none = (
        cost(meta("resnet50", se=se, stride_on="1x1"), 224).multiply_adds
        for se in (None, SEConfig(squeeze="none"))
    )
    assert (none - plain) / 1e9 == pytest.approx(0.411, abs=1e-3)


def same_order(theirs: nn.Module) -> dict[str, torch.Tensor]:
    return {k: v for k, v in theirs.state_dict().items() if not k.endswith("num_batches_tracked")}


def copy_weights(ours: nn.Module, theirs: nn.Module, rename) -> None:
    """Their weights by our names; every tensor of both is used once."""
    source, target = same_order(theirs), same_order(ours)
    new = {rename(key): value for key, value in source.items()}
    assert set(new) == set(target), set(new) ^ set(target)
    ours.load_state_dict({k: v.reshape(target[k].shape) for k, v in new.items()}, strict=False)


LAYERS = {"fc1": "reduce", "fc2": "expand"}


def rename(key: str) -> str:
    """A name of torchvision's or timm's ResNet as ours."""
    head, *rest = key.split(".")
    if head.startswith("layer"):
        block, part, *tail = rest
        unit = f"stage{int(head[5:]) + 1}.{int(block) + 1}"
        if part == "downsample":
            return f"{unit}.shortcut.{['conv', 'norm'][int(tail[0])]}.{tail[1]}"
        if part == "se":
            return f"{unit}.standard.excite.{LAYERS[tail[0]]}.{tail[1]}"
        return f"{unit}.branch.{part.replace('bn', 'norm')}.{tail[0]}"
    return {"conv1": "stem.0", "bn1": "stem.1", "fc": "classifier"}[head] + "." + ".".join(rest)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "theirs", "se"),
    [
        ("resnet18", lambda: torchvision.models.resnet18(), None),
        ("resnet50", lambda: torchvision.models.resnet50(), None),
        ("resnext50_32x4d", lambda: torchvision.models.resnext50_32x4d(), None),
        ("resnet50", lambda: timm.create_model("seresnet50"), SEConfig(bias="both")),
        ("resnext50_32x4d", lambda: timm.create_model("seresnext50_32x4d"), SEConfig(bias="both")),
    ],
    ids=["resnet18", "resnet50", "resnext50", "timm seresnet50", "timm seresnext50"],
)
def test_values_are_torchvisions_and_timms(name, theirs, se):
    torch.manual_seed(0)
    theirs = randomise(theirs()).double().eval()
    ours = build(name, se=se).double().eval()
    copy_weights(ours, theirs, rename)
    x = torch.randn(2, 3, 96, 96, dtype=torch.double)
    with torch.no_grad():
        expected, got = theirs(x), ours(x)
    assert (got - expected).abs().max() < 1e-5 * expected.abs().max()


def test_senet154_is_timms_in_size():
    with torch.device("meta"):
        theirs = timm.create_model("legacy_senet154")
    assert count(meta("senet154", se=SEConfig(bias="both"))) == count(theirs) == 115_088_984


@pytest.mark.slow
@pytest.mark.parametrize("name", list_networks())
def test_every_network_trains_a_step_and_se_adds_parameters(name):
    plain, se = meta(name), meta(name, se=SEConfig(ratio=4))
    assert count(se) > count(plain)
    is_large = count(plain) > 15e6 or plain.size > 32
    device = "meta" if is_large else "cpu"
    with torch.device(device):
        model = build(name, se=SEConfig(ratio=4), classes=7)
        x = torch.randn(2, 3, model.size, model.size)
    loss = model(x).square().mean()
    loss.backward()
    blocks = [m for m in model.modules() if isinstance(m, SqueezeExcite)]
    assert blocks and all(p.grad is not None for b in blocks for p in b.parameters())
    if device == "cpu":
        assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", ["preresnet164", "shake29_2x4x64d", "resnext50_32x4d", "senet154"])
@pytest.mark.parametrize("position", POSITIONS)
def test_every_position_makes_sense_in_every_bottleneck_family(name, position):
    plain = meta(name).state_dict()
    model = meta(name, se=SEConfig(position=position, ratio=8))
    blocks = [n for n, m in model.named_modules() if isinstance(m, SqueezeExcite)]
    units = sum(NETWORKS[name].blocks)
    assert len(blocks) == units * (2 if (name[:5], position) == ("shake", "3x3") else 1)
    trunk = {k for k in model.state_dict() if not any(k.startswith(f"{b}.") for b in blocks)}
    assert trunk == set(plain)


@pytest.mark.parametrize(
    ("kind", "position"),
    [("bottleneck", p) for p in POSITIONS] + [("basic", p) for p in POSITIONS if p != "3x3"],
)
def test_closed_forms_of_the_pre_activation_unit(kind, position):
    torch.manual_seed(0)
    expansion = 4 if kind == "bottleneck" else 1
    form = Unit(kind, order="pre", expansion=expansion, shortcut="conv")
    se = SEConfig(excitation="constant", position=position)
    unit = randomise(ResidualUnit(form, 16, 16, 2, se)).double().eval()
    x = torch.randn(2, 16, 8, 8, dtype=torch.double)
    half = {place: 0.5 if place == position else 1.0 for place in POSITIONS}
    b = unit.branch
    y = b.conv1(b.norm1(x * half["pre"]).relu())
    y = b.conv2(b.norm2(y).relu())
    if kind == "bottleneck":
        y = b.conv3(b.norm3(y * half["3x3"]).relu())
    expected = y * half["standard"] + unit.shortcut.conv(x) * half["identity"]
    torch.testing.assert_close(unit(x), expected * half["post"])


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("kind", "position"),
    [("bottleneck", p) for p in POSITIONS] + [("basic", p) for p in POSITIONS if p != "3x3"],
)
def test_closed_forms_of_the_unit_of_two_branches(kind, position, stride):
    """Gastaldi's, in evaluation: relu, then convolutions; the shortcut's second half is moved."""
    torch.manual_seed(0)
    expansion = 4 if kind == "bottleneck" else 1
    form = Unit(kind, order="relu", expansion=expansion, shortcut="skewed", mix="shake")
    se = SEConfig(excitation="constant", position=position)
    unit = randomise(ResidualUnit(form, 16, 12, stride, se)).double().eval()
    x = torch.randn(2, 16, 8, 8, dtype=torch.double)
    given = x.clone()
    half = {place: 0.5 if place == position else 1.0 for place in POSITIONS}

    def branch(b: nn.Module) -> torch.Tensor:
        y = b.norm1(b.conv1((x * half["pre"]).relu())).relu()
        y = b.norm2(b.conv2(y))
        return b.norm3(b.conv3((y * half["3x3"]).relu())) if kind == "bottleneck" else y

    y = (branch(unit.branch.first) + branch(unit.branch.second)) / 2 * half["standard"]
    moved = torch.zeros_like(x)
    moved[:, :, :-1, :-1] = x[:, :, 1:, 1:]
    paths = [
        F.conv2d(path.relu(), part.weight, stride=stride)
        for path, part in (
            (x, unit.shortcut.conv1),
            (moved if stride > 1 else x, unit.shortcut.conv2),
        )
    ]
    expected = y + unit.shortcut.norm(torch.cat(paths, 1)) * half["identity"]
    torch.testing.assert_close(unit(x), expected * half["post"])
    assert torch.equal(x, given)  # no ReLU in its place


def test_shake_mixes_with_other_weights_backward_than_forward():
    x, y = (torch.randn(3, 2, 4, 4, dtype=torch.double, requires_grad=True) for _ in range(2))
    a, b = torch.rand(3, 1, 1, 1).double(), torch.rand(3, 1, 1, 1).double()
    out = Shake.apply(x, y, a, b)
    torch.testing.assert_close(out, a * x + (1 - a) * y)
    grad = torch.randn_like(out)
    out.backward(grad)
    torch.testing.assert_close(x.grad, b * grad)
    torch.testing.assert_close(y.grad, (1 - b) * grad)


@pytest.mark.parametrize("mix", ["shake", "even"])
def test_mixed_branches_are_even_in_evaluation_and_drawn_for_each_image_in_training(mix):
    torch.manual_seed(0)
    mixed = Mixed(nn.Identity(), nn.ReLU(), mix)
    x = torch.full((64, 3, 2, 2), -1.0, requires_grad=True)  # the second branch gives nothing
    torch.testing.assert_close(mixed.eval()(x), x / 2)
    out = mixed.train()(x)
    assert torch.equal(out, out[:, :1, :1, :1].expand_as(x))  # one weight an image
    weights = -out[:, 0, 0, 0]
    assert weights.std() > 0.2 and ((weights >= 0) & (weights <= 1)).all()
    out.sum().backward()
    backward = x.grad[:, 0, 0, 0]
    if mix == "even":
        torch.testing.assert_close(backward, torch.full((64,), 0.5))
    else:
        assert backward.std() > 0.2 and not torch.allclose(backward, weights)


def test_the_skewed_shortcut_sees_a_pixel_further_in_its_second_half():
    shortcut = build("shake26_2x32d").stage3[0].shortcut.eval()
    for part in (shortcut.conv1, shortcut.conv2):
        nn.init.constant_(part.weight, 1 / 32)
    x = torch.rand(1, 1, 32, 32).expand(1, 32, 32, 32)
    y = shortcut(x)
    assert torch.allclose(y[0, 0], x[0, 0, ::2, ::2], atol=1e-4)
    assert torch.allclose(y[0, -1], x[0, 0, 1::2, 1::2], atol=1e-4)
