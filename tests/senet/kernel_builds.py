"""The kernels of every compiler and width of vectors there is here, and what they are tried on."""

import ctypes
import shutil
from functools import cache
from unittest.mock import patch

import torch

from experiments.train.environment import processor
from senet.fast import kernels

DTYPES = list(kernels.TYPES)
# Instructions, one set for each width of vectors -> the flags of a processor that has them.
INSTRUCTIONS = {
    "native": set(),
    "x86-64-v3": {"avx2", "fma", "bmi2", "f16c"},
    "x86-64-v2": {"sse4_2", "popcnt"},
}
BUILDS = [
    (compiler, march)
    for compiler in ("c++", "clang++")
    for march, flags in INSTRUCTIONS.items()
    if shutil.which(compiler) and flags <= processor()[1]
]


@cache
def built(compiler: str, march: str) -> ctypes.CDLL:
    return ctypes.CDLL(kernels.compiled([compiler], march))


def of_build(build: tuple[str, str]):
    """Computes with the kernels of another compiler or other instructions."""
    return patch.object(kernels, "library", lambda: built(*build))


def maps(*shape: int, dtype=torch.float64, **options) -> torch.Tensor:
    x = 3 * torch.randn(shape, dtype=torch.float64) + 1
    x = x.to(dtype).contiguous(memory_format=torch.channels_last)
    return x.requires_grad_(**options)


def plainly(x, norm, block, shortcut, relu):
    y = x if norm is None else norm(x)
    y = y if block is None else block(y)
    y = y if shortcut is None else y + shortcut
    return y.relu() if relu else y
