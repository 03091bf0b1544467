"""Defines the Squeeze-and-Excitation block (Hu et al., arXiv 1709.01507v4, section 3).

    x (B, C, H, W) --squeeze--> z (B, C) --excitation--> logits (B, C) --gate--> s (B, C);  x * s

Each choice is a row of a table. A row is a function, or a factory `channels -> Module` where it
has weights of its own: a class, or a callable whose first parameter is called `channels`.
"""

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from senet.config import SEConfig, find_row
from senet.excitation import EXCITATIONS


def pixels(x: Tensor) -> Tensor:
    """Views (B, C, H, W) as (B, HW, C); copies where `x` is not channels last.

    Reducing this view is several times faster in bf16 on a CPU than reducing over H and W, and
    its backward is deterministic on a GPU, unlike adaptive pooling's.
    """
    return x.permute(0, 2, 3, 1).flatten(1, 2)


# -- squeeze: (B, HW, C) -> (B, C); where nothing is squeezed, (B, HW, C) ---------------------


def average(pixels: Tensor) -> Tensor:
    """Averages (eq. 2). By a sum, as `mean` over this dimension copies bf16 to fp32 on a CPU."""
    return pixels.sum(1) / pixels.shape[1]


def everything(pixels: Tensor) -> Tensor:
    return pixels


def first_pixel(pixels: Tensor) -> Tensor:
    return pixels[:, 0]


def average_of_another(pixels: Tensor) -> Tensor:
    """Takes the average of the image before in the batch, which says nothing of this one."""
    return average(pixels).roll(1, 0)


def maximum(pixels: Tensor) -> Tensor:
    return pixels.amax(1)


SQUEEZES: dict[str, Callable | tuple[Callable, ...]] = {
    "avg": average,  # global average pooling, eq. 2
    "max": maximum,  # global max pooling, Table 11
    "avgmax": (average, maximum),  # both through one bottleneck, their logits summed
    "none": everything,  # NoSqueeze, Table 16: one gate a pixel, the same parameters
    "another": average_of_another,  # a control
}


# -- gate: logits (..., C) -> weights (..., C) ------------------------------------------------


def softmax(logits: Tensor) -> Tensor:
    return torch.softmax(logits, -1)


def softmax_c(logits: Tensor) -> Tensor:
    return softmax(logits) * logits.shape[-1]


def sigmoid_x2(logits: Tensor) -> Tensor:
    return 2 * torch.sigmoid(logits)


def tanh_plus1(logits: Tensor) -> Tensor:
    return 1 + torch.tanh(logits)


def relu_plus1(logits: Tensor) -> Tensor:
    return torch.relu(1 + logits)


GATES: dict[str, Callable] = {
    "sigmoid": torch.sigmoid,  # eq. 3
    "tanh": torch.tanh,  # Table 12
    "relu": torch.relu,  # Table 12
    "softmax": softmax,  # scales the branch by about 1 / C ...
    "softmax_c": softmax_c,  # ... its control does not
    "hard_sigmoid": F.hardsigmoid,  # MobileNetV3's
    "sigmoid_x2": sigmoid_x2,  # these three are 1 at logit 0: the branch starts as it is
    "tanh_plus1": tanh_plus1,
    "relu_plus1": relu_plus1,
}


class Function(nn.Module):
    """Wraps a plain function, so that a hook can read or replace what it returns."""

    def __init__(self, function: Callable) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def _as_module(row: Callable, channels: int) -> nn.Module:
    """Makes a module of a row of SQUEEZES or GATES (what a row may be: see the top)."""
    return row(channels) if _makes_module(row) else Function(row)


def _makes_module(row: Callable) -> bool:
    if inspect.isclass(row):
        return True
    try:
        return next(iter(inspect.signature(row).parameters), None) == "channels"
    except ValueError:  # a builtin such as torch.sigmoid does not tell its signature
        return False


class SqueezeExcite(nn.Module):
    """Scales each channel by a gate computed from all of them: (B, C, H, W) -> (B, C, H, W).

    Args:
        channels: C.
        config: which squeeze, excitation, gate, ratio and bias; the paper's unless given.
        name: how messages and activation figures call the block, SE_stage_block in the paper.
        settings: of the config that are to be other ones: `SqueezeExcite(64, ratio=8)`.

    Raises:
        ValueError: a choice that is not in its table, or a ratio that leaves no hidden unit.
    """

    def __init__(
        self, channels: int, config: SEConfig | None = None, name: str = "SE", **settings: Any
    ) -> None:
        super().__init__()
        config = replace(config or SEConfig(), **settings)
        self.name, self.channels, self.config = name, channels, config
        squeeze = find_row("squeeze", config.squeeze, SQUEEZES)
        gate = find_row("gate", config.gate, GATES)
        self.excite = find_row("excitation", config.excitation, EXCITATIONS)(channels, config)
        self.blind = getattr(self.excite, "blind", False)
        if self.blind:  # only the shape is used: pool nothing
            squeeze = first_pixel
        rows = squeeze if isinstance(squeeze, tuple) else (squeeze,)
        self.squeeze = nn.ModuleList(_as_module(row, channels) for row in rows)
        self.gate = _as_module(gate, channels)

    def forward(self, x: Tensor) -> Tensor:
        u = pixels(x)  # (B, C, H, W) -> (B, HW, C)
        logits = sum(self.excite(squeeze(u)) for squeeze in self.squeeze)  # (B, C) or (B, HW, C)
        s = self.gate(logits)
        scaled = u * (s if s.dim() == 3 else s.unsqueeze(1))
        return scaled.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)  # (B, HW, C) -> (B, C, H, W)

    def extra_repr(self) -> str:
        return f"{self.name}, {self.channels} channels"


# -- other blocks in SE's place: channels -> Module that keeps (B, C, H, W) -------------------


class OtherBlock(nn.Module):
    """Holds a block that is not ours in the place of one, with the place's name and width."""

    def __init__(self, block: nn.Module, channels: int, name: str) -> None:
        super().__init__()
        self.block, self.channels, self.name = block, channels, name

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


def _from_timm(kind: str, channels: int) -> nn.Module:
    """Makes a block of timm.layers.create_attn, where timm is installed."""
    try:
        from timm.layers import create_attn  # pyright: ignore[reportPrivateImportUsage]
    except ImportError:
        raise ValueError(f"block 'timm_{kind}' needs timm: pip install timm") from None
    options = {"use_mlp": False} if kind == "ge" else {}  # its default does not build (timm 1.0.31)
    return cast(nn.Module, create_attn(kind, channels, **options))


TIMM = ("eca", "ese", "ge", "gc", "gca", "cbam", "lcbam", "coord", "ela")
BLOCKS: dict[str, Callable] = {
    "se": SqueezeExcite,
    **{f"timm_{kind}": partial(_from_timm, kind) for kind in TIMM},
}


def new_block(channels: int, config: SEConfig, name: str) -> nn.Module:
    """Makes the block that a config asks for, for a place of this width.

    Raises ValueError, which names the place, where there can be none.
    """
    try:
        row = config.block if callable(config.block) else find_row("block", config.block, BLOCKS)
        if row is SqueezeExcite:
            return SqueezeExcite(channels, config, name)
        return OtherBlock(row(channels), channels, name)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def se_blocks(model: nn.Module) -> dict[str, SqueezeExcite]:
    """Finds the SE blocks of a network: name -> block, first to last.

    Raises ValueError where two have one name.
    """
    blocks: dict[str, SqueezeExcite] = {}
    for block in model.modules():
        if isinstance(block, SqueezeExcite):
            if block.name in blocks:
                raise ValueError(
                    f"two blocks are called {block.name!r}: give each a name of its own"
                )
            blocks[block.name] = block
    return blocks
