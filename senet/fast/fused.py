"""Computes a network on a CPU with fewer passes over its maps: the same sums, in fewer reads.

Batch norm, the gate of SE, the sum with the shortcut and the ReLU each read and write all maps when
they are done one after the other. Here those that follow each other are a group, which is computed
in two passes: passes.py says how.

`fused(model)` computes what `model` does, up to rounding. The modules stay, and hold the weights.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeGuard, cast

import torch.nn.functional as F
from torch import Tensor, nn

from senet.block import SqueezeExcite, average, average_of_another, first_pixel, maximum
from senet.fast import kernels
from senet.fast.passes import normalised
from senet.networks import ResNet
from senet.residual import Mixed, ResidualUnit

# Squeezes that need the mean of each image alone, or its largest number.
OF_FEW = (average, average_of_another, first_pixel, maximum)


@dataclass
class Group:
    """Computes a norm, an SE block and a ReLU together; each of them may be missing."""

    norm: nn.BatchNorm2d | None = None
    block: SqueezeExcite | None = None
    relu: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        if kernels.fits(x, self.norm):
            return cast(Tensor, normalised(x, self.norm, self.block, relu=self.relu))
        x = self.plainly(x)
        return F.relu(x) if self.relu else x

    def plus(self, x: Tensor, shortcut: Tensor, relu: bool) -> tuple[Tensor, Tensor]:
        """Returns the group's output + shortcut twice, after the unit's ReLU where `relu` is set.

        The group itself has no ReLU.
        """
        if kernels.fits(x, self.norm) and (self.norm or self.block):
            both = normalised(x, self.norm, self.block, shortcut, relu)
            return cast(tuple[Tensor, Tensor], both)
        y = self.plainly(x) + shortcut
        y = F.relu(y) if relu else y
        return y, y

    def plainly(self, x: Tensor) -> Tensor:
        for module in (self.norm, self.block):
            x = x if module is None else module(x)
        return x


def is_ours(module: nn.Module) -> TypeGuard[SqueezeExcite]:
    """Tells whether it is an SE block whose squeezes are all of OF_FEW."""
    if type(module) is not SqueezeExcite:
        return False
    return all(getattr(squeeze, "function", None) in OF_FEW for squeeze in module.squeeze)


class Chain:
    """Runs modules one after the other, and computes together those that can be."""

    def __init__(self, *modules: nn.Module) -> None:
        self.parts: list[Callable[[Tensor], Tensor]] = []
        for module in modules:
            for one in module if type(module) is nn.Sequential else (module,):
                self.add(one)

    def add(self, module: nn.Module) -> None:
        last = self.parts[-1] if self.parts and type(self.parts[-1]) is Group else Group(relu=True)
        is_open = not last.relu
        if type(module) is nn.BatchNorm2d:
            self.parts.append(Group(module))
        elif is_ours(module):
            if is_open and last.block is None:
                last.block = module
            else:
                self.parts.append(Group(None, module))
        elif type(module) is nn.ReLU and is_open:
            last.relu = True
        elif type(module) is Mixed:
            first, second = Chain(module.first), Chain(module.second)
            self.parts.append(lambda x: module.mix(first(x), second(x)))
        elif type(module) is not nn.Identity:
            self.parts.append(module)

    def open_group(self) -> Group:
        """Takes the last group away that has no ReLU; one that does nothing where there is none."""
        last = self.parts[-1] if self.parts else None
        if not isinstance(last, Group) or last.relu:
            return Group()
        self.parts.pop()
        return last

    def __call__(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part(x)
        return x


class FusedUnit:
    """Computes a residual unit: (x, x) -> (y, y), one for a branch and one for a shortcut."""

    def __init__(self, unit: ResidualUnit) -> None:
        self.shortcut = Chain(unit.shortcut, unit.identity)
        self.branch = Chain(unit.pre, unit.branch, unit.standard)
        self.last = self.branch.open_group()
        self.relu = type(unit.relu) is nn.ReLU
        self.post = Chain(unit.post)

    def __call__(self, x: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        both = self.last.plus(self.branch(x), self.shortcut(skip), self.relu)
        if not self.post.parts:
            return both
        y = self.post(both[0])
        return y, y


class Fused(nn.Module):
    """Computes a network on a CPU group by group, each in two passes over its maps: see `fused`."""

    def __init__(self, model: ResNet) -> None:
        super().__init__()
        self.model = model
        self.units: list[FusedUnit | Chain] = []
        for module in model.body():
            is_stage = isinstance(module, nn.Sequential) and isinstance(module[0], ResidualUnit)
            self.units += map(FusedUnit, cast(Any, module)) if is_stage else [Chain(module)]

    def forward(self, x: Tensor) -> Tensor:
        skip = x
        for one in self.units:
            if isinstance(one, FusedUnit):
                x, skip = one(x, skip)
            else:
                x = skip = one(x)
        return self.model.head(x)


def fused(model: nn.Module) -> nn.Module:
    """Makes `model`, images (B, 3, H, W) -> logits (B, classes), faster on a CPU.

    A network that is not ours, and what is not covered in one that is, runs as it is.
    """
    if not isinstance(model, ResNet) or kernels.library() is None:
        return model
    return Fused(model)
