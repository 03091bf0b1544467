"""One run, from the first batch to its record: `train` reads top to bottom."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.config import ConfigError, Recipe, RunConfig
from experiments.data import Images
from experiments.datasets import DATASETS, Arrays, load
from experiments.environment import peak_memory, pick_precision, provenance
from experiments.record import Record
from senet.cost import cost
from senet.networks import build
from senet.own import load_own

# Images a batch in evaluation: few enough on a CPU that a layer stays in its cache.
EVAL_BATCH = {"cpu": 100, "cuda": 1000, "mps": 500}

Report = Callable[[int, int, dict | None], None]  # (steps done, of all, the epoch's metrics)

# The learning rate as a share of the recipe's, from (step, steps in all, recipe).
SCHEDULES: dict[str, Callable[[int, int, Recipe], float]] = {
    # from a fifth up over the first quarter, then down to zero: two straight lines
    "onecycle": lambda step, steps, recipe: min(
        0.2 + 0.8 * step / max(1, 0.25 * steps), (steps - step) / max(1, 0.75 * steps)
    ),
    # divided by ten at each milestone (He et al. 2015, section 4.2)
    "steps": lambda step, steps, recipe: 0.1 ** sum(step >= m for m in recipe.milestones),
}


def train(
    config: RunConfig,
    record: Record,
    data_dir: Path,
    device: str = "cpu",
    report: Report = lambda step, steps, row: None,
) -> None:
    """Trains one network and writes its record.

    Args:
        config: what to train.
        record: where it is written.
        data_dir: holds the prepared data set.
        device: a torch device.
        report: is told after each step and after each epoch.
    """
    began, recipe = time.perf_counter(), config.recipe
    record.begin()
    arrays = load(config.dataset, data_dir)
    precision = pick_precision(recipe.precision, device)
    environment = provenance(device, precision) | {"data": arrays.fingerprint}
    record.write("env.json", environment)

    training, curve, test = split(arrays, recipe, torch.device(device))
    if config.code:
        load_own(record.code_path)
    torch.manual_seed(config.seed)
    model = build_network(config)
    price = asdict(cost(model, size=arrays.train_images.shape[1]))
    model = model.to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
    )
    autocast = torch.autocast(device.split(":")[0], torch.bfloat16, enabled=precision == "bf16")
    random = torch.Generator(device).manual_seed(config.seed)

    epoch, step, steps, row = 0, 0, total_steps(recipe, len(training)), {}
    while step < steps:
        epoch, epoch_began, seen = epoch + 1, time.perf_counter(), 0
        sums = torch.zeros(2, device=device)  # loss and errors, read once: never wait for a step
        model.train()
        for x, y in training.shuffled(recipe.batch_size, random, recipe.cutout):
            if step == steps:
                break
            for group in optimizer.param_groups:
                group["lr"] = recipe.lr * SCHEDULES[recipe.schedule](step, steps, recipe)
            with autocast:
                logits = model(x)
            loss = F.cross_entropy(logits.float(), y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            sums += torch.stack([loss.detach() * len(y), (logits.argmax(1) != y).sum()])
            step, seen = step + 1, seen + len(y)
            report(step, steps, None)
        loss, error = (sums / seen).tolist()
        seconds = time.perf_counter() - epoch_began
        row = {"epoch": epoch, "step": step, "lr": optimizer.param_groups[0]["lr"]}
        row |= {"train_loss": loss, "train_error": 100 * error}
        if curve is not None:
            row["val_loss"], row["val_error"], _ = evaluate(model, curve, autocast)
        finite = all(map(math.isfinite, row.values()))
        row = {key: value if math.isfinite(value) else None for key, value in row.items()}
        record.append("metrics.jsonl", row)
        record.append("timings.jsonl", {"epoch": epoch, "images": seen, "seconds": seconds})
        report(step, steps, row)
        if not finite:
            break

    # The only look at the test set; nothing was selected on it.
    test_loss, test_error, predictions = evaluate(model, test, autocast)
    done = finite and math.isfinite(test_loss)
    if done:
        record.write_predictions(**predictions)
    spent = {"seconds": time.perf_counter() - began, "peak_memory_mib": peak_memory()}
    record.write("env.json", environment | spent)
    summary = {
        "state": "done" if done else "diverged",
        "test_error": test_error if done else None,
        "test_loss": test_loss if done else None,
        "test_images": len(test),
        "val_error": row.get("val_error"),
        "train_error": row["train_error"],
        "train_images": len(training),
        "epochs": epoch,
        "steps": step,
        **price,
    }
    record.write("summary.json", summary)


def build_network(config: RunConfig) -> nn.Module:
    """The network that a config describes. Raises ValueError where it cannot be."""
    return build(
        config.network,
        se=config.se,
        classes=DATASETS[config.dataset].classes,
        width=config.width,
        shortcut=config.shortcut,
        stride_on=config.stride_on,
    )


def held_out(arrays: Arrays, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the images to train on, and of those that the curves are drawn on.

    Which are held out is drawn once for all seeds: it depends on how many images there are.

    Raises:
        ConfigError: the data set has too few.
    """
    order = np.random.default_rng(1709_01507).permutation(len(arrays.train_labels))
    available = max(0, len(order) - recipe.holdout)
    limits = {
        "holdout": len(order) - 1,
        "train_images": available,
        "test_images": len(arrays.test_labels),
    }
    for name, limit in limits.items():
        if (getattr(recipe, name) or 0) > limit:
            raise ConfigError(
                f"recipe.{name} {getattr(recipe, name)}: {arrays.name} has {len(order)} training "
                f"and {len(arrays.test_labels)} test images, of which {limit} are left for it"
            )
    training = order[:available][: recipe.train_images]
    return training, order[available:][: recipe.curve_images]


def split(
    arrays: Arrays, recipe: Recipe, device: torch.device
) -> tuple[Images, Images | None, Images]:
    """The training images, those of the curves (None without a holdout), and the test images."""
    training, curve = held_out(arrays, recipe)
    source = DATASETS[arrays.name]

    def images(pixels: np.ndarray, labels: np.ndarray, padded: bool = False) -> Images:
        return Images(pixels, labels, source.mean, source.std, device, padded)

    return (
        images(arrays.train_images[training], arrays.train_labels[training], padded=True),
        images(arrays.train_images[curve], arrays.train_labels[curve]) if len(curve) else None,
        images(arrays.test_images[: recipe.test_images], arrays.test_labels[: recipe.test_images]),
    )


def total_steps(recipe: Recipe, images: int) -> int:
    """Steps of a whole training; the last batch of an epoch may be a smaller one."""
    return recipe.iterations or recipe.epochs * math.ceil(images / recipe.batch_size)


@torch.no_grad()
def evaluate(
    model: nn.Module, images: Images, autocast: torch.autocast
) -> tuple[float, float, dict[str, np.ndarray]]:
    """Mean loss, error in %, and per image the predicted class, its probability, the true one's."""
    model.eval()
    loss, parts = 0.0, []
    for x, y in images.in_order(EVAL_BATCH[images.device.type]):
        with autocast:
            logits = model(x)
        log_p: Tensor = logits.float().log_softmax(1)  # (B, classes)
        true = log_p.gather(1, y[:, None]).squeeze(1)
        best, predicted = log_p.max(1)
        loss -= true.sum()
        parts.append((predicted, best.exp(), true.exp()))
    predicted, best, true = (torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
    error = 100 * float(np.mean(predicted != images.labels.cpu().numpy()))
    small = np.uint8 if predicted.max() < 256 else np.uint16
    return (
        float(loss) / len(images),
        error,
        {
            "predicted": predicted.astype(small),
            "probability": best.astype(np.float16),
            "true_probability": true.astype(np.float16),
        },
    )
