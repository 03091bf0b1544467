"""The network in training with fewer passes over its maps, on a CPU: the same sums, in fewer reads.

Batch norm, the gate of SE, the sum with the shortcut and the ReLU each read and write all maps when
they are done one after the other. But what they compute is affine in x for each image and channel:

    batch norm   u = (x - mean) * scale + shift
    squeeze      z = (mean of the image - mean) * scale + shift, which is the average of u (eq. 2)
    SE, sum      y = relu(u * s + shortcut) = relu((x - mean) * (scale * s) + shift * s + shortcut)

So one pass over x gives all means and variances, and one more gives y: SE costs nothing but the
arithmetic on (N, C) numbers between the two, which is the block's own, with autograd's gradients.
On the way back it is the same: one pass for the sums, and one for the gradient of x. The passes are
in kernels.cpp.

`fused(model)` computes what `model` does, up to rounding. The modules stay, and hold the weights.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from senet import kernels
from senet.block import SqueezeExcite, average, average_of_another, first_pixel, maximum
from senet.networks import ResNet
from senet.residual import ResidualUnit

# Squeezes that need the mean of each image alone, or its largest number.
OF_FEW = (average, average_of_another, first_pixel, maximum)


@dataclass
class Maps:
    """What the two passes forward and the two back have in common.

    x, y      maps (N, C, H, W): what goes in, and what comes out
    relu      whether there is one at the end
    twice     y is used in two places (the next branch and the next shortcut): it is given twice, so
              that the sum of its two gradients needs no pass of its own
    grad      of what the ReLU was given, or, where that is computed again, of y
    """

    relu: bool
    twice: bool
    x: Tensor | None = None
    y: Tensor | None = None
    mean: Tensor | None = None
    scale: Tensor | None = None
    shift: Tensor | None = None
    grad: Tensor | None = None
    extreme: Tensor | None = None  # of each image and channel, for a max squeeze
    more: Tensor | None = None  # the gradient of each pixel that has it

    @property
    def affine(self) -> tuple[Tensor, Tensor, Tensor, int]:
        """mean (C,), scale and shift, (C,) or (N, C), and the step from image to image in those."""
        return self.mean, self.scale, self.shift, self.x.shape[1] if self.scale.dim() == 2 else 0


class Moments(torch.autograd.Function):
    """Maps x -> mean (C,), variance (C,), mean of each image (N, C).

    Its backward is the last pass: `Combine`'s has left the gradient that comes directly.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, maps: Maps) -> tuple[Tensor, Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.maps, wide = maps, kernels.TYPES[x.dtype]
        means, squares = torch.empty(2, *x.shape[:2], dtype=wide)
        kernels.call("moments", x, means, squares)
        mean = means.mean(0)
        maps.x, maps.mean = x.detach(), mean.detach()
        return mean, squares.mean(0) / x[0, 0].numel() + (means - mean).square().mean(0), means

    @staticmethod
    def backward(
        ctx: Any, mean: Tensor, variance: Tensor, means: Tensor | None
    ) -> tuple[Tensor, None]:
        maps = ctx.maps
        if maps.grad is None:
            return None, None
        pixels = maps.x[0, 0].numel()
        count = len(maps.x) * pixels
        constant = (mean / count).repeat(len(maps.x), 1)
        if means is not None:
            constant += means / pixels
        out = torch.empty_like(maps.x)
        flags = int(maps.twice), int(maps.relu)
        kernels.call("spread", maps.x, *maps.affine, *flags, maps.grad, constant,
                     variance * (2 / count), maps.extreme, maps.more, out)  # fmt: skip
        return out, None


class Extremes(torch.autograd.Function):
    """The largest number of x * sign in each image, (N, C), times sign (C,).

    Its gradient is shared evenly by the pixels that have it, as amax's, and is left for `Moments`,
    whose mean it takes for that: so it goes back first.
    """

    @staticmethod
    def forward(ctx: Any, mean: Tensor, sign: Tensor, maps: Maps) -> Tensor:
        ctx.maps = maps
        ctx.extreme, ctx.count = torch.empty(2, *maps.x.shape[:2], dtype=mean.dtype)
        kernels.call("extremes", maps.x, sign, ctx.extreme, ctx.count)
        return ctx.extreme.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        ctx.maps.extreme, ctx.maps.more = ctx.extreme, grad / ctx.count
        return torch.zeros_like(grad[0]), None, None


class Combine(torch.autograd.Function):
    """relu((x - mean) * scale + shift + shortcut), once or twice; scale, shift: (C,) or (N, C)."""

    @staticmethod
    def forward(ctx: Any, mean: Tensor, scale: Tensor, shift: Tensor, shortcut: Tensor | None,
                maps: Maps) -> Tensor | tuple[Tensor, Tensor]:  # fmt: skip
        ctx.set_materialize_grads(False)
        ctx.maps, ctx.has_shortcut = maps, shortcut is not None
        maps.scale, maps.shift = scale.detach().contiguous(), shift.detach().contiguous()
        y = torch.empty_like(maps.x)
        kernels.call("combine", maps.x, *maps.affine, shortcut, int(maps.relu), y)
        if not maps.twice:
            return y
        maps.y = y.detach()
        return y, y.detach()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        maps = ctx.maps
        found = [g.contiguous(memory_format=torch.channels_last) for g in grads if g is not None]
        if not found:  # nothing asks for them
            return (None,) * 5
        grad, other = found if len(found) == 2 else (*found, None)
        kept = torch.empty_like(maps.x) if maps.twice else None
        sums, products = torch.empty(2, *maps.x.shape[:2], dtype=maps.mean.dtype)
        kernels.call("reduce", maps.x, *maps.affine, maps.y, int(maps.relu), grad, other, kept,
                     sums, products)  # fmt: skip
        maps.grad = kept if maps.twice else grad
        mean = -(maps.scale * sums).sum(0)
        if maps.scale.dim() == 1:
            sums, products = sums.sum(0), products.sum(0)
        return mean, products, sums, kept if ctx.has_shortcut else None, None


def normalised(
    x: Tensor,
    norm: nn.BatchNorm2d,
    block: SqueezeExcite | None = None,
    shortcut: Tensor | None = None,
    relu: bool = True,
    twice: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """relu(block(norm(x)) + shortcut) in training, where `norm` keeps its running statistics.

    Args:
        x, shortcut: (N, C, H, W).
        twice: returns it twice, for two users.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    if shortcut is not None:
        shortcut = shortcut.to(x.dtype).contiguous(memory_format=torch.channels_last)
    maps = Maps(relu, twice or shortcut is not None)
    mean, variance, means = Moments.apply(x, maps)
    note(norm, mean, variance, x.numel() // x.shape[1])
    scale, shift = norm.weight * (variance + norm.eps).rsqrt(), norm.bias
    if block is not None:
        with torch.autocast("cpu", enabled=False):  # so few numbers gain nothing by a type of less
            logits = []
            for squeeze in block.squeeze:
                seen = means
                if squeeze.function is maximum:  # of u: of the largest x, or the smallest
                    sign = torch.where(norm.weight < 0, -1.0, 1.0).to(mean)
                    seen = Extremes.apply(mean, sign, maps)
                z = (seen - mean) * scale + shift
                logits.append(block.excite(squeeze(z[:, None])))  # z: maps of one pixel
            s = block.gate(sum(logits))
        scale, shift = s * scale, s * shift
    y = Combine.apply(mean, scale, shift, shortcut, maps)
    return y if twice or not maps.twice else y[0]


@torch.no_grad()
def note(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, count: int) -> None:
    """Moves the running statistics, as in torch."""
    norm.num_batches_tracked += 1
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), norm.momentum)
    unbiased = variance * (count / (count - 1))
    norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), norm.momentum)


# -- which modules are computed so ------------------------------------------------------------


def is_norm(module: nn.Module, x: Tensor) -> bool:
    return type(module) is nn.BatchNorm2d and kernels.fits(x)


def is_ours(module: nn.Module) -> bool:
    """An SE block whose squeezes are all of OF_FEW."""
    if type(module) is not SqueezeExcite:
        return False
    return all(getattr(squeeze, "function", None) in OF_FEW for squeeze in module.squeeze)


def in_a_row(modules: list[nn.Module], x: Tensor) -> Tensor:
    """Modules one after the other; a norm together with the SE block and the ReLU after it."""
    modules = [module for module in modules if type(module) is not nn.Identity]
    while modules:
        first, *modules = modules
        if is_norm(first, x):
            block = modules.pop(0) if modules and is_ours(modules[0]) else None
            relu = bool(modules) and type(modules[0]) is nn.ReLU
            x = normalised(x, first, block, relu=relu)
            modules = modules[relu:]
        else:
            x = part(first, x)
    return x


def unit(module: ResidualUnit, x: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
    """A residual unit of its input, given twice, and its output twice."""
    shortcut = module.identity(part(module.shortcut, skip))
    x, layers = module.pre(x), [module.branch]
    if type(module.branch) is nn.Sequential:
        layers = list(module.branch)
    is_post, standard = type(module.relu) is nn.ReLU, module.standard
    if is_post and (type(standard) is nn.Identity or is_ours(standard)):
        x = in_a_row(layers[:-1], x)
        if is_norm(layers[-1], x):
            block = None if type(standard) is nn.Identity else standard
            both = normalised(x, layers[-1], block, shortcut, twice=True)
            if type(module.post) is nn.Identity:
                return both
            y = module.post(both[0])
            return y, y
        x = layers[-1](x)
    else:
        x = in_a_row(layers, x)
    y = module.post(module.relu(standard(x) + shortcut))
    return y, y


def part(module: nn.Module, x: Tensor) -> Tensor:
    if type(module) is not nn.Sequential:
        return module(x)
    if not isinstance(module[0], ResidualUnit):
        return in_a_row(list(module), x)
    return module(x)


def fused(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """`model` in training mode, images (B, 3, H, W) -> logits (B, classes): faster on a CPU.

    A network that is not ours, and what is not covered in one that is, runs as it is.
    """
    if not isinstance(model, ResNet) or kernels.library() is None:
        return model

    def forward(x: Tensor) -> Tensor:
        skip = x
        for module in model.body():
            if isinstance(module, nn.Sequential) and isinstance(module[0], ResidualUnit):
                for one in module:
                    x, skip = unit(one, x, skip)
            else:
                x = skip = part(module, x)
        return model.head(x)

    return forward
