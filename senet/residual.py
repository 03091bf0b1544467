"""The residual unit, and the five places that an SE block can take in it (Figure 5, Table 14)."""

from collections import OrderedDict
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from senet.block import SqueezeExcite
from senet.config import SEConfig, choose

POSITIONS = {
    "standard": "on the branch's output, before the sum",
    "pre": "on the branch's input alone; the shortcut is taken before it",
    "post": "after the sum and its ReLU",
    "identity": "on the shortcut's output, after projection or padding",
    "3x3": "in a bottleneck, after the batch norm of the 3x3 and before its ReLU",
}

Place = Callable[[str, int], nn.Module]  # (position, channels) -> the block there, or Identity


def conv(channels_in: int, channels: int, size: int, stride: int = 1) -> nn.Conv2d:
    """A size x size convolution without bias that keeps H x W at stride 1."""
    return nn.Conv2d(channels_in, channels, size, stride, padding=size // 2, bias=False)


def basic(channels_in: int, width: int, stride: int, stride_on: str, place: Place) -> nn.Module:
    """3x3, 3x3: `width` channels come out."""
    return nn.Sequential(
        OrderedDict(
            conv1=conv(channels_in, width, 3, stride),
            norm1=nn.BatchNorm2d(width),
            relu1=nn.ReLU(inplace=True),
            conv2=conv(width, width, 3),
            norm2=nn.BatchNorm2d(width),
        )
    )


def bottleneck(channels_in: int, width: int, stride: int, stride_on: str, place: Place):
    """1x1, 3x3 [+ SE at "3x3"], 1x1: 4 x `width` channels come out.

    The stride is on the 3x3 as in torchvision, or on the first 1x1 as in the paper.
    """
    strides = choose("stride_on", stride_on, {"3x3": (1, stride), "1x1": (stride, 1)})
    return nn.Sequential(
        OrderedDict(
            conv1=conv(channels_in, width, 1, strides[0]),
            norm1=nn.BatchNorm2d(width),
            relu1=nn.ReLU(inplace=True),
            conv2=conv(width, width, 3, strides[1]),
            norm2=nn.BatchNorm2d(width),
            se=place("3x3", width),
            relu2=nn.ReLU(inplace=True),
            conv3=conv(width, 4 * width, 1),
            norm3=nn.BatchNorm2d(4 * width),
        )
    )


BRANCHES = {"basic": (basic, 1), "bottleneck": (bottleneck, 4)}  # (builder, expansion)


class Pad(nn.Module):
    """The shortcut without parameters (He et al. 2015, option A).

    Every `stride`-th pixel, then zero channels: (B, C_in, H, W) -> (B, C, H / stride, W / stride).
    """

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.stride, self.extra = stride, channels - channels_in

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))


def projection(channels_in: int, channels: int, stride: int) -> nn.Module:
    """The shortcut with a 1x1 convolution and a batch norm (He et al. 2015, option B)."""
    return nn.Sequential(
        OrderedDict(conv=conv(channels_in, channels, 1, stride), norm=nn.BatchNorm2d(channels))
    )


SHORTCUTS = {"pad": Pad, "projection": projection}


class ResidualUnit(nn.Module):
    """A branch, a shortcut, their sum and a ReLU, with an SE block at one place or at none.

    Slots that hold no block are `nn.Identity`: the parameters of the trunk have the same names
    with and without SE, at every position.
    """

    def __init__(
        self,
        unit: str,
        channels_in: int,
        width: int,
        stride: int,
        *,
        shortcut: str,
        stride_on: str,
        se: SEConfig | None,
        name: str,
    ) -> None:
        super().__init__()
        branch, expansion = BRANCHES[unit]
        self.channels = channels = expansion * width
        if se is not None:
            choose("position", se.position, POSITIONS)
            if se.position == "3x3" and unit != "bottleneck":
                raise ValueError(
                    f"position '3x3' needs a bottleneck unit, not a {unit} one: "
                    "choose a network such as resnet29b, or another position"
                )

        def place(position: str, channels: int) -> nn.Module:
            if se is None or se.position != position:
                return nn.Identity()
            try:
                return SqueezeExcite(channels, se, name)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None

        same = stride == 1 and channels_in == channels
        self.pre = place("pre", channels_in)
        self.branch = branch(channels_in, width, stride, stride_on, place)
        self.standard = place("standard", channels)
        self.shortcut = (
            nn.Identity()
            if same
            else choose("shortcut", shortcut, SHORTCUTS)(channels_in, channels, stride)
        )
        self.identity = place("identity", channels)
        self.post = place("post", channels)

    def forward(self, x: Tensor) -> Tensor:
        out = self.standard(self.branch(self.pre(x)))
        return self.post(F.relu_(out + self.identity(self.shortcut(x))))
