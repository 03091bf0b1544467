"""A GPU that is not there: what torch.cuda hands out and refuses, and tensors without numbers.

Streams come from a pool of 32, in turn, as torch's do. Nothing is computed: tensors on "cuda" are
torch's fake ones (torch._subclasses.fake_tensor), which have a shape and a device. The one thing
that torch refuses without a GPU is a backward pass: the gradients come from nowhere.
"""

import itertools
import threading
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from copy import copy

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from experiments.data.images import Images

# Of the operations of a step, the one whose fake torch lacks: it changes its arguments in place.
FAKES = torch.library.Library("aten", "IMPL", "Meta")
FAKES.impl("_fused_sgd_.tensor_lr", lambda *args, **kwargs: None)
POOL = 32
DEVICE = torch.device("cuda:0")


class Stream:
    """A number of the pool; who has taken it."""

    taken = itertools.count()

    def __init__(self, device: torch.device | None = None) -> None:
        self.number, self.thread = next(Stream.taken) % POOL, threading.get_ident()
        self.device = device

    def wait_stream(self, other: "Stream") -> None:
        pass

    def synchronize(self) -> None:
        pass


class Graph:
    """Counts its replays."""

    def __init__(self) -> None:
        self.replays = 0

    def pool(self) -> tuple[int, int]:
        return (0, 1)

    def replay(self) -> None:
        self.replays += 1


def put_in(monkeypatch, recording: Callable = lambda *args, **kwargs: nullcontext()) -> None:
    """Has torch.cuda be this one until the test is over.

    Args:
        recording: stands for torch.cuda.graph, which captures.
    """
    default = Stream()

    @contextmanager
    def current(stream):
        yield

    put = {
        "Stream": Stream, "CUDAGraph": Graph, "graph": recording, "stream": current,
        "current_stream": lambda device=None: default, "set_device": lambda device: None,
        "synchronize": lambda device=None: None,
    }  # fmt: skip
    for name, value in put.items():
        monkeypatch.setattr(torch.cuda, name, value)


def without_backward(monkeypatch, model: torch.nn.Module) -> None:
    """Has a backward pass of anything leave a gradient to each parameter of the model."""

    def backward(loss: torch.Tensor) -> None:
        for parameter in model.parameters():
            parameter.grad = torch.empty_like(parameter)

    monkeypatch.setattr(torch.Tensor, "backward", backward)


def faked(images: Images) -> Images:
    """The same images as fake tensors on the GPU. To be called within a FakeTensorMode."""
    there = copy(images)
    there.device = DEVICE
    for name in ("pixels", "labels", "scale", "shift"):
        real = getattr(images, name)
        setattr(there, name, torch.empty(real.shape, dtype=real.dtype, device=DEVICE))
    return there


__all__ = [
    "DEVICE", "POOL", "FakeTensorMode", "Graph", "Stream", "faked", "put_in", "without_backward",
]  # fmt: skip
