"""What a study will cost: parameters and operations by counting, time by measuring."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from experiments.config import ConfigError, RunConfig, checked
from experiments.datasets import DATASETS
from experiments.environment import device_name, pick_precision, pick_step
from experiments.files import read_sealed
from experiments.record import Record
from experiments.simulate import SIMULATIONS, Schedule, simulate, spread_of
from experiments.step import arithmetic, build_network, new_forward, new_optimizer, train_step
from experiments.study import Study
from senet.cost import Cost, cost
from senet.own import load_own

FORWARD = 0.3  # an image that is only evaluated takes about so much of one that is trained on
LOOKS = 17  # with replaced gates: four replacements in three stages and in all, and none
STEPS = 2  # measured ones, after one that warms up
BATCH = 32
PACE = 1 / 200  # seconds an image, where it cannot be measured


def check(studies: Iterable[Study]) -> None:
    """Builds every network once, on no device.

    Raises ConfigError where a cell cannot be built, and names it.
    """
    for_each_network(studies, lambda network: None)


def prices(studies: Iterable[Study]) -> dict[str, Cost]:
    """Cell -> its cost. Raises ConfigError as `check` does."""
    studies = list(studies)
    counted = for_each_network(studies, cost)
    configs = [cell.config for study in studies for cell in study.cells]
    return {config.cell: counted[architecture(config)] for config in configs}


def architecture(config: RunConfig) -> tuple:
    """What the network depends on, of all that a run depends on."""
    where = config.dataset, config.network, config.width, config.shortcut, config.stride_on
    return *where, config.se, config.code


def for_each_network(studies: Iterable[Study], function: Callable[[nn.Module], Any]) -> dict:
    """Architecture -> function(its network), on the meta device; each is built once."""
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


def seconds(
    records: Iterable[Record],
    device: str,
    measure: Callable[[Record, str], float | None],
    is_here: bool = True,
) -> dict[Record, float]:
    """About how long each run takes on one worker, from its beginning.

    From another seed of the same cell where one was trained on such a machine, else from a few
    steps, measured once for each network with and without SE.

    Args:
        measure: (run, device) -> seconds an image takes in training, None where that fails.
        is_here: whether they are trained on this machine; if not, another seed's time counts
            whatever machine it was trained on.
    """
    pace: dict[tuple, float] = {}
    known: dict[Path, float | None] = {}
    result: dict[Record, float] = {}
    for record in records:
        config, cell = record.config, record.path.parent
        if cell not in known:
            known[cell] = next(times(cell, device, is_here), None)
        if known[cell] is not None:
            result[record] = known[cell]
            continue
        kind = config.network, config.width, config.se is not None
        if kind not in pace:
            pace[kind] = measure(record, device) or PACE
        result[record] = pace[kind] * workload(config)
    return result


def times(cell: Path, device: str, is_here: bool) -> Iterator[float]:
    """How long each run of this cell took that was done: on such a machine, if it is to be here."""
    here = device_name(device) if is_here else None
    for path in sorted(cell.glob("seed*/summary.json")):
        try:
            summary, env = read_sealed(path, "state"), read_sealed(path.with_name("env.json"))
        except ConfigError:
            continue
        if summary["state"] == "done" and here in (None, (env["processor"], env["device"])):
            yield env["seconds"]


def forecast(
    expected: dict[Record, float], device: str, is_here: bool, workers: int, failures: float
) -> tuple[list[Schedule], float | None]:
    """Schedules of these runs, simulated, and the spread of run times that they were drawn with.

    Args:
        expected: seconds of each run, as from `seconds`, in the order in which they start.
        device, is_here: as there.
        workers: how many, each a machine like that.
        failures: of one worker in an hour.

    Returns:
        The spread is that of the finished runs of these cells; None where no cell has two.
    """
    cells = dict.fromkeys(record.path.parent for record in expected)
    spread = spread_of([list(times(cell, device, is_here)) for cell in cells])
    between = [between_checkpoints(record.config, took) for record, took in expected.items()]
    facts = {"spread": spread or 0.0, "failures": failures, "between": between}
    runs = list(expected.values())
    return [simulate(runs, workers, **facts, seed=seed) for seed in range(SIMULATIONS)], spread


def between_checkpoints(config: RunConfig, seconds: float, every: float = 60.0) -> float:
    """Seconds between two checkpoints of a run that takes so many: whole epochs."""
    epoch = seconds * training_share(config) / epochs(config)
    return epoch * math.ceil(every / epoch)


def workload(config: RunConfig) -> float:
    """Images that a run trains on in all, evaluated ones counted at their share."""
    return sum(works(config))


def training_share(config: RunConfig) -> float:
    """How much of a run is over when its last step is done, and only the test set is left."""
    trained, tested = works(config)
    return trained / (trained + tested)


def works(config: RunConfig) -> tuple[float, float]:
    """(training with its curves, the test set and the looks at it), both as in `workload`."""
    recipe, source = config.recipe, DATASETS[config.dataset]
    train, test = source.train, source.test
    curve = min(recipe.holdout, recipe.curve_images or train)
    tested = min(test, recipe.test_images or test)
    if config.se is not None and config.se.block == "se":
        tested += LOOKS * min(tested, recipe.intervention_images or tested)
    return epochs(config) * (images_of(config) + FORWARD * curve), FORWARD * tested


def images_of(config: RunConfig) -> int:
    """Those of an epoch."""
    recipe, train = config.recipe, DATASETS[config.dataset].train
    return min(train - recipe.holdout, recipe.train_images or train)


def epochs(config: RunConfig) -> float:
    recipe = config.recipe
    return recipe.epochs or recipe.iterations * recipe.batch_size / images_of(config)


def probe(config: RunConfig, device: str) -> float:
    """Seconds that one image takes in training, measured on a few steps."""
    torch.set_num_threads(1)
    model = build_network(config).to(device, memory_format=torch.channels_last)
    x = torch.zeros(BATCH, 3, 32, 32, device=device).to(memory_format=torch.channels_last)
    y = torch.zeros(len(x), dtype=torch.long, device=device)
    recipe = config.recipe
    autocast = arithmetic(device, pick_precision(recipe.precision, device))
    forward, optimizer = (
        new_forward(model, pick_step(recipe.step, device)),
        new_optimizer(model, recipe),
    )
    for step in range(1 + STEPS):
        if step == 1:
            began = time.perf_counter()
        sums = train_step(forward, optimizer, x, y, 0.0, autocast)
        sums.tolist()  # waits for the device
    return (time.perf_counter() - began) / STEPS / len(x)
