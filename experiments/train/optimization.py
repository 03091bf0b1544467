"""Makes one step of training: network, optimiser, learning rate, and what a batch does to them."""

import math
from collections.abc import Callable
from inspect import unwrap

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.data.datasets import DATASETS
from experiments.records.config import Recipe, RunConfig
from experiments.train.gpu import set_flags
from senet.fast.fused import fused
from senet.networks import build


def build_network(config: RunConfig) -> nn.Module:
    """Builds the network that a config describes. Raises ValueError where it cannot be."""
    return build(
        config.network,
        se=config.se,
        classes=DATASETS[config.dataset].classes,
        width=config.width,
        shortcut=config.shortcut,
        stride_on=config.stride_on,
        branch_scale=config.branch_scale,
    )


def placed(model: nn.Module, device: str) -> nn.Module:
    """Moves a network to a device, its weights channels last, and makes it ready for training."""
    return model.to(device).to(memory_format=torch.channels_last).train()


class SGD(torch.optim.SGD):
    """Computes what torch's SGD does, and leaves torch's compiler out.

    Torch wraps these methods for a step that is compiled: they import `torch._dynamo`, which takes
    as long as torch itself. No step of ours is compiled.
    """

    add_param_group = unwrap(torch.optim.SGD.add_param_group)
    load_state_dict = unwrap(torch.optim.SGD.load_state_dict)
    state_dict = unwrap(torch.optim.SGD.state_dict)
    step = torch.no_grad()(unwrap(torch.optim.SGD.step))
    zero_grad = unwrap(torch.optim.SGD.zero_grad)


def new_optimizer(model: nn.Module, recipe: Recipe, **options: bool) -> SGD:
    """Makes the optimiser of a recipe; `options` are those of torch's."""
    return SGD(
        model.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
        **options,
    )


def total_steps(recipe: Recipe, images: int) -> int:
    """Counts the steps of a whole training; the last batch of an epoch may be a smaller one."""
    if recipe.epochs:
        return recipe.epochs * math.ceil(images / recipe.batch_size)
    return recipe.iterations or math.ceil(recipe.length / recipe.batch_size)


def arithmetic(device: str, precision: str) -> torch.autocast:
    """Makes what a forward pass is computed in, "fp32" or "bf16"; sets the process's flags, too."""
    set_flags()
    return torch.autocast(device.split(":")[0], torch.bfloat16, enabled=precision == "bf16")


def new_forward(model: nn.Module, step: str) -> nn.Module:
    """Returns what computes the network: "fused", equal to it but for rounding, else itself."""
    return fused(model) if step == "fused" else model


def train_step(
    forward: Callable[[Tensor], Tensor],
    optimizer: torch.optim.SGD,
    x: Tensor,
    y: Tensor,
    lr: float | Tensor,
    autocast: torch.autocast,
) -> Tensor:
    """Makes one step of SGD on images (B, 3, H, W) and labels (B,).

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
