"""The networks against published counts and closed forms."""

import re
from itertools import product

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from senet import SEConfig, SqueezeExcite, build, list_networks
from senet.block import GATES, SQUEEZES
from senet.cost import cost, count
from senet.excitation import BIASES, EXCITATIONS
from senet.residual import POSITIONS, ResidualUnit, Unit


def randomise(model: nn.Module) -> nn.Module:
    """Random weights and statistics in every batch norm: at their start they hide the positions."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model


def test_published_counts_of_resnet20():
    assert count(build("resnet20")) == 269_722
    assert count(build("resnet20", shortcut="projection")) == 272_474
    for ratio, added in {2: 16_128, 4: 8_064, 8: 4_032, 16: 2_016}.items():
        assert count(build("resnet20", se=SEConfig(ratio=ratio))) == 269_722 + added


SMALL = [name for name in list_networks() if re.fullmatch(r"resnet\d+b?", name)][:9]


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("ratio", [4, 16])
def test_added_parameters_follow_the_papers_formula(name, ratio):
    expansion, channels = (4, 16) if name.endswith("b") else (1, 16)
    blocks = (int(name.removeprefix("resnet").rstrip("b")) - 2) // (9 if expansion == 4 else 6)
    widths = [expansion * channels * 2**stage for stage in range(3)]
    formula = sum(2 * blocks * width * (width // ratio) for width in widths)
    with torch.device("meta"):
        plain, se = cost(build(name)), cost(build(name, se=SEConfig(ratio=ratio)))
    assert se.parameters - plain.parameters == se.se_parameters == formula
    # each weight of the two layers is one multiply-add, as they see one vector an image
    assert se.multiply_adds - plain.multiply_adds == se.se_multiply_adds == formula
    assert se.hidden == {str(stage + 2): [w // ratio] for stage, w in enumerate(widths)}


def test_multiply_adds_of_resnet20_by_hand():
    stem = 9 * 3 * 16 * 32**2
    stage2 = 6 * 9 * 16 * 16 * 32**2
    stage3 = (9 * 16 * 32 + 5 * 9 * 32 * 32) * 16**2
    stage4 = (9 * 32 * 64 + 5 * 9 * 64 * 64) * 8**2
    assert cost(build("resnet20")).multiply_adds == stem + stage2 + stage3 + stage4 + 64 * 10


def test_nosqueeze_costs_operations_and_no_parameters():
    avg, none = (cost(build("resnet29b", SEConfig(squeeze=s))) for s in ("avg", "none"))
    assert none.parameters == avg.parameters
    widths = {64: 32, 128: 16, 256: 8}  # channels -> height at a block
    scaled = sum(3 * c * h * h for c, h in widths.items())
    assert (avg.se_elementwise, none.se_elementwise) == (2 * scaled, scaled)
    assert none.se_multiply_adds == sum(3 * 2 * c * (c // 16) * h * h for c, h in widths.items())


def test_counting_leaves_the_network_as_it_was():
    model = build("resnet20").train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    cost(model)
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize(
    ("name", "position"),
    [("resnet29b", p) for p in POSITIONS] + [("resnet20", p) for p in POSITIONS if p != "3x3"],
)
def test_the_trunk_keeps_its_names_at_every_position(name, position):
    plain = build(name).state_dict()
    model = build(name, se=SEConfig(position=position))
    blocks = {n for n, m in model.named_modules() if isinstance(m, SqueezeExcite)}
    of_blocks = {k for k in model.state_dict() if any(k.startswith(f"{b}.") for b in blocks)}
    assert blocks and set(model.state_dict()) - of_blocks == set(plain)
    assert all(model.state_dict()[k].shape == plain[k].shape for k in plain)


def closed_form(unit: ResidualUnit, x, position):
    """What a unit computes when the gate is 1/2 at one of the five places."""

    def half(here, y):
        return y / 2 if here == position else y

    branch = unit.branch
    y = half("pre", x)
    y = F.relu(branch.norm1(branch.conv1(y)))
    y = branch.norm2(branch.conv2(y))
    if hasattr(branch, "conv3"):
        y = branch.norm3(branch.conv3(F.relu(half("3x3", y))))
    y = half("standard", y)
    return half("post", F.relu(y + half("identity", unit.shortcut(x))))


@pytest.mark.parametrize(
    ("kind", "shortcut", "stride"),
    [("basic", "pad", 1), ("basic", "pad", 2), ("bottleneck", "projection", 2)],
)
def test_each_position_gives_its_closed_form_and_they_differ(kind, shortcut, stride):
    outputs = {}
    for position in POSITIONS:
        if position == "3x3" and kind == "basic":
            continue
        torch.manual_seed(3)
        se = SEConfig(excitation="constant", position=position)
        expansion = 4 if kind == "bottleneck" else 1
        unit = ResidualUnit(Unit(kind, expansion=expansion, shortcut=shortcut), 16, 16, stride, se)
        randomise(unit).double().eval()
        x = torch.randn(2, 16, 8, 8, dtype=torch.double)
        outputs[position] = unit(x)
        torch.testing.assert_close(outputs[position], closed_form(unit, x, position))
    names = list(outputs)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            assert not torch.allclose(outputs[first], outputs[second]), (first, second)


def test_a_gate_held_at_one_is_the_plain_network(monkeypatch):
    monkeypatch.setitem(GATES, "one", torch.ones_like)
    plain = randomise(build("resnet29b")).eval()
    x = torch.randn(2, 3, 32, 32)
    for position in POSITIONS:
        model = build("resnet29b", se=SEConfig(gate="one", position=position)).eval()
        model.load_state_dict(plain.state_dict(), strict=False)
        torch.testing.assert_close(model(x), plain(x))


def norms_that_begin_at(network: nn.Module, value: float) -> list[str]:
    """The names of the batch norms whose weights are all of this value."""
    norms = [(name, m) for name, m in network.named_modules() if isinstance(m, nn.BatchNorm2d)]
    return [name for name, norm in norms if torch.all(norm.weight == value)]


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_the_last_batch_norm_of_a_branch_is_the_one_that_torchvision_sets_to_zero(name):
    theirs = norms_that_begin_at(torchvision.models.get_model(name, zero_init_residual=True), 0)
    last = "2" if name == "resnet18" else "3"
    assert norms_that_begin_at(build(name, branch_scale=0), 0) == [
        re.sub(r"layer(\d)\.(\d+)\.bn\d", lambda m: f"stage{int(m[1]) + 1}."
               f"{int(m[2]) + 1}.branch.norm{last}", norm)
        for norm in theirs
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["resnet20", "resnet29b", "shake26_2x32d"])
def test_a_branch_that_begins_at_one_half_is_scaled_like_a_gate_of_one_half(name):
    x = torch.randn(4, 3, 32, 32)
    outputs = []
    for options in ({"branch_scale": 0.5}, {"se": SEConfig(excitation="constant")}):
        torch.manual_seed(0)
        network = build(name, **options)
        torch.manual_seed(0)  # Shake-Shake draws its weights
        outputs.append(network(x))
    torch.testing.assert_close(*outputs)


def test_padding_keeps_every_second_pixel_and_adds_zero_channels():
    unit = build("resnet20").stage3[0]
    x = torch.randn(1, 16, 32, 32)
    y = unit.shortcut(x)
    assert y.shape == (1, 32, 16, 16)
    assert torch.equal(y[:, :16], x[:, :, ::2, ::2]) and not y[:, 16:].any()


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("squeeze", SQUEEZES)
def test_every_network_of_the_study_trains_a_finite_step(squeeze, position):
    torch.manual_seed(0)
    for gate, bias in product(GATES, BIASES):
        se = SEConfig(squeeze=squeeze, gate=gate, position=position, bias=bias)
        unit = ResidualUnit(Unit("bottleneck", expansion=4), 64, 16, se=se)
        optimizer = torch.optim.SGD(unit.parameters(), lr=0.1)
        for _ in range(2):
            loss = unit(torch.randn(4, 64, 8, 8)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert loss.isfinite(), se
        assert all(p.isfinite().all() and p.grad is not None for p in unit.parameters()), se


@pytest.mark.parametrize("name", SMALL)
def test_every_name_has_its_depth(name):
    with torch.device("meta"):
        model = build(name, classes=7)
    convolutions = [
        n for n, m in model.named_modules() if isinstance(m, nn.Conv2d) and "shortcut" not in n
    ]
    assert len(convolutions) + 1 == int(name.removeprefix("resnet").rstrip("b"))
    assert model(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 7)


def test_width_multiplies_every_channel_count():
    wide, plain = build("resnet20", width=2), build("resnet20")
    assert wide.stem[0].out_channels == 32 and wide.classifier.in_features == 128
    assert 3.9 < count(wide) / count(plain) < 4
    assert build("resnet20", width=0.5).stem[0].out_channels == 8


def test_the_stride_is_where_it_was_asked_for():
    on_3x3, on_1x1 = (build("resnet29b", stride_on=s).stage3[0].branch for s in ("3x3", "1x1"))
    assert (on_3x3.conv1.stride, on_3x3.conv2.stride) == ((1, 1), (2, 2))
    assert (on_1x1.conv1.stride, on_1x1.conv2.stride) == ((2, 2), (1, 1))


@pytest.mark.parametrize(
    ("stages", "names"),
    [("all", "SE_2_1 SE_2_2 SE_2_3 SE_3_1 SE_3_2 SE_3_3 SE_4_1 SE_4_2 SE_4_3"),
     ((3,), "SE_3_1 SE_3_2 SE_3_3"), ((4, 2), "SE_2_1 SE_2_2 SE_2_3 SE_4_1 SE_4_2 SE_4_3")],
)  # fmt: skip
def test_blocks_are_where_and_what_the_paper_calls_them(stages, names):
    model = build("resnet29b", se=SEConfig(stages=stages))
    blocks = [m.name for m in model.modules() if isinstance(m, SqueezeExcite)]
    assert " ".join(blocks) == names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet29"}, "unknown network 'resnet29': did you mean 'resnet29b'?"),
        ({"name": "resnet20", "se": SEConfig(position="3x3")}, "needs a bottleneck unit"),
        ({"name": "resnet29b", "se": SEConfig(position="before")}, "unknown position 'before'"),
        (
            {"name": "resnet29b", "se": SEConfig(ratio=32, position="pre")},
            "SE_2_1: ratio 32 leaves no hidden unit for 16 channels: "
            "the largest ratio that works is 16",
        ),
        ({"name": "resnet29b", "se": SEConfig(stages=(5,))}, "this network has [2, 3, 4]"),
        ({"name": "resnet20", "shortcut": "none"}, "unknown shortcut 'none'"),
        ({"name": "resnet29b", "stride_on": "2x2"}, "unknown stride_on '2x2'"),
        ({"name": "resnet20", "width": 0.3}, "16 x width must be a whole number"),
        ({"name": "preresnet20", "branch_scale": 0.5}, "of pre-activation units end in a"),
    ],
)
def test_a_wrong_argument_is_named(arguments, message):
    with pytest.raises(ValueError) as error:
        build(**arguments)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "choice",
    [{"excitation": row} for row in EXCITATIONS]
    + [{"gate": row} for row in GATES]
    + [{"squeeze": row} for row in SQUEEZES],
    ids=lambda choice: "-".join(next(iter(choice.items()))),
)
def test_every_choice_is_counted(choice):
    """What the counter hooks into must stand every block: a run is counted before it is trained."""
    model = build("resnet20", se=SEConfig(**choice))
    counted = cost(model)
    plain = cost(build("resnet20"))
    assert counted.parameters == sum(p.numel() for p in model.parameters())
    assert counted.parameters - plain.parameters == counted.se_parameters
