"""Defines the excitations: descriptors (..., C) become logits (..., C) (Hu et al., eq. 3).

Each is a class `(channels, config) -> Module`, a row of EXCITATIONS.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from senet.config import SEConfig, find_row

BIASES = {"none": (False, False), "both": (True, True), "second": (False, True)}


class Bottleneck(nn.Module):
    """Computes W2 relu(W1 z): W1 of shape (C // r, C), W2 of shape (C, C // r) (eq. 3)."""

    def __init__(self, channels: int, config: SEConfig) -> None:
        super().__init__()
        hidden = channels // config.ratio
        if hidden == 0:
            raise ValueError(
                f"ratio {config.ratio} leaves no hidden unit for {channels} channels: "
                f"the largest ratio that works is {channels}"
            )
        first, second = find_row("bias", config.bias, BIASES)
        self.reduce = nn.Linear(channels, hidden, bias=first)
        self.expand = nn.Linear(hidden, channels, bias=second)

    def forward(self, z: Tensor) -> Tensor:
        return self.expand(F.relu(self.reduce(z)))


class Full(nn.Module):
    """Computes W z with W of shape (C, C): one layer, and no hidden one."""

    def __init__(self, channels: int, config: SEConfig) -> None:
        super().__init__()
        self.weight = nn.Linear(channels, channels, bias=False)

    def forward(self, z: Tensor) -> Tensor:
        return self.weight(z)


class Diagonal(nn.Module):
    """Computes w * z with w of shape (C,): each channel decides for itself."""

    def __init__(self, channels: int, config: SEConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels).uniform_(-1, 1))  # a layer of one input

    def forward(self, z: Tensor) -> Tensor:
        return self.weight * z


class Convolution(nn.Module):
    """Convolves along the channels (ECA, Wang et al. 2020): k = |log2(C) / 2 + 1/2|, made odd."""

    def __init__(self, channels: int, config: SEConfig) -> None:
        super().__init__()
        k = int(abs(math.log2(channels) / 2 + 0.5))
        k += 1 - k % 2
        self.conv = nn.Conv1d(1, 1, k, padding=k // 2, bias=False)

    def forward(self, z: Tensor) -> Tensor:
        rows = z.reshape(-1, 1, z.shape[-1])  # (..., C) -> (rows, 1, C)
        return self.conv(rows).view_as(z)


class Nothing(nn.Module):
    """Takes the descriptor itself as the logit. No parameters."""

    def __init__(self, channels: int, config: SEConfig) -> None:
        super().__init__()

    def forward(self, z: Tensor) -> Tensor:
        return z


class Constant(Nothing):
    """Gives the logit 0, always: a sigmoid gate fixed at 1/2. No parameters."""

    blind = True  # does not look at the image

    def forward(self, z: Tensor) -> Tensor:
        return torch.zeros_like(z)


class Static(Constant):
    """Gives a learned logit per channel, zero at the start, the same for every image."""

    def __init__(self, channels: int, config: SEConfig) -> None:
        super().__init__(channels, config)
        self.logit = nn.Parameter(torch.zeros(channels))

    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z) + self.logit


EXCITATIONS: dict[str, Callable[[int, SEConfig], nn.Module]] = {
    "bottleneck": Bottleneck,
    "full": Full,
    "diagonal": Diagonal,
    "conv1d": Convolution,
    "none": Nothing,
    "static": Static,
    "constant": Constant,
}
