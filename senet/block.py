"""The Squeeze-and-Excitation block (Hu et al., arXiv 1709.01507v4, section 3).

    x (B, C, H, W) --squeeze--> z (B, C) --excitation--> logits (B, C) --gate--> s (B, C);  x * s

Each choice is a row of a table. A row is a function, or a factory `channels -> Module` where it
has weights of its own: a class, or a callable whose first parameter is called `channels`.
"""

import inspect
import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from senet.config import SEConfig, choose


def pixels(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, HW, C): a view when `x` is channels last.

    Reducing this view is several times faster in bf16 on a CPU than reducing over H and W, and
    its backward is deterministic on a GPU, unlike adaptive pooling's.
    """
    return x.permute(0, 2, 3, 1).flatten(1, 2)


# -- squeeze: (B, HW, C) -> (B, C); where nothing is squeezed, (B, HW, C) ---------------------


def average(pixels: Tensor) -> Tensor:
    """Eq. 2. A sum, as `mean` over this dimension copies bf16 to fp32 first on a CPU."""
    return pixels.sum(1) / pixels.shape[1]


def everything(pixels: Tensor) -> Tensor:
    return pixels


def first_pixel(pixels: Tensor) -> Tensor:
    return pixels[:, 0]


def average_of_another(pixels: Tensor) -> Tensor:
    """A control: the squeeze of the image before it in the batch, which says nothing of it."""
    return average(pixels).roll(1, 0)


maximum = partial(torch.amax, dim=1)

SQUEEZES: dict[str, Callable | tuple[Callable, ...]] = {
    "avg": average,  # global average pooling, eq. 2
    "max": maximum,  # global max pooling, Table 11
    "avgmax": (average, maximum),  # both through one bottleneck, their logits summed
    "none": everything,  # NoSqueeze, Table 16: one gate a pixel, the same parameters
    "another": average_of_another,
}


# -- excitation: descriptors (..., C) -> logits (..., C) --------------------------------------

BIASES = {"none": (False, False), "both": (True, True), "second": (False, True)}


class Bottleneck(nn.Module):
    """W2 relu(W1 z), W1 of shape (C // r, C) and W2 of shape (C, C // r) (eq. 3)."""

    def __init__(self, channels: int, config: SEConfig) -> None:
        super().__init__()
        hidden = channels // config.ratio
        if hidden == 0:
            raise ValueError(
                f"ratio {config.ratio} leaves no hidden unit for {channels} channels: "
                f"the largest ratio that works is {channels}"
            )
        first, second = choose("bias", config.bias, BIASES)
        self.reduce = nn.Linear(channels, hidden, bias=first)
        self.expand = nn.Linear(hidden, channels, bias=second)

    def forward(self, z: Tensor) -> Tensor:
        return self.expand(F.relu(self.reduce(z)))


class Full(nn.Module):
    """W z with W of shape (C, C): one layer, and no hidden one."""

    def __init__(self, channels: int, config: SEConfig) -> None:
        super().__init__()
        self.weight = nn.Linear(channels, channels, bias=False)

    def forward(self, z: Tensor) -> Tensor:
        return self.weight(z)


class Diagonal(nn.Module):
    """w * z with w of shape (C,): each channel decides for itself."""

    def __init__(self, channels: int, config: SEConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels).uniform_(-1, 1))  # a layer of one input

    def forward(self, z: Tensor) -> Tensor:
        return self.weight * z


class Convolution(nn.Module):
    """A 1-D convolution along the channels (ECA, Wang et al. 2020): k = |log2(C) / 2 + 1/2| odd."""

    def __init__(self, channels: int, config: SEConfig) -> None:
        super().__init__()
        k = int(abs(math.log2(channels) / 2 + 0.5))
        k += 1 - k % 2
        self.conv = nn.Conv1d(1, 1, k, padding=k // 2, bias=False)

    def forward(self, z: Tensor) -> Tensor:
        rows = z.reshape(-1, 1, z.shape[-1])  # (..., C) -> (rows, 1, C)
        return self.conv(rows).view_as(z)


class Nothing(nn.Module):
    """The descriptor is the logit. No parameters."""

    def __init__(self, channels: int, config: SEConfig) -> None:
        super().__init__()

    def forward(self, z: Tensor) -> Tensor:
        return z


class Static(nn.Module):
    """A learned logit per channel, zero at the start, that never looks at the image."""

    blind = True

    def __init__(self, channels: int, config: SEConfig) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.zeros(channels))

    def forward(self, z: Tensor) -> Tensor:
        return torch.zeros_like(z) + self.logit


class Constant(nn.Module):
    """The logit 0, for ever: a sigmoid gate fixed at 1/2. No parameters."""

    blind = True

    def __init__(self, channels: int, config: SEConfig) -> None:
        super().__init__()

    def forward(self, z: Tensor) -> Tensor:
        return torch.zeros_like(z)


EXCITATIONS: dict[str, Callable[[int, SEConfig], nn.Module]] = {
    "bottleneck": Bottleneck,
    "full": Full,
    "diagonal": Diagonal,
    "conv1d": Convolution,
    "none": Nothing,
    "static": Static,
    "constant": Constant,
}


# -- gate: logits (..., C) -> weights (..., C) ------------------------------------------------


def softmax(logits: Tensor) -> Tensor:
    return logits.softmax(-1)


def softmax_c(logits: Tensor) -> Tensor:
    return logits.softmax(-1) * logits.shape[-1]


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
    """A plain function as a module, so that a hook can read or replace what it returns."""

    def __init__(self, function: Callable) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def as_module(row: Callable, channels: int) -> nn.Module:
    """A row of SQUEEZES or GATES for this many channels (what a row may be: see the top)."""
    return row(channels) if makes_module(row) else Function(row)


def makes_module(row: Callable) -> bool:
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
        config: which squeeze, excitation, gate, ratio and bias.
        name: how messages and activation figures call the block, SE_stage_block in the paper.

    Raises:
        ValueError: a choice that is not in its table, or a ratio that leaves no hidden unit.
    """

    def __init__(self, channels: int, config: SEConfig | None = None, name: str = "SE") -> None:
        super().__init__()
        config = config or SEConfig()
        self.name, self.channels, self.config = name, channels, config
        squeeze = choose("squeeze", config.squeeze, SQUEEZES)
        gate = choose("gate", config.gate, GATES)
        self.excite = choose("excitation", config.excitation, EXCITATIONS)(channels, config)
        self.blind = getattr(self.excite, "blind", False)
        if self.blind:  # only the shape is used: pool nothing
            squeeze = first_pixel
        rows = squeeze if isinstance(squeeze, tuple) else (squeeze,)
        self.squeeze = nn.ModuleList(as_module(row, channels) for row in rows)
        self.gate = as_module(gate, channels)

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
    """A block that is not ours in the place of one, with the name and width of the place."""

    def __init__(self, block: nn.Module, channels: int, name: str) -> None:
        super().__init__()
        self.block, self.channels, self.name = block, channels, name

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


def from_timm(kind: str, channels: int) -> nn.Module:
    """A block of timm.layers.create_attn, where timm is installed."""
    try:
        from timm.layers import create_attn
    except ImportError:
        raise ValueError(f"block 'timm_{kind}' needs timm: pip install timm") from None
    options = {"use_mlp": False} if kind == "ge" else {}  # its default does not build (timm 1.0.31)
    return create_attn(kind, channels, **options)


TIMM = ("eca", "ese", "ge", "gc", "gca", "cbam", "lcbam", "coord", "ela")
BLOCKS: dict[str, Callable] = {
    "se": SqueezeExcite,
    **{f"timm_{kind}": partial(from_timm, kind) for kind in TIMM},
}


def new_block(channels: int, config: SEConfig, name: str) -> nn.Module:
    """The block that a config asks for at a place of this width."""
    row = config.block if callable(config.block) else choose("block", config.block, BLOCKS)
    if row is SqueezeExcite:
        return SqueezeExcite(channels, config, name)
    return OtherBlock(row(channels), channels, name)
