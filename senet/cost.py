"""What a network costs: its parameters and multiply-adds, and the SE blocks' share of both."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from senet.block import OtherBlock, SqueezeExcite
from senet.config import stage_of
from senet.excitation import Bottleneck
from senet.hooks import Hooks, evaluating


@dataclass(frozen=True)
class Cost:
    """Holds what one image's forward pass costs.

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
    """Counts what images of `size` x `size` pixels cost; a model on the `meta` device is fast."""
    device = next(model.parameters()).device
    blocks = {n: m for n, m in model.named_modules() if isinstance(m, SqueezeExcite | OtherBlock)}
    inputs: dict[nn.Module, int] = {}

    def note(block: nn.Module, args: tuple[Tensor], _: Tensor) -> None:
        inputs[block] = args[0].numel()

    counter = FlopCounterMode(display=False)
    with Hooks(*((block, note) for block in blocks.values())), evaluating(model), counter:
        model(torch.empty(1, 3, size, size, device=device))
    by_module = counter.get_flop_counts()  # two operations a multiply-add
    root = type(model).__name__
    return Cost(
        parameters=count(model),
        multiply_adds=counter.get_total_flops() // 2,
        se_parameters=sum(count(block) for block in blocks.values()),
        se_multiply_adds=sum(
            sum(by_module.get(f"{root}.{name}", {}).values()) // 2 for name in blocks
        ),
        se_elementwise=sum(elements * (1 + _pooled(block)) for block, elements in inputs.items()),
        hidden=_hidden(blocks.values()),
    )


def count(module: nn.Module) -> int:
    """Counts the trainable parameters of a module."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def _pooled(block: nn.Module) -> int:
    """Counts how often a block pools its input."""
    if not isinstance(block, SqueezeExcite) or block.blind or block.config.squeeze == "none":
        return 0
    return len(block.squeeze)


def _hidden(blocks: Iterable[nn.Module]) -> dict[str, list[int]]:
    """Lists hidden widths by stage, from the blocks' names SE_stage_block; grafts by their own."""
    widths: dict[str, set[int]] = {}
    for block in blocks:
        if isinstance(block, SqueezeExcite) and isinstance(block.excite, Bottleneck):
            widths.setdefault(stage_of(block.name), set()).add(block.excite.reduce.out_features)
    return {stage: sorted(found) for stage, found in widths.items()}
