"""One step of training: network, optimiser, learning rate, and what a batch does to them."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.data.datasets import DATASETS
from experiments.records.config import Recipe, RunConfig
from experiments.train.gpu import set_flags
from senet.fast.fused import fused
from senet.networks import build

# The learning rate as a share of the recipe's, from (step, steps in all, recipe), without warm-up.
SCHEDULES: dict[str, Callable[[int, int, Recipe], float]] = {
    # from a fifth up over the first quarter, then down to zero: two straight lines
    "onecycle": lambda step, steps, recipe: min(
        0.2 + 0.8 * step / max(1, 0.25 * steps), (steps - step) / max(1, 0.75 * steps)
    ),
    # multiplied by `drop` at each milestone (He et al. 2015, section 4.2)
    "steps": lambda step, steps, recipe: (
        recipe.drop ** sum(step >= m * steps / length(recipe) for m in recipe.milestones)
    ),
    # half a cosine down to zero (Loshchilov and Hutter 2017)
    "cosine": lambda step, steps, recipe: (1 + math.cos(math.pi * step / steps)) / 2,
}


def length(recipe: Recipe) -> int:
    """Returns the length of a training, in the unit in which it is given."""
    return recipe.epochs or recipe.images or recipe.iterations


def learning_rate(step: int, steps: int, recipe: Recipe) -> float:
    share = 0.1 if step < recipe.warmup else SCHEDULES[recipe.schedule](step, steps, recipe)
    return recipe.lr * share


def build_network(config: RunConfig) -> nn.Module:
    """The network that a config describes. Raises ValueError where it cannot be."""
    return build(
        config.network,
        se=config.se,
        classes=DATASETS[config.dataset].classes,
        width=config.width,
        shortcut=config.shortcut,
        stride_on=config.stride_on,
        branch_scale=config.branch_scale,
    )


def new_optimizer(model: nn.Module, recipe: Recipe, **options: bool) -> torch.optim.SGD:
    return torch.optim.SGD(
        model.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
        **options,
    )


def total_steps(recipe: Recipe, images: int) -> int:
    """Steps of a whole training; the last batch of an epoch may be a smaller one."""
    if recipe.epochs:
        return recipe.epochs * math.ceil(images / recipe.batch_size)
    return recipe.iterations or math.ceil(recipe.images / recipe.batch_size)


def arithmetic(device: str, precision: str) -> torch.autocast:
    """What a forward pass is computed in: "fp32" or "bf16". Sets the flags of the process, too."""
    set_flags()
    return torch.autocast(device.split(":")[0], torch.bfloat16, enabled=precision == "bf16")


def new_forward(model: nn.Module, step: str) -> nn.Module:
    """How the network is computed: "plain", as it is, or "fused", equal to it but for rounding."""
    return fused(model) if step == "fused" else model


def train_step(
    forward: Callable[[Tensor], Tensor],
    optimizer: torch.optim.SGD,
    x: Tensor,
    y: Tensor,
    lr: float | Tensor,
    autocast: torch.autocast,
) -> Tensor:
    """One step of SGD on images (B, 3, H, W) and labels (B,).

    Returns its (loss summed over the batch, number of mistakes), on the device: not waited for.
    """
    for group in optimizer.param_groups:
        group["lr"] = lr
    with autocast:
        logits = forward(x)
    loss = F.cross_entropy(logits.float(), y)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return torch.stack([loss.detach() * len(y), (logits.argmax(1) != y).sum()])
