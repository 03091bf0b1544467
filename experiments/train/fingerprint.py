"""Computes the first three losses of a run, which change when the code computes something else."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from experiments.data.datasets import Arrays
from experiments.data.images import shared
from experiments.records.config import Recipe, RunConfig
from experiments.records.schedules import learning_rate
from experiments.records.study_file import Arithmetic
from experiments.train.checkpoint import GENERATORS, seed_all
from experiments.train.environment import arithmetic_unit, device_name, kernels_of
from experiments.train.epoch import Captured
from experiments.train.gpu import flags
from experiments.train.optimization import (
    arithmetic,
    build_network,
    new_forward,
    new_optimizer,
    placed,
    total_steps,
    train_step,
)

BATCHES = 3
IMAGES = 8  # of each batch
PLAIN = Arithmetic(precision="fp32", step="plain")


def fingerprint(config: RunConfig, arrays: Arrays) -> dict[str, Any]:
    """Computes the first losses of a training with seed 0, in float32 on the CPU.

    Of each batch the first IMAGES only, which makes it a matter of a second. All seeds of a cell
    have one fingerprint. Seeds the generators anew.

    Returns:
        losses: BATCHES numbers, fewer where the training is shorter; None where one is not finite.
        on: the processor and the software, as rounding depends on them.
    """
    return {"losses": _losses_of(config, arrays, "cpu", PLAIN), "on": arithmetic_unit()}


def step_fingerprint(
    config: RunConfig, arrays: Arrays, device: str, how: Arithmetic
) -> dict[str, Any]:
    """Computes the losses of `fingerprint` as the training does: device, precision and kernels.

    Of a captured step it runs what is captured (`Captured.once`), without a graph.

    Returns:
        losses: as of `fingerprint`.
        on: what rounding depends on, with the kernels of a fused step.
        device, precision, step: of the training; the device without a number.
    """
    kind = device.split(":")[0]
    losses = _losses_of(config, arrays, device, how)
    on = arithmetic_unit()
    if how.step == "fused":
        on += f", {kernels_of(how.step, how.step, device)}"
    if kind == "cuda":
        on += f", {device_name(device)[1]}, cuDNN {torch.backends.cudnn.version()}, {flags()}"
    return {"losses": losses, "on": on, "device": kind, **dict(how)}


def _losses_of(
    config: RunConfig, arrays: Arrays, device: str, how: Arithmetic
) -> list[float | None]:
    losses = _of_captured if how.step == "captured" else _of_eager
    with GENERATORS:
        seed_all(0)
        model = placed(build_network(config), device)
        found = list(losses(config.recipe, arrays, model, device, how))
    return [loss if math.isfinite(loss) else None for loss in found]


def _of_eager(
    recipe: Recipe, arrays: Arrays, model: nn.Module, device: str, how: Arithmetic
) -> Iterator[float]:
    training, _, _ = shared(arrays, recipe, torch.device("cpu"))
    steps = total_steps(recipe, len(training))
    forward, optimizer = new_forward(model, how.step), new_optimizer(model, recipe)
    autocast = arithmetic(device, how.precision)
    random = torch.Generator().manual_seed(0)
    batches = training.shuffled(recipe.batch_size, random, recipe.cutout)
    for step, (x, y) in zip(range(min(BATCHES, steps)), batches, strict=False):
        x, y = x[:IMAGES].to(device), y[:IMAGES].to(device)
        loss, _ = train_step(forward, optimizer, x, y, learning_rate(step, steps, recipe), autocast)
        yield loss.item() / len(y)


def _of_captured(
    recipe: Recipe, arrays: Arrays, model: nn.Module, device: str, how: Arithmetic
) -> Iterator[float]:
    training, _, _ = shared(arrays, recipe, torch.device(device))
    steps = total_steps(recipe, len(training))
    loop = Captured(model, training, recipe, steps, arithmetic(device, how.precision))
    loop.draw(torch.Generator(device).manual_seed(0))
    batches = -(-len(training) // recipe.batch_size)
    for number in range(min(BATCHES, steps, batches)):
        images = min(IMAGES, len(training) - number * recipe.batch_size)
        loop.once(images)
        yield loop.sums[0].item() / images
