"""Computes a norm, an SE block, a sum and a ReLU in two passes over the maps; two for gradients.

What they compute is affine in x for each image and channel:

    batch norm   u = (x - mean) * scale + bias, with scale = weight / sqrt(variance + eps)
    squeeze      z = (mean of the image - mean) * scale + bias, which is the average of u (eq. 2)
    SE, sum      y = relu(u * s + shortcut) = relu((x - mean) * (scale * s) + bias * s + shortcut)

So one pass over x gives all means and variances, and one more gives y: SE costs nothing but its own
arithmetic z -> s on (N, C) numbers between the two. On the way back it is the same: one pass for
the sums, and one for the gradient of x. In evaluation mean and variance are known, and in a place
without a norm they are 0 and 1: what is left is the squeeze. The passes are in kernels.cpp.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from senet.block import SqueezeExcite, maximum
from senet.fast import gates, kernels


def normalised(
    x: Tensor,
    norm: nn.BatchNorm2d | None,
    block: SqueezeExcite | None = None,
    shortcut: Tensor | None = None,
    relu: bool = True,
) -> Tensor | tuple[Tensor, Tensor]:
    """Computes relu(block(norm(x)) + shortcut); in training it updates `norm`'s statistics.

    Args:
        x, shortcut: (N, C, H, W).

    Returns:
        The same shape; where there is a shortcut twice, for the two users of a unit's output: the
        sum of their gradients then needs no pass of its own.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    if shortcut is not None:
        shortcut = shortcut.to(x.dtype).contiguous(memory_format=torch.channels_last)
    if norm is None:
        weight = torch.ones(x.shape[1], dtype=kernels.TYPES[x.dtype])
        bias = torch.zeros_like(weight)
    else:
        weight, bias = norm.weight, norm.bias
    inner = [] if block is None else [p for p in block.parameters() if p.requires_grad]
    learns = torch.is_grad_enabled()
    return Passes.apply(x, shortcut, weight, bias, norm, block, relu, learns, *inner)


class Passes(torch.autograd.Function):
    """Computes norm, SE block, sum and ReLU in two passes, and their gradients in two more."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        shortcut: Tensor | None,
        weight: Tensor,
        bias: Tensor,
        norm: nn.BatchNorm2d | None,
        block: SqueezeExcite | None,
        relu: bool,
        learns: bool,
        *inner: Tensor,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Computes relu(block(norm(x)) + shortcut), as `normalised` returns it.

        The parameters of the norm and of the block are arguments, as autograd has to see them;
        `learns` says whether gradients will be asked for.
        """
        ctx.set_materialize_grads(False)
        maps = measured({"x": x, "weight": weight, "bias": bias}, norm, block)
        if block is not None:
            maps |= gates.forward(block, x, maps["z"], maps.get("peak"), learns)
        y = torch.empty_like(x)
        kernels.call("combine", **maps, shortcut=shortcut, relu=relu, y=y)
        if relu and shortcut is not None:  # else it is computed again
            maps["y"] = y
        ctx.has_shortcut = shortcut is not None
        ctx.options = {
            "relu": relu,
            "trains": norm is not None and norm.training,
            "function": maps.pop("function", 0),
        }
        ctx.names = tuple(maps)
        ctx.save_for_backward(*maps.values(), *inner)
        return y if shortcut is None else (y, y.detach())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        found = [g.contiguous(memory_format=torch.channels_last) for g in grads if g is not None]
        if not found:  # nothing asks for them
            return (None,) * len(ctx.needs_input_grad)
        maps = dict(zip(ctx.names, ctx.saved_tensors, strict=False)) | ctx.options
        inner = ctx.saved_tensors[len(ctx.names) :]
        x, mean = maps["x"], maps["mean"]
        maps["grad"], maps["other"] = found if len(found) == 2 else (*found, None)
        maps["kept"] = torch.empty_like(x) if ctx.has_shortcut else None
        for name in ("sums", "products", "gate_grad"):
            maps[name] = mean.new_empty(x.shape[:2])
        kernels.call("reduce", **maps)
        of_inner = gates.backward(maps, inner)
        of_maps, of_weight, of_bias = map(torch.empty_like, (x, mean, mean))
        maps |= {"out": of_maps, "weight_grad": of_weight, "bias_grad": of_bias}
        kernels.call("spread", **maps)
        return of_maps, maps["kept"], of_weight, of_bias, *(None,) * 4, *of_inner


def measured(maps: dict[str, Any], norm: Any, block: SqueezeExcite | None) -> dict[str, Any]:
    """Adds what the second pass and the block need to know of x, as kernels.cpp names it.

    `norm` is a BatchNorm2d or None: torch's types allow the statistics of one to be None.
    """
    x, of_channels = maps["x"], torch.zeros_like(maps["weight"])
    of_images = torch.zeros(x.shape[:2], dtype=of_channels.dtype)
    trains, moved = getattr(norm, "training", False), {}
    if trains:
        maps |= {"mean": of_channels, "inverse": torch.empty_like(of_channels)}
        moved = {
            "squares": torch.empty_like(of_images),
            "running_mean": norm.running_mean,
            "running_var": norm.running_var,
            "momentum": norm.momentum,
            "eps": norm.eps,
        }
        norm.num_batches_tracked += 1
    elif norm is not None:
        maps |= {"mean": norm.running_mean, "inverse": (norm.running_var + norm.eps).rsqrt()}
    else:
        maps |= {"mean": of_channels, "inverse": torch.ones_like(of_channels)}
    if block is not None:
        maps["z"] = of_images
    if trains or (block is not None and not block.blind):
        maps["means"] = torch.empty_like(of_images)
        kernels.call("measure", **maps, **moved, trains=trains)
    if block is not None and any(squeeze.function is maximum for squeeze in block.squeeze):
        maps |= {name: torch.empty_like(of_images) for name in ("extreme", "count", "peak")}
        kernels.call("extremes", **maps)
    return maps
