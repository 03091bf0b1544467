"""SE in networks that were built elsewhere."""

import copy
import pickle

import pytest
import torch
from test_networks import randomise
from torch import nn

from senet import SEConfig, SqueezeExcite, build, graft
from senet.block import GATES
from senet.cost import count
from senet.grafts import GRAFTS

BLOCKS = {"vgg16_bn": 13, "googlenet": 9, "inception_v3": 11, "densenet121": 58,
          "mobilenet_v2": 17, "shufflenet_v2_x1_0": 16}  # fmt: skip
SMALLER = {"inception_v3": 128}  # pixels; the others take 64


class Own(nn.Module):
    """A user's network, which knows nothing of SE."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True))
        self.second = nn.Conv2d(8, 12, 3, stride=2)
        self.act = nn.ReLU()
        self.unused = nn.Conv2d(1, 1, 1)
        self.head = nn.Linear(12, 5)

    def forward(self, x):
        x = self.act(self.second(self.act(self.first(x))))
        return self.head(x.mean((2, 3)))


X = torch.randn(2, 3, 16, 16)


def blocks_of(model):
    return {name: m for name, m in model.named_modules() if isinstance(m, SqueezeExcite)}


@pytest.mark.slow
@pytest.mark.parametrize("name", GRAFTS)
def test_a_gate_of_one_changes_nothing_and_a_free_one_learns(name, monkeypatch):
    monkeypatch.setitem(GATES, "one", torch.ones_like)
    torch.manual_seed(0)
    plain = randomise(build(name, classes=5)).eval()
    held = build(name, classes=5, se=SEConfig(gate="one", ratio=4)).eval()
    missing = held.load_state_dict(plain.state_dict(), strict=False)
    assert not missing.unexpected_keys and len(blocks_of(held)) == BLOCKS[name]
    assert all(".se." in f".{key}" for key in missing.missing_keys)
    size = SMALLER.get(name, 64)
    x = torch.randn(2, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(held(x), plain(x))
    free = randomise(build(name, classes=5, se=SEConfig(ratio=4, bias="both"))).eval()
    for block in blocks_of(free).values():  # hidden units that are on, gates that are not saturated
        nn.init.normal_(block.excite.reduce.weight, std=1e-4)
        nn.init.constant_(block.excite.reduce.bias, 1.0)
    free(x).square().sum().backward()
    for block in blocks_of(free).values():
        for parameter in block.parameters():
            assert parameter.grad.isfinite().all() and parameter.grad.any()


def test_a_users_network_keeps_its_weights_and_names():
    torch.manual_seed(0)
    model = Own()
    before = copy.deepcopy(model.state_dict())
    result = graft(model, after=nn.Sequential, se=SEConfig(ratio=2), example=X)
    assert result is model and list(blocks_of(model)) == ["first.se"]
    assert all(torch.equal(model.state_dict()[key], before[key]) for key in before)
    assert count(model) - sum(v.numel() for v in before.values()) == 2 * 8 * 4
    u = model.first[1](model.first[0](X))
    torch.testing.assert_close(model.first(X), model.first.se(u))


def test_a_class_or_a_function_picks_the_modules():
    by_function = graft(Own(), lambda name, m: name == "second", SEConfig(ratio=3), X)
    assert blocks_of(by_function)["second.se"].excite.reduce.out_features == 4
    plain = Own()
    plain.load_state_dict(by_function.state_dict(), strict=False)
    scaled = by_function.second(torch.ones(1, 8, 4, 4))
    torch.testing.assert_close(scaled, by_function.second.se(plain.second(torch.ones(1, 8, 4, 4))))


def test_copies_and_pickles_hold_the_blocks():
    model = graft(Own(), lambda name, m: name == "second", SEConfig(ratio=2), X).eval()
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(again(X), model(X))
        nn.init.zeros_(again.second.se.excite.expand.weight)
        assert not torch.allclose(again(X), model(X))  # its own block is the one in use


def test_the_dry_pass_leaves_no_trace():
    model = Own().train()
    model.second.eval()  # as a frozen part is
    with pytest.raises(ValueError):
        graft(model, nn.Linear, SEConfig(), X)
    assert model.training and model.head.training and not model.second.training
    assert not any(m._forward_hooks for m in model.modules())


@pytest.mark.parametrize(
    ("after", "se", "message"),
    [
        (nn.Linear, {}, "head returns shape (2, 5), not images"),
        (nn.BatchNorm2d, {}, "no module of Own is picked by"),
        (lambda n, m: n == "act", {}, "act is used 2 times in a forward pass"),
        (lambda n, m: n == "unused", {}, "unused is not used in a forward pass"),
        (
            lambda n, m: n == "second",
            {"ratio": 16},
            "second: ratio 16 leaves no hidden unit for 12",
        ),
        (nn.Sequential, {"position": "pre"}, "position 'pre' means nothing in a graft"),
        (nn.Sequential, {"stages": (2,)}, "stages (2,) means nothing in a graft"),
    ],
)
def test_what_cannot_be_served_is_named_and_nothing_is_changed(after, se, message):
    model = Own()
    with pytest.raises(ValueError) as error:
        graft(model, after, SEConfig(**se), X)
    assert message in str(error.value)
    assert not blocks_of(model)


def test_a_second_graft_at_one_place_is_refused():
    model = graft(Own(), nn.Sequential, SEConfig(ratio=2), X)
    with pytest.raises(ValueError, match="first has a child called se already"):
        graft(model, nn.Sequential, SEConfig(ratio=2), X)


@pytest.mark.parametrize("option", ["width", "branch_scale"])
def test_a_network_of_torchvision_has_no_width_here(option):
    with pytest.raises(ValueError, match="vgg16_bn comes from torchvision"):
        build("vgg16_bn", **{option: 2})
