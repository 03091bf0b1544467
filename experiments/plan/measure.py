"""Finds out of a network, by building it, whether it can be, what it costs and how fast it is."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from experiments.plan.estimate import images_of
from experiments.plan.rates import rates
from experiments.records.config import RunConfig
from experiments.records.parsing import ConfigError, checked
from experiments.records.record import Record
from experiments.records.study_file import UNSETTLED, Arithmetic
from experiments.study.study import StudyDesign
from experiments.train.arithmetic import pick_arithmetic
from experiments.train.environment import keep_freed_memory
from experiments.train.epoch import draws_nothing
from experiments.train.optimization import (
    arithmetic,
    build_network,
    new_forward,
    new_optimizer,
    placed,
    train_step,
)
from senet.cost import Cost, cost
from senet.custom import load_own

STEPS = 2  # measured ones, after one that warms up


def check(studies: Iterable[StudyDesign]) -> int:
    """Builds every network once, on no device, and returns how many there are.

    Raises ConfigError where a cell cannot be built, and names it.
    """
    return len(_for_each_network(studies, lambda network: None))


def prices(studies: Iterable[StudyDesign]) -> dict[str, Cost]:
    """Returns cell -> its cost. Raises ConfigError as `check` does."""
    studies = list(studies)
    counted = _for_each_network(studies, cost)
    configs = [cell.config for study in studies for cell in study.cells]
    return {config.cell: counted[architecture(config)] for config in configs}


def architecture(config: RunConfig) -> tuple:
    """Returns what the network depends on, of all that a run depends on."""
    trunk = config.network, config.width, config.shortcut, config.stride_on, config.branch_scale
    return config.dataset, *trunk, config.se, config.code


def _for_each_network(studies: Iterable[StudyDesign], function: Callable[[nn.Module], Any]) -> dict:
    """Returns architecture -> function(its network, on the meta device); each is built once."""
    results = {}
    for study in studies:
        if study.code:
            checked(load_own, study.code)
        # Somebody's own block may raise anything; where ours does, the traceback is needed.
        expected = Exception if study.code else (ValueError, RuntimeError, OverflowError)
        for cell in study.cells:
            which = architecture(cell.config)
            if which in results:
                continue
            try:
                with torch.device("meta"):
                    results[which] = function(build_network(cell.config))
            except expected as error:
                where = f"grid {study.grid_name!r}, row {cell.label!r}"
                sentence = (str(error).strip() or type(error).__name__).splitlines()[0]
                kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
                raise ConfigError(f"{where}: {kind}{sentence}") from None
    return results


def probe_run(record: Record, device: str) -> float:
    """Measures the seconds that one image of a run takes in training, on a few steps."""
    keep_freed_memory()  # as a run does
    if record.config.code:
        load_own(record.code_path)
    return probe(record.config, device, record.arithmetic)


def probe(config: RunConfig, device: str, begun: Arithmetic = UNSETTLED) -> float:
    """Measures the seconds that one image takes in training, on a few steps of a run's own size.

    Raises Unfit where this machine cannot compute as the study was `begun`.
    """
    torch.set_num_threads(1)
    recipe = config.recipe
    own = pick_arithmetic(recipe, begun, device)
    if own.step == "captured" and draws_nothing(config):
        own_recipe = recipe.model_copy(update=dict(own))
        found = rates(config.model_copy(update={"recipe": own_recipe}), device, most=1)
        if found:  # else there is no room for it here
            return 1 / found[1]
    model = placed(build_network(config), device)
    number = min(config.recipe.batch_size, images_of(config))
    x = torch.zeros(number, 3, 32, 32, device=device).to(memory_format=torch.channels_last)
    y = torch.zeros(len(x), dtype=torch.long, device=device)
    autocast = arithmetic(device, own.precision)
    forward, optimizer = new_forward(model, own.step), new_optimizer(model, recipe)
    for step in range(1 + STEPS):
        if step == 1:
            began = time.perf_counter()
        sums = train_step(forward, optimizer, x, y, 0.0, autocast)
        sums.tolist()  # waits for the device
    return (time.perf_counter() - began) / STEPS / len(x)
