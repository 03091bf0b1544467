"""Reads of a trained network its errors, its gates, and what it loses without them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from experiments.data.images import Images
from experiments.records.gates import Block, Gates, Walk, spaced
from senet.block import SqueezeExcite, pixels
from senet.hooks import Hooks
from senet.interventions import REPLACEMENTS, replaced, stages_of
from senet.probe import GateHistograms, GateProbe, GateStatistics

# Images a batch in evaluation: few enough on a CPU that a layer stays in its cache.
EVAL_BATCH = {"cpu": 100, "cuda": 1000, "mps": 500}
WALKED = 6  # channels of the block that an image is followed through


def silent() -> None:
    """Does nothing: this is the sign of life where nobody needs one."""


@dataclass(frozen=True)
class Evaluation:
    """Says how good a network is on some images.

    loss         mean negative log-likelihood of the true class, nats
    error        wrong, %
    brier        mean over images of the squared distance of the probabilities from the truth,
                 summed over classes (Brier 1950): 0 to 2
    predictions  per image what predictions.npz holds
    """

    loss: float
    error: float
    brier: float
    predictions: dict[str, np.ndarray]


@torch.no_grad()
def evaluate(
    model: nn.Module,
    images: Images,
    autocast: torch.autocast,
    alive: Callable[[], None] = silent,
    probe: GateProbe | None = None,
) -> Evaluation:
    """Reads all images once, in their order.

    Calls `alive` after each batch; `probe`, if there is one, sees all images.
    """
    model.eval()
    loss, distance, parts = 0.0, 0.0, []
    for x, y in images.in_order(EVAL_BATCH[images.device.type]):
        with autocast:
            logits = probe(x, y) if probe else model(x)
        log_p: Tensor = logits.float().log_softmax(1)  # (B, classes)
        true = log_p.gather(1, y[:, None]).squeeze(1)
        best, predicted = log_p.max(1)
        loss -= true.sum()
        distance += (log_p.exp().square().sum(1) - 2 * true.exp() + 1).sum()
        parts.append((predicted, best.exp(), true.exp()))
        alive()
    predicted, best, true = (torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
    labels = images.labels.cpu().numpy()
    error = 100 * float(np.mean(predicted != labels))
    small = np.uint8 if max(predicted.max(), labels.max()) < 256 else np.uint16
    kept = {
        "predicted": predicted.astype(small),
        "probability": best.astype(np.float16),
        "true_probability": true.astype(np.float16),
        "label": labels.astype(small),
    }
    return Evaluation(float(loss) / len(images), error, float(distance) / len(images), kept)


def watch_epoch(
    model: nn.Module,
    images: Images,
    autocast: torch.autocast,
    alive: Callable[[], None] = silent,
) -> tuple[dict[str, float], dict[str, Any]]:
    """Measures what an epoch's row says of held-out images: loss, error, and the gates by stage."""
    with GateHistograms(model) as histograms:
        found = evaluate(model, images, autocast, alive)
    return {"val_loss": found.loss, "val_error": found.error}, histograms.by_stage()


def intervene(
    model: nn.Module,
    images: Images,
    autocast: torch.autocast,
    statistics: dict[str, GateStatistics],
    alive: Callable[[], None] = silent,
) -> dict[str, Any]:
    """Measures errors in % with replaced gates; {} where no gate looks at its input.

    Returns:
        images: how many were read.
        intact: the error on them as the network is.
        all: replacement -> error with the gates of all blocks replaced.
        stages: stage -> the same with those of one stage, where there are several.
    """
    stages = stages_of(model)
    if not stages:
        return {}
    means = {name: gates.overall()[0] for name, gates in statistics.items()}

    def errors(names: list[str]) -> dict[str, float]:
        found = {}
        for how in REPLACEMENTS:
            with replaced(model, how, {name: means[name] for name in names}):
                found[how] = evaluate(model, images, autocast, alive).error
        return found

    return {
        "images": len(images),
        "intact": evaluate(model, images, autocast, alive).error,
        "all": errors([name for names in stages.values() for name in names]),
        "stages": {s: errors(names) for s, names in stages.items()} if len(stages) > 1 else {},
    }


def class_shares(probe: GateProbe) -> dict[str, dict[str, float]]:
    """Computes what classes explain of the variance over images: of gates, and of what they see.

    Returns:
        "gates" and "squeezed" -> block -> the median channel's share, 0 to 1. Blocks that do not
        look at their input are left out, as are those of which nothing varies; {} where all are.
    """
    gates, squeezed = probe.statistics(), probe.squeezed()
    found = {name: (gates[name].class_share(), squeezed[name].class_share()) for name in squeezed}
    found = {name: both for name, both in found.items() if all(map(len, both))}
    if not found:
        return {}
    return {
        key: {name: float(f"{both[i].median().item():.6g}") for name, both in found.items()}
        for i, key in enumerate(("gates", "squeezed"))
    }


def gates_of(
    model: nn.Module,
    images: Images,
    autocast: torch.autocast,
    statistics: dict[str, GateStatistics],
    class_names: Sequence[str],
) -> Gates:
    """Collects what the probe saw of a network with SE blocks, for the record."""
    blocks = {}
    for name, gates in statistics.items():
        mean, std, between = (part.numpy() for part in gates.overall())
        channels = np.arange(gates.mean.shape[1])
        by_class = gates.mean.numpy(), gates.std.numpy()
        blocks[name] = Block(mean, std, between, channels, *by_class)
    seen = next(iter(statistics.values())).images.numpy()
    spread = {name: float(block.std.mean()) for name, block in blocks.items()}
    return Gates(list(class_names), seen, blocks, walk(model, images, autocast, spread))


@torch.no_grad()
def walk(
    model: nn.Module, images: Images, autocast: torch.autocast, spread: dict[str, float]
) -> Walk | None:
    """Follows the first image through the block whose gates vary most over images.

    None where no block looks at its input, or where each pixel has a gate of its own. `spread` maps
    each block to the mean over channels of its gates' standard deviation over images.
    """
    names = [name for some in stages_of(model).values() for name in some]
    if not names:
        return None
    name = max(names, key=lambda one: spread[one])
    block = next(b for b in model.modules() if isinstance(b, SqueezeExcite) and b.name == name)
    seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def keep(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        seen[module] = args[0], output

    x, y = next(images.in_order(EVAL_BATCH[images.device.type]))  # a whole batch: its neighbours
    with Hooks((block, keep), (block.gate, keep)), autocast:  # matter where a squeeze looks at them
        model.eval()(x)
    (maps, _), (_, gates) = seen[block], seen[block.gate]
    if gates.dim() == 3:
        return None
    z, s = block.squeeze[0](pixels(maps))[0], gates[0]
    order = s.float().argsort(descending=True)
    channels = order[spaced(len(s), min(WALKED, len(s)))]
    numbers = {"z": z, "s": s, "x": maps[0, channels]}
    return Walk(
        image=images.image(0),
        label=int(y[0]),
        block=name,
        channels=channels.cpu().numpy(),
        **{key: value.float().cpu().numpy() for key, value in numbers.items()},
    )
