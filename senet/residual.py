"""The residual unit, and the five places that an SE block can take in it (Figure 5, Table 14)."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from senet.block import new_block
from senet.config import SEConfig, choose

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
    """What the residual units of a family have in common.

    kind       "basic": 3x3, 3x3; or "bottleneck": 1x1, 3x3, 1x1
    order      of a convolution, its batch norm and its ReLU: a row of ORDERS
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
    """A size x size convolution without bias that keeps H x W at stride 1."""
    padding = size // 2
    return nn.Conv2d(channels_in, channels, size, stride, padding, groups=groups, bias=False)


# -- the branch -------------------------------------------------------------------------------

ORDERS = {
    "post": "conv, norm, relu; the last relu comes after the sum (He et al. 2015)",
    "pre": "norm, relu, conv (He et al. 2016)",
    "relu": "relu, then conv, norm, relu without a last relu (Gastaldi 2017)",
}


def convolutions(unit: Unit, channels_in: int, width: int, stride: int) -> list[nn.Conv2d]:
    """The convolutions of one branch, first to last."""
    channels = unit.expansion * width
    if unit.kind == "basic":
        return [conv(channels_in, width, 3, stride), conv(width, channels, 3)]
    inner = unit.inner * width
    first = inner // 2 if unit.halved else inner
    on_1x1, on_3x3 = choose("stride_on", unit.stride_on, {"3x3": (1, stride), "1x1": (stride, 1)})
    return [
        conv(channels_in, first, 1, on_1x1),
        conv(first, inner, 3, on_3x3, unit.groups),
        conv(inner, channels, 1),
    ]


def branch(unit: Unit, channels_in: int, width: int, stride: int, place: Place) -> nn.Module:
    """[+ SE at "3x3"] stands where a bottleneck can have a block:

    post  1x1, norm, relu, 3x3, norm [+ SE], relu, 1x1, norm
    pre   norm, relu, 1x1, norm, relu, 3x3 [+ SE], norm, relu, 1x1
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    parts = convolutions(unit, channels_in, width, stride)
    if unit.order == "relu":
        layers["relu0"] = nn.ReLU()  # not in place: the shortcut reads its input, too
    for number, part in enumerate(parts, 1):
        norm = nn.BatchNorm2d(part.in_channels if unit.order == "pre" else part.out_channels)
        if unit.order == "pre":
            layers[f"norm{number}"], layers[f"relu{number}"] = norm, nn.ReLU(inplace=True)
        layers[f"conv{number}"] = part
        if unit.order != "pre":
            layers[f"norm{number}"] = norm
        if unit.kind == "bottleneck" and number == 2:
            layers["se"] = place("3x3", part.out_channels)
        if unit.order != "pre" and number < len(parts):
            layers[f"relu{number}"] = nn.ReLU(inplace=True)
    return nn.Sequential(layers)


# -- two branches -----------------------------------------------------------------------------


class Shake(torch.autograd.Function):
    """a x + (1 - a) y forward, with b in a's place backward; weights (B, 1, 1, 1)."""

    @staticmethod
    def forward(ctx, x: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(b)
        return a * x + (1 - a) * y

    @staticmethod
    def backward(ctx, grad: Tensor):
        (b,) = ctx.saved_tensors
        return b * grad, (1 - b) * grad, None, None


MIXES = {  # the weights of the backward pass
    "shake": torch.rand_like,
    "even": partial(torch.full_like, fill_value=0.5),
}


class Mixed(nn.Module):
    """Two branches, mixed with random weights for each image in training, evenly in evaluation."""

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
    """The shortcut without parameters (He et al. 2015, option A).

    Every `stride`-th pixel, then zero channels: (B, C_in, H, W) -> (B, C, H / stride, W / stride).
    """

    def __init__(self, channels_in: int, channels: int, stride: int, kernel: int) -> None:
        super().__init__()
        self.stride, self.extra = stride, channels - channels_in

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))


def projection(channels_in: int, channels: int, stride: int, kernel: int) -> nn.Module:
    """The shortcut with a convolution and a batch norm (He et al. 2015, option B)."""
    part = conv(channels_in, channels, kernel if stride > 1 else 1, stride)
    return nn.Sequential(OrderedDict(conv=part, norm=nn.BatchNorm2d(channels)))


def bare(channels_in: int, channels: int, stride: int, kernel: int) -> nn.Module:
    """The shortcut with a 1x1 convolution alone (pre-activation and wide networks).

    It reads the unit's input as it is. The original code lets it share the branch's first norm and
    ReLU; then a block at "pre" could not have the branch to itself.
    """
    return nn.Sequential(OrderedDict(conv=conv(channels_in, channels, 1, stride)))


class Skewed(nn.Module):
    """Two half-width paths, the second of them a pixel off (Gastaldi 2017)."""

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


SHORTCUTS = {"pad": Pad, "projection": projection, "conv": bare, "skewed": Skewed}


# -- the unit ---------------------------------------------------------------------------------


class ResidualUnit(nn.Module):
    """A branch, a shortcut and their sum, with an SE block at one place or at none.

    Slots that hold no block are `nn.Identity`: the parameters of the trunk have the same names
    with and without SE, at every position.

    Args:
        unit: what all units of the family have in common.
        channels_in: C of the input (B, C, H, W).
        width: of the stage; unit.expansion x width channels come out.
        stride: of the unit.
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
            choose("position", se.position, POSITIONS)
            if se.position == "3x3" and unit.kind != "bottleneck":
                raise ValueError(
                    f"position '3x3' needs a bottleneck unit, not a {unit.kind} one: "
                    "choose a network such as resnet29b, or another position"
                )

        def place(position: str, channels: int) -> nn.Module:
            if se is None or se.position != position:
                return nn.Identity()
            try:
                return new_block(channels, se, name)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None

        def one_branch() -> nn.Module:
            return branch(unit, channels_in, width, stride, place)

        same = stride == 1 and channels_in == channels
        shortcut = choose("shortcut", unit.shortcut, SHORTCUTS)
        self.pre = place("pre", channels_in)
        self.branch = Mixed(one_branch(), one_branch(), unit.mix) if unit.mix else one_branch()
        self.standard = place("standard", channels)
        self.shortcut = (
            nn.Identity() if same else shortcut(channels_in, channels, stride, unit.kernel)
        )
        self.identity = place("identity", channels)
        self.relu = nn.ReLU(inplace=True) if unit.order == "post" else nn.Identity()
        self.post = place("post", channels)

    def forward(self, x: Tensor) -> Tensor:
        out = self.standard(self.branch(self.pre(x)))
        return self.post(self.relu(out + self.identity(self.shortcut(x))))
