"""Counts what a network costs: parameters, multiply-adds, and the SE blocks' share of both."""

from collections.abc import Iterable
from dataclasses import dataclass
from inspect import unwrap
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

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
    blocks = [m for m in model.modules() if isinstance(m, SqueezeExcite | OtherBlock)]
    inputs: dict[nn.Module, torch.Size] = {}

    def note(block: nn.Module, args: tuple[Tensor], _: Tensor) -> None:
        inputs[block] = args[0].shape

    with Hooks(*((block, note) for block in blocks)):
        multiply_adds = _multiply_adds(model, torch.Size([1, 3, size, size]), device)
    return Cost(
        parameters=count(model),
        multiply_adds=multiply_adds,
        se_parameters=sum(count(block) for block in blocks),
        se_multiply_adds=sum(_multiply_adds(*block, device) for block in inputs.items()),
        se_elementwise=sum(x.numel() * (1 + _pooled(block)) for block, x in inputs.items()),
        hidden=_hidden(blocks),
    )


class _Counter(TorchDispatchMode):
    """Counts multiply-adds by the formulas of torch's own counter, two operations each.

    Torch's own counts by module, which nobody asks for here, and imports torch's compiler.
    """

    multiply_adds = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if formula := flop_registry.get(func.overloadpacket):
            self.multiply_adds += formula(*args, **kwargs, out_val=out) // 2
        return out


# Torch wraps this method of every such class: the first call would import `torch._dynamo`, which
# takes as long as torch itself.
_Counter.__torch_dispatch__ = unwrap(_Counter.__torch_dispatch__)


def _multiply_adds(module: nn.Module, shape: torch.Size, device: torch.device) -> int:
    """Counts the multiply-adds of a module for an input of that shape."""
    with evaluating(module), _Counter() as counter:
        module(torch.empty(shape, device=device))
    return counter.multiply_adds


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
