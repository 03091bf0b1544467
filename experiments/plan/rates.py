"""Measures how fast several runs train beside each other on one GPU."""

import time
from contextlib import nullcontext

import numpy as np
import torch

from experiments.data.images import Images
from experiments.records.config import RunConfig
from experiments.train.devices import STREAMS
from experiments.train.environment import pick_precision
from experiments.train.epoch import Captured
from experiments.train.gpu import allow_streams
from experiments.train.optimization import arithmetic, build_network, placed

MOST = STREAMS  # runs at a time, each on a stream of its own
STEPS = 50  # of each run, timed
WORTH = 1.05  # the least gain in speed for which the number of runs is doubled
SPARE = 0.2  # of the GPU's memory: for evaluations, and for larger cells of the grid


def rates(config: RunConfig, device: str, most: int = MOST) -> dict[int, float]:
    """Measures images a second of 1, 2, 4, ... runs at once, until there is no gain or room."""
    allow_streams(most)
    found: dict[int, float] = {}
    runs: list[tuple[Captured, torch.Generator]] = []
    images = _some_images(config, device)
    while (count := 2 * len(runs) or 1) <= most:
        try:
            while len(runs) < count:
                runs.append(_begun(config, images, device))
            found[count] = rate(runs, config.recipe.batch_size)
        except torch.OutOfMemoryError:
            break
        if not has_room(device) or found[count] < WORTH * found.get(count // 2, 0.0):
            break
    return found


def best(found: dict[int, float]) -> int:
    """Picks how many runs train the most images: the smaller number where it hardly matters."""
    return min((n for n in found if WORTH * found[n] >= max(found.values())), default=1)


def _some_images(config: RunConfig, device: str) -> Images:
    """Makes a batch of black images: their values change no time."""
    number = config.recipe.batch_size
    black = np.zeros((number, 32, 32, 3), np.uint8)
    labels = np.zeros(number, np.int64)
    return Images(black, labels, (0.0,) * 3, (1.0,) * 3, torch.device(device), padded=True)


def _begun(config: RunConfig, images: Images, device: str) -> tuple[Captured, torch.Generator]:
    """Begins a run: its step is captured then."""
    model = placed(build_network(config), device)
    autocast = arithmetic(device, pick_precision(config.recipe.precision, device))
    stream = torch.cuda.Stream(device) if images.device.type == "cuda" else None
    ours = Captured(model, images, config.recipe, STEPS + 1, autocast, stream)
    random = torch.Generator(device)
    next(ours.epoch(random, 0, 0))  # captures
    return ours, random


def rate(runs: list[tuple[Captured, torch.Generator]], batch_size: int) -> float:
    """Measures images a second of runs that go on side by side, each on a stream of its own."""
    wait(runs)
    began = time.perf_counter()
    for step in range(STEPS):
        for run, _ in runs:
            with torch.cuda.stream(run.stream) if run.stream else nullcontext():
                run.step.fill_(step)
                run.batch.zero_()
                run.launch(batch_size)
    wait(runs)
    return STEPS * batch_size * len(runs) / (time.perf_counter() - began)


def wait(runs: list[tuple[Captured, torch.Generator]]) -> None:
    """Waits for all that is under way."""
    for run, _ in runs:
        if run.stream:
            torch.cuda.current_stream(run.images.device).synchronize()
            run.stream.synchronize()


def has_room(device: str) -> bool:
    """Tells whether the GPU's memory would hold as many runs again, and something to spare."""
    if "cuda" not in device:
        return True
    free, everything = torch.cuda.mem_get_info(device)
    return free > everything - free + SPARE * everything
