"""What a network costs: its parameters and multiply-adds, and the SE blocks' share of both."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from senet.block import Bottleneck, OtherBlock, SqueezeExcite
from senet.config import stage_of


@dataclass(frozen=True)
class Cost:
    """Of one image's forward pass.

    parameters        trainable ones
    multiply_adds     of convolutions and linear layers; the paper prints these as FLOPs
    se_parameters     of them, in SE blocks
    se_multiply_adds  of them, in SE blocks
    se_elementwise    what comes on top in SE blocks: an operation for each element that is pooled
                      and for each that is scaled
    hidden            stage -> the hidden widths of its blocks, each once
    """

    parameters: int
    multiply_adds: int
    se_parameters: int
    se_multiply_adds: int
    se_elementwise: int
    hidden: dict[str, list[int]]


def cost(model: nn.Module, size: int = 32) -> Cost:
    """Counts for images of `size` x `size` pixels; a model on the `meta` device costs no time."""
    device = next(model.parameters()).device
    blocks = {n: m for n, m in model.named_modules() if isinstance(m, SqueezeExcite | OtherBlock)}
    inputs: dict[nn.Module, int] = {}

    def note(block: nn.Module, args: tuple[Tensor]) -> None:
        inputs[block] = args[0].numel()

    handles = [block.register_forward_pre_hook(note) for block in blocks.values()]
    modes = {module: module.training for module in model.modules()}
    counter = FlopCounterMode(display=False)
    try:
        with counter, torch.no_grad():
            model.eval()(torch.empty(1, 3, size, size, device=device))
    finally:
        for module, mode in modes.items():  # some may be frozen on their own
            module.training = mode
        for handle in handles:
            handle.remove()
    by_module = counter.get_flop_counts()  # two operations a multiply-add
    root = type(model).__name__
    return Cost(
        parameters=count(model),
        multiply_adds=counter.get_total_flops() // 2,
        se_parameters=sum(count(block) for block in blocks.values()),
        se_multiply_adds=sum(
            sum(by_module.get(f"{root}.{name}", {}).values()) // 2 for name in blocks
        ),
        se_elementwise=sum(elements * (1 + pooled(block)) for block, elements in inputs.items()),
        hidden=hidden(blocks.values()),
    )


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def pooled(block: nn.Module) -> int:
    """How many times a block pools its input."""
    if isinstance(block, OtherBlock) or block.config.squeeze == "none" or block.blind:
        return 0
    return len(block.squeeze)


def hidden(blocks: Iterable[nn.Module]) -> dict[str, list[int]]:
    """Stage -> hidden widths, by the blocks' names SE_stage_block; a grafted block by its own."""
    widths: dict[str, set[int]] = {}
    for block in blocks:
        if isinstance(block, SqueezeExcite) and isinstance(block.excite, Bottleneck):
            widths.setdefault(stage_of(block.name), set()).add(block.excite.reduce.out_features)
    return {stage: sorted(found) for stage, found in widths.items()}
