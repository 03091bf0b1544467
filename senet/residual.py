"""Defines the residual unit, and the five places of an SE block in it (Figure 5, Table 14)."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from senet.block import new_block
from senet.config import SEConfig, find_row

POSITIONS = {
    "standard": "on the branch's output, before the sum (on the mixed branches of Shake-Shake)",
    "pre": "on the branch's input alone; the shortcut is taken before it",
    "post": "after the sum and, where the unit has one, its ReLU",
    "identity": "on the shortcut's output, after projection or padding",
    "3x3": "in a bottleneck, after the 3x3's batch norm and before its ReLU; "
    "in a pre-activation unit, after the 3x3 itself",
}

Place = Callable[[str, int], nn.Module]  # (position, channels) -> the block there, or Identity


@dataclass(frozen=True)
class Unit:
    """Says what the residual units of a family have in common.

    kind       "basic": 3x3, 3x3; or "bottleneck": 1x1, 3x3, 1x1
    order      of the layers of a branch: a row of ORDERS
    expansion  channels that come out, as a multiple of the stage's width
    inner      channels of a bottleneck's 3x3, as a multiple of the stage's width
    halved     the first 1x1 has half as many (SENet-154)
    groups     of the 3x3
    shortcut   where a unit changes shape: a row of SHORTCUTS
    kernel     of that shortcut's convolution, from the second stage on (SENet-154: 3)
    stride_on  "3x3" as in torchvision, or the first "1x1" as in the paper
    mix        None, or how two branches are mixed: a row of MIXES
    """

    kind: str
    order: str = "post"
    expansion: int = 1
    inner: int = 1
    halved: bool = False
    groups: int = 1
    shortcut: str = "projection"
    kernel: int = 1
    stride_on: str = "3x3"
    mix: str | None = None


def conv(channels_in: int, channels: int, size: int, stride: int = 1, groups: int = 1):
    """Makes a size x size convolution without bias that keeps H x W at stride 1."""
    return nn.Conv2d(channels_in, channels, size, stride, size // 2, groups=groups, bias=False)


# -- the branch -------------------------------------------------------------------------------

# The layers of a bottleneck's branch; a basic unit's end before "se", where a block can stand.
ORDERS = {
    "post": "conv1 norm1 relu1 conv2 norm2 se relu2 conv3 norm3",  # He et al. 2015
    "pre": "norm1 relu1 conv1 norm2 relu2 conv2 se norm3 relu3 conv3",  # He et al. 2016
    "relu": "relu0 conv1 norm1 relu1 conv2 norm2 se relu2 conv3 norm3",  # Gastaldi 2017
}


def _convolutions(unit: Unit, channels_in: int, width: int, stride: int) -> list[nn.Conv2d]:
    """Makes the convolutions of one branch, first to last."""
    channels = unit.expansion * width
    strides = {"3x3": (1, stride), "1x1": (stride, 1)}
    on_1x1, on_3x3 = find_row("stride_on", unit.stride_on, strides)
    if unit.kind == "basic":
        if unit.stride_on == "1x1":
            raise ValueError("stride_on '1x1': a basic unit has no 1x1 convolution")
        return [conv(channels_in, width, 3, stride), conv(width, channels, 3)]
    inner = unit.inner * width
    first = inner // 2 if unit.halved else inner
    return [
        conv(channels_in, first, 1, on_1x1),
        conv(first, inner, 3, on_3x3, unit.groups),
        conv(inner, channels, 1),
    ]


def _branch(unit: Unit, channels_in: int, width: int, stride: int, place: Place) -> nn.Sequential:
    """Makes the branch of a unit: the layers that ORDERS names."""
    convolutions = iter(_convolutions(unit, channels_in, width, stride))
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels = channels_in
    names = ORDERS[unit.order].split()
    for name in names[: names.index("se")] if unit.kind == "basic" else names:
        if name.startswith("conv"):
            layers[name] = convolution = next(convolutions)
            channels = convolution.out_channels
        elif name.startswith("norm"):
            layers[name] = nn.BatchNorm2d(channels)
        elif name.startswith("relu"):
            layers[name] = nn.ReLU(inplace=name != "relu0")  # the shortcut reads its input, too
        else:
            layers[name] = place("3x3", channels)
    return nn.Sequential(layers)


# -- two branches -----------------------------------------------------------------------------


class Shake(torch.autograd.Function):
    """Computes a x + (1 - a) y, with b in a's place backward; weights (B, 1, 1, 1)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(b)
        return a * x + (1 - a) * y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        (b,), (grad,) = ctx.saved_tensors, grads
        return b * grad, (1 - b) * grad, None, None


MIXES = {  # the weights of the backward pass
    "shake": torch.rand_like,
    "even": partial(torch.full_like, fill_value=0.5),
}


class Mixed(nn.Module):
    """Mixes two branches, with random weights for each image in training, else evenly."""

    def __init__(self, first: nn.Module, second: nn.Module, mix: str) -> None:
        super().__init__()
        self.first, self.second, self.backward_weights = first, second, MIXES[mix]

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(self.first(x), self.second(x))

    def mix(self, one: Tensor, other: Tensor) -> Tensor:
        if not self.training:
            return (one + other) / 2
        a = torch.rand(len(one), 1, 1, 1, device=one.device, dtype=one.dtype)
        return Shake.apply(one, other, a, self.backward_weights(a))


# -- the shortcut -----------------------------------------------------------------------------


class Pad(nn.Module):
    """Takes every `stride`-th pixel and appends zero channels (He et al. 2015, option A).

    (B, C_in, H, W) -> (B, C, H / stride, W / stride), without parameters.
    """

    def __init__(self, channels_in: int, channels: int, stride: int, kernel: int) -> None:
        super().__init__()
        self.stride, self.extra = stride, channels - channels_in

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))


def _projection(channels_in: int, channels: int, stride: int, kernel: int) -> nn.Module:
    """Makes a shortcut of a convolution and a batch norm (He et al. 2015, option B)."""
    part = conv(channels_in, channels, kernel if stride > 1 else 1, stride)
    return nn.Sequential(OrderedDict(conv=part, norm=nn.BatchNorm2d(channels)))


def _bare(channels_in: int, channels: int, stride: int, kernel: int) -> nn.Module:
    """Makes a shortcut of a 1x1 convolution alone (pre-activation and wide networks).

    It reads the unit's input as it is. The original code lets it share the branch's first norm and
    ReLU; then a block at "pre" could not have the branch to itself.
    """
    return nn.Sequential(OrderedDict(conv=conv(channels_in, channels, 1, stride)))


class Skewed(nn.Module):
    """Joins two half-width paths, the second of them a pixel off (Gastaldi 2017)."""

    def __init__(self, channels_in: int, channels: int, stride: int, kernel: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = conv(channels_in, channels // 2, 1)
        self.conv2 = conv(channels_in, channels - channels // 2, 1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        x, s = F.relu(x), self.stride
        moved = F.pad(x, (-1, 1, -1, 1)) if s > 1 else x
        paths = self.conv1(x[:, :, ::s, ::s]), self.conv2(moved[:, :, ::s, ::s])
        return self.norm(torch.cat(paths, 1))


SHORTCUTS = {"pad": Pad, "projection": _projection, "conv": _bare, "skewed": Skewed}


class ResidualUnit(nn.Module):
    """Adds a branch to a shortcut, with an SE block at one place or at none.

    Slots that hold no block are `nn.Identity`: the parameters of the trunk have the same names
    with and without SE, at every position.

    Args:
        channels_in: C of the input (B, C, H, W).
        width: of the stage; unit.expansion x width channels come out.
        se: the block and its place, or None.
        name: of the block, SE_stage_block in the paper.
    """

    def __init__(
        self,
        unit: Unit,
        channels_in: int,
        width: int,
        stride: int = 1,
        se: SEConfig | None = None,
        name: str = "SE",
    ) -> None:
        super().__init__()
        self.channels = channels = unit.expansion * width
        if se is not None:
            find_row("position", se.position, POSITIONS)
            if se.position == "3x3" and unit.kind != "bottleneck":
                raise ValueError(
                    f"position '3x3' needs a bottleneck unit, not a {unit.kind} one: "
                    "choose a network such as resnet29b, or another position"
                )

        def place(position: str, channels: int) -> nn.Module:
            if se is None or se.position != position:
                return nn.Identity()
            return new_block(channels, se, name)

        branch = partial(_branch, unit, channels_in, width, stride, place)
        same = stride == 1 and channels_in == channels
        new = find_row("shortcut", unit.shortcut, SHORTCUTS)
        self.pre = place("pre", channels_in)
        self.branch = Mixed(branch(), branch(), unit.mix) if unit.mix else branch()
        self.standard = place("standard", channels)
        self.shortcut = nn.Identity() if same else new(channels_in, channels, stride, unit.kernel)
        self.identity = place("identity", channels)
        self.relu = nn.ReLU(inplace=True) if unit.order == "post" else nn.Identity()
        self.post = place("post", channels)

    def forward(self, x: Tensor) -> Tensor:
        out = self.standard(self.branch(self.pre(x)))
        return self.post(self.relu(out + self.identity(self.shortcut(x))))
