"""What a network costs: its parameters and multiply-adds, and the SE blocks' share of both."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from senet.block import Bottleneck, SqueezeExcite


@dataclass(frozen=True)
class Cost:
    """Of one image's forward pass.

    parameters        trainable ones
    multiply_adds     of convolutions and linear layers; the paper prints these as FLOPs
    se_parameters     of them, in SE blocks
    se_multiply_adds  of them, in SE blocks
    hidden            stage -> the hidden widths of its blocks, each once
    """

    parameters: int
    multiply_adds: int
    se_parameters: int
    se_multiply_adds: int
    hidden: dict[int, list[int]]


def cost(model: nn.Module, size: int = 32) -> Cost:
    """Counts for images of `size` x `size` pixels; a model on the `meta` device costs no time."""
    device = next(model.parameters()).device
    blocks = {name: m for name, m in model.named_modules() if isinstance(m, SqueezeExcite)}
    was_training = model.training
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model.eval()(torch.empty(1, 3, size, size, device=device))
    model.train(was_training)
    by_module = counter.get_flop_counts()  # two operations a multiply-add
    root = type(model).__name__
    return Cost(
        parameters=count(model),
        multiply_adds=counter.get_total_flops() // 2,
        se_parameters=sum(count(block) for block in blocks.values()),
        se_multiply_adds=sum(
            sum(by_module.get(f"{root}.{name}", {}).values()) // 2 for name in blocks
        ),
        hidden=hidden(blocks.values()),
    )


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def hidden(blocks: Iterable[SqueezeExcite]) -> dict[int, list[int]]:
    """Stage -> hidden widths, by the blocks' names SE_stage_block."""
    widths: dict[int, set[int]] = {}
    for block in blocks:
        if isinstance(block.excite, Bottleneck):
            stage = int(block.name.split("_")[1])
            widths.setdefault(stage, set()).add(block.excite.reduce.out_features)
    return {stage: sorted(found) for stage, found in sorted(widths.items())}
