"""A network with fewer passes over its maps, on a CPU: the same sums, in fewer reads.

Batch norm, the gate of SE, the sum with the shortcut and the ReLU each read and write all maps when
they are done one after the other. But what they compute is affine in x for each image and channel:

    batch norm   u = (x - mean) * scale + shift
    squeeze      z = (mean of the image - mean) * scale + shift, which is the average of u (eq. 2)
    SE, sum      y = relu(u * s + shortcut) = relu((x - mean) * (scale * s) + shift * s + shortcut)

So one pass over x gives all means and variances, and one more gives y: SE costs nothing but the
arithmetic on (N, C) numbers between the two, which is the block's own, with autograd's gradients.
On the way back it is the same: one pass for the sums, and one for the gradient of x. In evaluation
mean and variance are known, and in a place without a norm they are 0 and 1: what is left is the
squeeze. The passes are in kernels.cpp.

`fused(model)` computes what `model` does, up to rounding. The modules stay, and hold the weights.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from senet.block import SqueezeExcite, average, average_of_another, first_pixel, maximum
from senet.fast import kernels
from senet.networks import ResNet
from senet.residual import Mixed, ResidualUnit

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

    Where a mean is given, it comes back, without a variance; and `looks` says whether those of the
    images are asked for. Its backward is the last pass: `Combine`'s, which always comes before, as
    it has `mean`, has left the gradient that comes directly.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, maps: Maps, given: Tensor | None, looks: bool
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.maps, ctx.is_given = maps, given is not None
        means, squares = torch.zeros(2, *x.shape[:2], dtype=kernels.TYPES[x.dtype])
        if looks or given is None:
            kernels.call("moments", x, means, squares if given is None else None)
        mean = means.mean(0) if given is None else given.to(means.dtype, copy=True)
        maps.x, maps.mean = x.detach(), mean.detach()
        if given is not None:
            return mean, None, means
        return mean, squares.mean(0) / x[0, 0].numel() + (means - mean).square().mean(0), means

    @staticmethod
    def backward(
        ctx: Any, mean: Tensor, variance: Tensor | None, means: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        maps = ctx.maps
        if maps.grad is None:
            return (None,) * 4
        images, pixels = len(maps.x), maps.x[0, 0].numel()
        constant, slope = mean.new_zeros(images, len(mean)), torch.zeros_like(mean)
        if means is not None:
            constant += means / pixels
        if not ctx.is_given:
            constant += mean / (images * pixels)
            slope = variance * (2 / (images * pixels))
        out = torch.empty_like(maps.x)
        flags = int(maps.twice), int(maps.relu)
        kernels.call("spread", maps.x, *maps.affine, *flags, maps.grad, constant, slope,
                     maps.extreme, maps.more, out)  # fmt: skip
        return out, None, None, None


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
    norm: nn.BatchNorm2d | None,
    block: SqueezeExcite | None = None,
    shortcut: Tensor | None = None,
    relu: bool = True,
    twice: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """relu(block(norm(x)) + shortcut); in training `norm` moves its running statistics.

    Args:
        x, shortcut: (N, C, H, W).
        twice: returns it twice, for two users.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    if shortcut is not None:
        shortcut = shortcut.to(x.dtype).contiguous(memory_format=torch.channels_last)
    maps = Maps(relu, twice or shortcut is not None)
    wide, channels = kernels.TYPES[x.dtype], x.shape[1]
    looks = block is not None and not block.blind
    if norm is None:
        mean, _, means = Moments.apply(x, maps, torch.zeros(channels, dtype=wide), looks)
        scale, shift = torch.ones(channels, dtype=wide), torch.zeros(channels, dtype=wide)
    else:
        given = None if norm.training else norm.running_mean
        mean, variance, means = Moments.apply(x, maps, given, looks)
        if norm.training:
            note(norm, mean, variance, x.numel() // channels)
        else:
            variance = norm.running_var
        scale, shift = norm.weight * (variance + norm.eps).rsqrt(), norm.bias
    if block is not None:
        with torch.autocast("cpu", enabled=False):  # so few numbers gain nothing by a type of less
            logits = []
            for squeeze in block.squeeze:
                seen = means
                if squeeze.function is maximum:  # of u: of the largest x, or the smallest
                    sign = torch.where(scale.detach() < 0, -1.0, 1.0).to(mean)
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


@dataclass
class Group:
    """A norm, an SE block and a ReLU, each or none, that are computed together."""

    norm: nn.BatchNorm2d | None = None
    block: SqueezeExcite | None = None
    relu: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        if kernels.fits(x):
            return normalised(x, self.norm, self.block, relu=self.relu)
        x = self.plainly(x)
        return F.relu(x) if self.relu else x

    def plus(self, x: Tensor, shortcut: Tensor, relu: bool) -> tuple[Tensor, Tensor]:
        """Of a group that has no ReLU: with the sum, and that of the unit; given twice."""
        if kernels.fits(x) and (self.norm or self.block):
            return normalised(x, self.norm, self.block, shortcut, relu, twice=True)
        y = self.plainly(x) + shortcut
        y = F.relu(y) if relu else y
        return y, y

    def plainly(self, x: Tensor) -> Tensor:
        for module in (self.norm, self.block):
            x = x if module is None else module(x)
        return x


def is_ours(module: nn.Module) -> bool:
    """An SE block whose squeezes are all of OF_FEW."""
    if type(module) is not SqueezeExcite:
        return False
    return all(getattr(squeeze, "function", None) in OF_FEW for squeeze in module.squeeze)


def flat(module: nn.Module) -> list[nn.Module]:
    return list(module) if type(module) is nn.Sequential else [module]


def groups(*modules: nn.Module) -> list[Group | nn.Module]:
    """Modules that come one after the other, those together that can be."""
    found: list[Group | nn.Module] = []
    for module in (one for several in modules for one in flat(several)):
        last = found[-1] if found and type(found[-1]) is Group else Group(relu=True)
        is_open = not last.relu
        if type(module) is nn.BatchNorm2d:
            found.append(Group(module))
        elif is_ours(module):
            if is_open and last.block is None:
                last.block = module
            else:
                found.append(Group(None, module))
        elif type(module) is nn.ReLU and is_open:
            last.relu = True
        elif type(module) is Mixed:
            found.append(partial(mixed, module))
        elif type(module) is not nn.Identity:
            found.append(module)
    return found


def in_a_row(found: list[Group | nn.Module], x: Tensor) -> Tensor:
    for one in found:
        x = one(x)
    return x


def mixed(module: Mixed, x: Tensor) -> Tensor:
    """The two branches of Shake-Shake."""
    return module.mix(*(in_a_row(groups(one), x) for one in (module.first, module.second)))


def unit(module: ResidualUnit, x: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
    """A residual unit of its input, given twice, and its output twice."""
    shortcut = in_a_row(groups(module.shortcut, module.identity), skip)
    found = groups(module.pre, module.branch, module.standard)
    last = Group()  # nothing but the sum
    if type(found[-1]) is Group and not found[-1].relu:
        last = found.pop()
    x = in_a_row(found, x)
    both = last.plus(x, shortcut, relu=type(module.relu) is nn.ReLU)
    for one in groups(module.post):
        y = one(both[0])
        both = y, y
    return both


class Fused(nn.Module):
    """A network in these passes; see `fused`."""

    def __init__(self, model: ResNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        skip = x
        for module in self.model.body():
            if isinstance(module, nn.Sequential) and isinstance(module[0], ResidualUnit):
                for one in module:
                    x, skip = unit(one, x, skip)
            else:
                x = skip = in_a_row(groups(module), x)
        return self.model.head(x)


def fused(model: nn.Module) -> nn.Module:
    """`model`, images (B, 3, H, W) -> logits (B, classes): faster on a CPU.

    A network that is not ours, and what is not covered in one that is, runs as it is.
    """
    if not isinstance(model, ResNet) or kernels.library() is None:
        return model
    return Fused(model)
