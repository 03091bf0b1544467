"""What a run computes, in three losses: they change when the code computes something else."""

import math
from typing import Any

import torch

from experiments.data.datasets import Arrays
from experiments.data.images import Images, split
from experiments.records.config import RunConfig
from experiments.train.checkpoint import GENERATORS, seed_all
from experiments.train.environment import arithmetic_unit
from experiments.train.optimization import (
    arithmetic,
    build_network,
    learning_rate,
    new_optimizer,
    total_steps,
    train_step,
)

BATCHES = 3
IMAGES = 8  # of each batch


def fingerprint(config: RunConfig, arrays: Arrays) -> dict[str, Any]:
    """The losses of the first batches of a training with seed 0, in float32 on the CPU.

    Of each batch the first IMAGES only, which makes it a matter of a second. All seeds of a cell
    have one fingerprint. Seeds the generators anew.

    Returns:
        losses: BATCHES numbers, fewer where the training is shorter; None where one is not finite.
        on: the processor and the software, as rounding depends on them.
    """
    recipe, random = config.recipe, torch.Generator().manual_seed(0)
    training, _, _ = split(arrays, recipe, torch.device("cpu"))
    with GENERATORS:
        return {"losses": first_losses(config, training, random), "on": arithmetic_unit()}


def first_losses(
    config: RunConfig, training: Images, random: torch.Generator
) -> list[float | None]:
    seed_all(0)
    recipe = config.recipe
    model = build_network(config).to(memory_format=torch.channels_last).train()
    optimizer, autocast = new_optimizer(model, recipe), arithmetic("cpu", "fp32")
    steps, losses = total_steps(recipe, len(training)), []
    batches = training.shuffled(recipe.batch_size, random, recipe.cutout)
    for step, (x, y) in zip(range(min(BATCHES, steps)), batches, strict=False):
        x, y, lr = x[:IMAGES], y[:IMAGES], learning_rate(step, steps, recipe)
        loss, _ = train_step(model, optimizer, x, y, lr, autocast)
        losses.append(loss.item() / len(y))
    return [loss if math.isfinite(loss) else None for loss in losses]
