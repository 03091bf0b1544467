"""What a network loses when its gates are replaced: does it need what they say of its input?"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from senet.block import SqueezeExcite
from senet.config import stage_of

# What stands in the place of the gates s (B, C), or (B, HW, C), from them and from each channel's
# mean over all images (C,).
REPLACEMENTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": lambda s, mean: mean.expand_as(s),  # blind to the input, and the rest as it was
    "another": lambda s, mean: s.roll(1, 0),  # those of the image before it in the batch
    "half": lambda s, mean: torch.full_like(s, 0.5),
    "one": lambda s, mean: torch.ones_like(s),
}


def stages_of(model: nn.Module) -> dict[str, list[str]]:
    """Stage -> the names of its blocks that look at their input, first to last.

    A block without a stage in its name, such as a grafted one, is a stage of its own.
    """
    stages: dict[str, list[str]] = {}
    for block in model.modules():
        if isinstance(block, SqueezeExcite) and not block.blind:
            stages.setdefault(stage_of(block.name), []).append(block.name)
    return stages


@contextmanager
def replaced(model: nn.Module, how: str, means: Mapping[str, Tensor]) -> Iterator[None]:
    """The model with other gates in some of its blocks, and as it was at the end.

    Args:
        model: with SqueezeExcite blocks.
        how: a row of REPLACEMENTS.
        means: the blocks to change by name, with each channel's mean gate, (C,).
    """

    def hook(mean: Tensor):
        return lambda gate, args, s: REPLACEMENTS[how](s, mean.to(s.dtype).to(s.device))

    blocks = {b.name: b for b in model.modules() if isinstance(b, SqueezeExcite)}
    handles = [blocks[n].gate.register_forward_hook(hook(mean)) for n, mean in means.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
