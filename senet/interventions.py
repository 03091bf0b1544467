"""Replaces gates: a network that needs what they say of its input gets worse."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from senet.block import se_blocks
from senet.config import stage_of
from senet.hooks import Hook, Hooks

# What stands in the place of the gates s (B, C), or (B, HW, C), from them and from each channel's
# mean over all images (C,).
REPLACEMENTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": lambda s, mean: mean.expand_as(s),  # blind to the input, and the rest as it was
    "another": lambda s, mean: s.roll(1, 0),  # those of the image before it in the batch
    "half": lambda s, mean: torch.full_like(s, 0.5),
    "one": lambda s, mean: torch.ones_like(s),
}


def stages_of(model: nn.Module) -> dict[str, list[str]]:
    """Lists by stage the names of the blocks that look at their input, first to last.

    A block without a stage in its name, such as a grafted one, is a stage of its own.
    """
    stages: dict[str, list[str]] = {}
    for name, block in se_blocks(model).items():
        if not block.blind:
            stages.setdefault(stage_of(name), []).append(name)
    return stages


def replaced(model: nn.Module, how: str, means: Mapping[str, Tensor]) -> Hooks:
    """Gives a model other gates in some of its blocks, from `with` to its end.

    `how` is a row of REPLACEMENTS. `means` has the blocks to change, by name, with the mean gate of
    each channel, (C,).
    """

    def hook(mean: Tensor) -> Hook:
        return lambda gate, args, s: REPLACEMENTS[how](s, mean.to(s.dtype).to(s.device))

    blocks = se_blocks(model)
    return Hooks(*((blocks[name].gate, hook(mean)) for name, mean in means.items()))
