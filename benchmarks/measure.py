"""Defines what is timed: each function returns one that does some work, and says how much.

A case runs in a process of its own that knows nothing of the others. Images have random pixels:
their values change no time.
"""

import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.data.images import Images
from experiments.records.config import Recipe
from experiments.records.parsing import parse
from experiments.train.environment import keep_freed_memory, peak_memory, pick_precision
from experiments.train.epoch import Captured
from experiments.train.gpu import allow_streams
from experiments.train.optimization import arithmetic, new_forward, new_optimizer, train_step
from senet.config import SEConfig
from senet.networks import build

BATCH = 128  # unless a case says otherwise
WARM_UP = 3  # times: caches, the first blocks of memory, and what is compiled
MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
Work = Callable[[], int]  # does some of it, and returns how many images that were


def pictures(number: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (number, 32, 32, 3), dtype=np.uint8)
    return images, random.integers(0, 10, number)


def network(name: str, se: dict[str, Any] | None) -> nn.Module:
    torch.manual_seed(0)
    return build(name, se=None if se is None else SEConfig(**se), classes=10)


def endless(batches: Callable[[], Any]):
    while True:
        yield from batches()


# What the usual loop lacks of ours, from one rung of the ladder to the next.
ADDED = ("bf16", "channels last", "allocator", "input")

# -- the usual loop: a DataLoader of torchvision's transforms, float32, eager ------------------


class Pictures(torch.utils.data.Dataset):
    """Makes images as torchvision's CIFAR10 does: a PIL image, its transforms called one by one."""

    def __init__(self, number: int) -> None:
        from torchvision import transforms

        self.images, self.labels = pictures(number)
        self.transform = transforms.Compose([
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ])  # fmt: skip

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def loader(workers: int) -> torch.utils.data.DataLoader:
    options = {"persistent_workers": True} if workers else {}
    return torch.utils.data.DataLoader(
        Pictures(20_000), BATCH, shuffle=True, num_workers=workers, drop_last=True, **options
    )


def usual(
    device: str, threads: int, name: str, se: dict[str, Any] | None, workers: int, *changes: str
) -> Work:
    """Makes the loop of most projects, with some of ADDED, or "compiled"; `workers` load images."""
    torch.set_num_threads(threads)
    if "allocator" in changes:
        keep_freed_memory()
    form = torch.channels_last if "channels last" in changes else torch.contiguous_format
    model = network(name, se).to(device, memory_format=form)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    forward = torch.compile(model) if "compiled" in changes else model
    autocast = arithmetic(device, "bf16" if "bf16" in changes else "fp32")
    batches = our_batches(device) if "input" in changes else endless(loader(workers).__iter__)

    def work() -> int:
        x, y = (part.to(device) for part in next(batches))
        with autocast:
            logits = forward(x.contiguous(memory_format=form))
        loss = F.cross_entropy(logits.float(), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()  # as its progress bar does
        return len(y)

    return work


# -- ours -------------------------------------------------------------------------------------


def ours(
    device: str, threads: int, name: str, se: dict[str, Any] | None, step: str, batch: int = BATCH
) -> Work:
    torch.set_num_threads(threads)
    keep_freed_memory()
    recipe = parse(Recipe, {"name": "benchmark", "epochs": 1})
    model = network(name, se).to(device, memory_format=torch.channels_last)
    optimizer, forward = new_optimizer(model, recipe), new_forward(model, step)
    autocast = arithmetic(device, pick_precision("auto", device))
    batches = our_batches(device, batch)

    def work() -> int:
        x, y = next(batches)
        train_step(forward, optimizer, x, y, 0.1, autocast)
        return len(y)

    return work


def captured(device: str, threads: int, name: str, se: dict[str, Any] | None, runs: int) -> Work:
    """Makes several runs side by side, each as `ours`, captured, on a stream of its own."""
    torch.set_num_threads(threads)
    allow_streams(runs)
    recipe = parse(Recipe, {"name": "benchmark", "epochs": 1, "batch_size": BATCH})
    images = our_images(device)
    steps = len(images) // BATCH
    lines = []
    for _ in range(runs):
        model = network(name, se).to(device, memory_format=torch.channels_last).train()
        autocast = arithmetic(device, pick_precision("auto", device))
        loop = Captured(model, images, recipe, steps, autocast)
        lines.append(endless(partial(loop.epoch, torch.Generator(device), 0, 0)))
    is_gpu = "cuda" in device
    streams = [torch.cuda.stream(torch.cuda.Stream()) if is_gpu else nullcontext() for _ in lines]

    def work() -> int:
        for line, stream in zip(lines, streams, strict=True):
            with stream:
                next(line)
        return BATCH * runs

    return work


def our_images(device: str) -> Images:
    number = 20_000 // BATCH * BATCH  # whole batches
    return Images(*pictures(number), MEAN, STD, torch.device(device), padded=True)


def our_batches(device: str, batch: int = BATCH):
    images = our_images(device)
    random = torch.Generator(device).manual_seed(0)
    return endless(partial(images.shuffled, batch, random))


# -- the input alone, and the limit -----------------------------------------------------------


def usual_input(device: str, threads: int, workers: int) -> Work:
    torch.set_num_threads(threads)
    batches = endless(loader(workers).__iter__)
    return lambda: len(next(batches)[1].to(device))


def our_input(device: str, threads: int) -> Work:
    torch.set_num_threads(threads)
    batches = our_batches(device)
    return lambda: len(next(batches)[1])


def convolutions(device: str, threads: int, name: str) -> Work:
    """Makes the convolutions of a network alone, forward and back: the limit of any loop."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    precision = pick_precision("auto", device)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    model = network(name, None).to(device, dtype, memory_format=torch.channels_last)
    seen: list[tuple[nn.Conv2d, Tensor]] = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda conv, args, _: seen.append((conv, args[0])))
    x = torch.randn(BATCH, 3, 32, 32, dtype=dtype, device=device)
    with torch.no_grad():
        model(x.contiguous(memory_format=torch.channels_last))
    for module in model.modules():
        module._forward_hooks.clear()
    # The images themselves need no gradient.
    cases = [(c, x.detach().clone().requires_grad_(x.shape[1] > 3)) for c, x in seen]
    with torch.no_grad():
        grads = [torch.randn_like(conv(x)) for conv, x in cases]

    def work() -> int:
        for (conv, x), grad in zip(cases, grads, strict=True):
            conv(x).backward(grad)
            conv.weight.grad = x.grad = None
        return BATCH

    return work


KINDS = {f.__name__: f for f in (usual, ours, captured, usual_input, our_input, convolutions)}


def rate(
    kind: str, device: str, threads: int, args: tuple, seconds: float, barrier: Any, pipe: Any
) -> None:
    """Sends images a second and its peak of memory in MiB, of the GPU's where there is one.

    Over about so many seconds, begun together with its neighbours.
    """
    work = KINDS[kind](device, threads, *args)
    wait = torch.cuda.synchronize if "cuda" in device else lambda: None
    for _ in range(WARM_UP):
        work()
    wait()
    barrier.wait()
    began, images = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        images += work()
    wait()
    speed = images / (time.perf_counter() - began)
    host, *of_gpu = peak_memory(device).values()
    pipe.send((speed, of_gpu[0] if of_gpu else host))
    pipe.close()
