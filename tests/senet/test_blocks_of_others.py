"""Other blocks in SE's place: timm's, and a user's own."""

import pytest
import torch
from torch import nn

from senet import SEConfig, build
from senet.block import BLOCKS, OtherBlock
from senet.cost import cost, count


@pytest.mark.parametrize("name", [name for name in BLOCKS if name != "se"])
def test_a_block_of_timm_takes_the_place(name):
    model = build("resnet29b", se=SEConfig(block=name, stages=(2,)))
    blocks = {n: m for n, m in model.named_modules() if isinstance(m, OtherBlock)}
    assert [m.name for m in blocks.values()] == ["SE_2_1", "SE_2_2", "SE_2_3"]
    assert all(type(m.block).__module__.startswith("timm.layers") for m in blocks.values())
    model(torch.randn(2, 3, 32, 32)).square().sum().backward()
    grads = [p.grad for m in blocks.values() for p in m.parameters()]
    assert all(g is not None and g.isfinite().all() for g in grads)
    assert cost(model).se_parameters == sum(map(count, blocks.values()))


def test_a_function_puts_a_block_of_ones_own_at_the_end_of_every_branch():
    made = []

    def own(channels: int) -> nn.Module:
        made.append(channels)
        return nn.Conv2d(channels, channels, 1, groups=channels)

    model = build("resnet20", se=own)
    assert made == [16] * 3 + [32] * 3 + [64] * 3
    assert count(model) - count(build("resnet20")) == 2 * sum(made)


def test_without_timm_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm.layers", None)
    with pytest.raises(ValueError, match="SE_2_1: block 'timm_eca' needs timm: pip install timm"):
        build("resnet20", se=SEConfig(block="timm_eca"))


def test_an_unknown_block_is_named():
    with pytest.raises(ValueError, match="unknown block 'timm_ecb': did you mean 'timm_eca'"):
        build("resnet20", se=SEConfig(block="timm_ecb"))


def test_a_block_of_ones_own_begins_as_it_wants():
    class Zero(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.conv = nn.Conv2d(channels, channels, 1)
            nn.init.zeros_(self.conv.weight)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.conv(x)

    model = build("resnet20", se=Zero)
    blocks = [one for one in model.modules() if isinstance(one, Zero)]
    assert len(blocks) == 9 and all(one.conv.weight.abs().max() == 0 for one in blocks)
