"""What a study will cost: parameters and operations by counting, time by measuring."""

import time
from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import nn

from experiments.config import ConfigError, RunConfig, checked
from experiments.datasets import DATASETS
from experiments.environment import pick_precision
from experiments.grid import Study
from experiments.record import Record, read_json
from experiments.train import build_network
from senet.cost import Cost, cost
from senet.own import load_own

FORWARD = 0.3  # an image that is only evaluated takes about so much of one that is trained on
STEPS = 2  # measured ones, after one that warms up
BATCH = 32


def check(studies: Iterable[Study]) -> None:
    """Builds every network once, on no device.

    Raises ConfigError where a cell cannot be built, and names it.
    """
    for _, network in networks(studies):
        del network


def prices(studies: Iterable[Study]) -> dict[str, Cost]:
    """Cell -> its cost."""
    with torch.device("meta"):
        return {config.cell: cost(network) for config, network in networks(studies)}


def networks(studies: Iterable[Study]) -> Iterator[tuple[RunConfig, nn.Module]]:
    """The different cells of some studies and their networks, on the meta device."""
    seen = set()
    for study in studies:
        if study.code:
            checked(load_own, study.code)
        for cell in study.cells:
            if cell.config.cell in seen:
                continue
            seen.add(cell.config.cell)
            try:
                with torch.device("meta"):
                    network = build_network(cell.config)
            except (ValueError, RuntimeError, OverflowError) as error:
                where = f"grid {study.grid_name!r}, row {cell.label!r}"
                raise ConfigError(f"{where}: {str(error).splitlines()[0]}") from None
            yield cell.config, network


def seconds(records: Iterable[Record], device: str) -> dict[Record, float]:
    """About how long each run takes on one worker.

    From another seed of the same cell where one is done, else from a few steps that are measured
    once for each network with and without SE.
    """
    pace: dict[tuple, float] = {}
    result: dict[Record, float] = {}
    for record in records:
        config = record.config
        siblings = sorted(record.path.parent.glob("seed*/summary.json"))
        if siblings:
            result[record] = read_json(siblings[0].with_name("env.json"))["seconds"]
            continue
        kind = config.network, config.width, config.se is not None
        if kind not in pace:
            pace[kind] = probe(config, device)
        result[record] = pace[kind] * workload(config)
    return result


def workload(config: RunConfig) -> float:
    """Images that a run trains on in all, evaluated ones counted at their share."""
    recipe, source = config.recipe, DATASETS[config.dataset]
    train, test = source.train, source.test
    images = min(train - recipe.holdout, recipe.train_images or train)
    epochs = recipe.epochs or recipe.iterations * recipe.batch_size / images
    curve = min(recipe.holdout, recipe.curve_images or train)
    return epochs * (images + FORWARD * curve) + FORWARD * min(test, recipe.test_images or test)


def probe(config: RunConfig, device: str) -> float:
    """Seconds that one image takes in training, measured on a few steps."""
    torch.set_num_threads(1)
    model = build_network(config).to(device, memory_format=torch.channels_last)
    x = torch.zeros(BATCH, 3, 32, 32, device=device).to(memory_format=torch.channels_last)
    y = torch.zeros(len(x), dtype=torch.long, device=device)
    bf16 = pick_precision(config.recipe.precision, device) == "bf16"
    for step in range(1 + STEPS):
        if step == 1:
            began = time.perf_counter()
        with torch.autocast(device.split(":")[0], torch.bfloat16, enabled=bf16):
            logits = model(x)
        F.cross_entropy(logits.float(), y).backward()
        _ = float(model.classifier.weight.grad.sum())  # waits for the device
    return (time.perf_counter() - began) / STEPS / len(x)
