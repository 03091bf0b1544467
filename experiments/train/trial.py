"""Makes short trainings that are compared number by number: the checks of a GPU use them."""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from experiments.data.datasets import Arrays
from experiments.data.images import Images, shared
from experiments.records.config import Recipe, RunConfig
from experiments.train.checkpoint import GENERATORS, seed_all
from experiments.train.environment import pick_precision
from experiments.train.epoch import Captured, Eager, new_loop
from experiments.train.gpu import on_own_stream
from experiments.train.optimization import arithmetic, build_network, placed
from senet.config import SEConfig

SETS = "cifar10", "cifar100"  # names of data sets that two are made for


@dataclass(frozen=True)
class Size:
    """Says how much is computed.

    steps    of a training that is compared with another one
    cells    trainings that go on beside each other, and their steps
    threads  how many of them at a time
    images   to train on; the last batch of an epoch is a smaller one
    """

    steps: int
    cells: int
    cell_steps: int
    threads: int
    images: int
    batch: int


FULL = Size(steps=200, cells=40, cell_steps=20, threads=8, images=2000, batch=128)
SHORT = Size(steps=50, cells=8, cell_steps=20, threads=4, images=500, batch=64)


@dataclass(frozen=True)
class Trained:
    """Holds loss and mistakes of each step, then the weights; images a second of the later half."""

    numbers: list[Tensor]
    rate: float


def config_of(size: Size, cell: int = 0, precision: Any = "auto") -> RunConfig:
    """Makes a small training: two cells are two seeds of one, and four of one data set."""
    recipe = Recipe(name="check", iterations=size.steps, batch_size=size.batch, precision=precision,
                    lr=0.02 + 0.001 * (cell // 4), holdout=0, cutout=8)  # fmt: skip
    name, seed = SETS[cell // 2 % 2], cell % 2
    return RunConfig(
        dataset=name, network="resnet20", se=SEConfig(ratio=4), seed=seed, recipe=recipe
    )


def arrays_of(size: Size, name: str = SETS[0]) -> Arrays:
    """Draws random pixels, another set for each name."""
    random = np.random.default_rng(SETS.index(name))
    pixels = random.integers(0, 256, (size.images, 32, 32, 3), np.uint8)
    labels = random.integers(0, 10, size.images)
    return Arrays(name, pixels, labels, pixels[:8], labels[:8], (), f"{name}, {size.images}")


def training_steps(
    size: Size,
    device: str,
    of: Callable[..., Eager | Captured] = Captured,
    cell: int = 0,
    precision: str = "auto",
    deterministic: bool = True,
    tf32: bool = False,
) -> Iterator[Tensor]:
    """Yields the sums of each step of a training, and then its weights.

    `of` makes the loop; `deterministic` and `tf32` are flags that may be other than in a run.
    """
    config = config_of(size, cell, precision)
    images = shared(arrays_of(size, config.dataset), config.recipe, torch.device(device))[0]
    with GENERATORS:
        seed_all(config.seed)
        model = build_network(config)
    model = placed(model, device)
    autocast = arithmetic(device, pick_precision(precision, device))
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
    ours = of(model, images, config.recipe, size.steps, autocast)
    yield from _steps_of(ours, torch.Generator(device).manual_seed(config.seed), size.steps)
    yield from ours.model.state_dict().values()


def _steps_of(ours: Eager | Captured, random: torch.Generator, steps: int) -> Iterator[Tensor]:
    """Yields the sums of each step, over as many epochs as it takes."""
    done = 0
    while done < steps:
        for sums in islice(ours.epoch(random, done, 0), steps - done):
            done += 1
            yield sums


def trained(size: Size, device: str, *args: Any, **options: Any) -> Trained:
    """Makes the training of `begin` to its end, and measures its images a second."""
    values = training_steps(size, device, *args, **options)
    numbers, half = [], size.steps // 2
    for _ in range(half):
        numbers.append(next(values).clone())
    numbers[-1].tolist()  # waits for it
    began = time.perf_counter()
    for _ in range(half, size.steps):
        numbers.append(next(values).clone())
    numbers[-1].tolist()
    rate = (size.steps - half) * size.batch / (time.perf_counter() - began)
    numbers += [value.clone() for value in values]  # the loop goes on with them
    return Trained([number.cpu() for number in numbers], rate)


def apart(ours: Iterable[Tensor], theirs: Iterable[Tensor]) -> float:
    """Finds the largest difference between two lists of tensors: 0 where all bits are equal.

    It is a share of the largest number in its tensor. NaN is a difference.
    """
    most = 0.0
    for one, other in zip(ours, theirs, strict=True):
        if not torch.equal(one, other):
            scale = other.double().abs().max().clamp(min=1e-30)
            found = ((one.double() - other.double()).abs().max() / scale).item()
            most = found if found != found else max(most, found)
    return most


def in_threads(size: Size, device: str, threads: int, cells: Iterable[int]) -> list[Trained]:
    """Trains cells beside each other, as runs that share a process: each thread has its own stream.

    A thread keeps its loop for the next seed.
    """
    one = Size(**{**vars(size), "steps": size.cell_steps})

    def train(cell: int) -> Trained:
        torch.set_num_threads(1)  # of each thread, as where runs share a process
        with on_own_stream(torch.device(device)):
            return trained(one, device, kept(config_of(one, cell)), cell)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(train, cells))


def kept(config: RunConfig) -> Callable[..., Eager | Captured]:
    """Returns a function that makes a captured run's loop, which its thread keeps."""

    def loop(
        model: torch.nn.Module, images: Images, recipe: Recipe, steps: int, autocast
    ) -> Eager | Captured:
        return new_loop("captured", config, model, images, steps, autocast)

    return loop


class HostReads(TorchDispatchMode):
    """Raises RuntimeError at an operation that brings a number to Python, or from it."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if any(word in str(function) for word in ("_local_scalar", "nonzero", "lift_fresh")):
            raise RuntimeError(f"{function} waits for the host")
        return function(*args, **kwargs or {})


def refusing_to_wait(device: str) -> AbstractContextManager:
    """Returns a context in which RuntimeError is raised where Python waits for the device."""
    return _refusing_on_gpu() if "cuda" in device else HostReads()


@contextmanager
def _refusing_on_gpu() -> Iterator[None]:
    """Raises RuntimeError where Python waits for the GPU."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
