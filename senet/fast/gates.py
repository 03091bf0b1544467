"""Computes a block's gates s of z and of the largest number of each map: (N, C) each.

That of the paper's block is in gates.h: a bottleneck, with or without biases, and a gate of
FUNCTIONS. All else is torch's, forward and back; so is a block whose parts have hooks, as they look
at what is computed between them, or change it.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from senet.block import (
    SqueezeExcite,
    average,
    maximum,
    relu_plus1,
    sigmoid_x2,
    softmax,
    softmax_c,
    tanh_plus1,
)
from senet.excitation import Bottleneck
from senet.fast import kernels

FUNCTIONS = (torch.sigmoid, torch.tanh, torch.relu, F.hardsigmoid, sigmoid_x2, tanh_plus1,
             relu_plus1, softmax, softmax_c)  # fmt: skip
WEIGHTS = ("w1", "b1", "w2", "b2")  # as in gates.h
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def forward(
    block: SqueezeExcite, x: Tensor, z: Tensor, peak: Tensor | None, learns: bool
) -> dict[str, Any]:
    """Computes the gates (N, C), as "gate", and what `backward` needs beside them.

    Args:
        x: the maps (N, C, H, W).
        z, peak: the mean and the largest number of each, (N, C); no peak where none is asked for.
        learns: whether there will be a way back.
    """
    weights = weights_of(block, z)
    if weights is None:
        with torch.set_grad_enabled(learns), torch.autocast("cpu", enabled=False):
            for seen in (z, peak):
                if seen is not None:
                    seen.requires_grad_(learns)
            gate = by_torch(block, z, peak)  # which may be one for all channels, or bool
            return {"gate": gate.to(z.dtype).expand(z.shape).contiguous()}
    hidden = z.new_empty(len(block.squeeze), len(z), len(weights["w1"]))
    names = ["hidden_peak" if one.function is maximum else "hidden" for one in block.squeeze]
    found: dict[str, Any] = weights | dict(zip(names, hidden, strict=True))
    found["gate"] = torch.empty_like(z)
    found["function"] = FUNCTIONS.index(block.gate.function)
    kernels.call("excite", x=x, z=z, peak=peak, units=hidden.shape[2], **found)
    return found


def backward(maps: dict[str, Any], inner: Sequence[Tensor]) -> Sequence[Tensor | None]:
    """Returns the gradients of the weights `inner`; adds those of z and of the peak to `maps`.

    `maps` has what `forward` gave, and the gradient of the gates, which is overwritten.
    """
    seen = [name for name in ("z", "peak") if name in maps]
    if "w1" in maps:
        for name in WEIGHTS:
            if name in maps:
                maps[f"{name}_grad"] = torch.empty_like(maps[name])
        for name, hidden in (("z", "hidden"), ("peak", "hidden_peak")):
            if hidden in maps:
                maps[f"{name}_grad"] = torch.empty_like(maps[name])
        kernels.call("excite_back", **maps, units=len(maps["w1"]))
        grads = {maps[name].data_ptr(): maps[f"{name}_grad"] for name in WEIGHTS if name in maps}
        return [grads[weight.data_ptr()] for weight in inner]
    if "gate" not in maps or not maps["gate"].requires_grad:
        return [None] * len(inner)
    grads = torch.autograd.grad(
        maps["gate"], [*(maps[name] for name in seen), *inner], maps["gate_grad"],
        retain_graph=True, allow_unused=True,
    )  # fmt: skip
    for name, grad in zip(seen, grads, strict=False):
        maps[f"{name}_grad"] = None if grad is None else grad.contiguous()
    return grads[len(seen) :]


def weights_of(block: SqueezeExcite, z: Tensor) -> dict[str, Tensor] | None:
    """Returns the weights of a block whose arithmetic is in gates.h; None of another one."""
    excite, squeezes = block.excite, [getattr(one, "function", None) for one in block.squeeze]
    if (
        type(excite) is not Bottleneck
        or not type(excite.reduce) is type(excite.expand) is nn.Linear
        or getattr(block.gate, "function", None) not in FUNCTIONS
        or squeezes not in ([average], [maximum], [average, maximum])
        or any(getattr(part, name) for part in parts(block) for name in HOOKS)
    ):
        return None
    both = (excite.reduce, excite.expand)
    tensors = [tensor for layer in both for tensor in (layer.weight, layer.bias)]
    found = {k: v for k, v in zip(WEIGHTS, tensors, strict=True) if v is not None}
    fit = all(weight.dtype == z.dtype and weight.is_contiguous() for weight in found.values())
    return found if fit else None


def parts(block: SqueezeExcite) -> tuple[nn.Module, ...]:
    return *block.squeeze, block.excite, *block.excite.children(), block.gate


def by_torch(block: SqueezeExcite, z: Tensor, peak: Tensor | None) -> Tensor:
    logits = []
    for squeeze in block.squeeze:
        seen: Any = peak if squeeze.function is maximum else z  # there is one where it is asked for
        logits.append(block.excite(squeeze(seen[:, None])))  # maps of one pixel
    return block.gate(sum(logits))
