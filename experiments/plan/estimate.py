"""Tells how long a study will take: from finished runs, a few measured steps, and by simulation."""

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from experiments.data.datasets import DATASETS
from experiments.plan.simulate import SIMULATIONS, Schedule, simulate, spread_of
from experiments.records.config import RunConfig
from experiments.records.files import read_sealed
from experiments.records.parsing import ConfigError
from experiments.records.record import Record
from experiments.records.states import State
from experiments.train.environment import device_name, instructions

FORWARD = 0.3  # an image that is only evaluated takes about so much of one that is trained on
LOOKS = 17  # with replaced gates: four replacements in three stages and in all, and none
PACE = 1 / 200  # seconds an image, where it cannot be measured


def expected_seconds(
    records: Iterable[Record],
    device: str,
    measure: Callable[[Record, str], float | None],
    is_here: bool = True,
) -> dict[Record, float]:
    """Estimates the seconds that each run takes on one worker, from its beginning.

    From another seed of the same cell where one was trained on such a machine in the same
    arithmetic, else from a few steps, measured once for each network with and without SE.

    Args:
        measure: (run, device) -> seconds an image takes in training, None where that fails.
        is_here: whether they are trained on this machine; if not, another seed's time counts
            whatever machine it was trained on, in the same arithmetic.
    """
    pace: dict[tuple, float] = {}
    known: dict[Path, float | None] = {}
    result: dict[Record, float] = {}
    for record in records:
        config, cell = record.config, record.path.parent
        if cell not in known:
            known[cell] = next(times(record, device, is_here), None)
        if (took := known[cell]) is not None:
            result[record] = took
            continue
        how = record.arithmetic.of(config.recipe), config.recipe.batch_size
        kind = config.network, config.width, config.se is not None, *how
        if kind not in pace:
            pace[kind] = measure(record, device) or PACE
        result[record] = pace[kind] * workload(config)
    return result


def times(record: Record, device: str, is_here: bool) -> Iterator[float]:
    """Yields the seconds of each finished run of this cell in the same arithmetic.

    Where it is to be trained here, only of those on such a machine.
    """
    wanted = {k: v for k, v in record.arithmetic.of(record.config.recipe) if v != "auto"}
    if wanted.get("step") == "captured":  # a network that draws random numbers is trained plainly
        del wanted["step"]
    if is_here:
        wanted |= dict(zip(("processor", "device"), device_name(device), strict=True))
        wanted["instructions"] = instructions()
    for path in sorted(record.path.parent.glob("seed*/summary.json")):
        try:
            summary, env = read_sealed(path, "state"), read_sealed(path.with_name("env.json"))
        except ConfigError:
            continue
        env.setdefault("step", "plain")  # as it was for all in older versions
        if summary["state"] == State.DONE and wanted.items() <= env.items():
            yield env["seconds"]


def forecast(
    expected: dict[Record, float], device: str, is_here: bool, workers: int, failures: float
) -> tuple[list[Schedule], float | None]:
    """Simulates schedules of these runs on so many workers, each with such a device.

    Args:
        expected: seconds of each run, as from `seconds`, in the order in which they start.
        is_here: as for `seconds`.
        failures: of one worker in an hour.

    Returns:
        The schedules, and the spread of run times that they were drawn with: that of the finished
        runs of these cells, None where no cell has two.
    """
    cells = {record.path.parent: record for record in expected}
    spread = spread_of([list(times(record, device, is_here)) for record in cells.values()])
    between = [between_checkpoints(record.config, took) for record, took in expected.items()]
    facts = {"spread": spread or 0.0, "failures": failures, "between": between}
    runs = list(expected.values())
    return [simulate(runs, workers, **facts, seed=seed) for seed in range(SIMULATIONS)], spread


def between_checkpoints(config: RunConfig, seconds: float, every: float = 60.0) -> float:
    """Returns the seconds between two checkpoints of a run that takes so many: whole epochs."""
    epoch = seconds * training_share(config) / epochs(config)
    return epoch * math.ceil(every / epoch)


def workload(config: RunConfig) -> float:
    """Counts the images that a run trains on in all, evaluated ones at their share."""
    return sum(works(config))


def training_share(config: RunConfig) -> float:
    """Returns the share of a run that is over when only the test set is left."""
    trained, tested = works(config)
    return trained / (trained + tested)


def works(config: RunConfig) -> tuple[float, float]:
    """Returns the work of training with its curves, and that of reading the test set."""
    recipe, source = config.recipe, DATASETS[config.dataset]
    train, test = source.train, source.test
    curve = min(source.held_out(recipe.holdout), recipe.curve_images or train)
    tested = min(test, recipe.test_images or test)
    if config.se is not None and config.se.block == "se":
        tested += LOOKS * min(tested, recipe.intervention_images or tested)
    return epochs(config) * (images_of(config) + FORWARD * curve), FORWARD * tested


def images_of(config: RunConfig) -> int:
    """Counts the images of an epoch."""
    recipe, source = config.recipe, DATASETS[config.dataset]
    left = source.train - source.held_out(recipe.holdout)
    if left < 1:
        raise ConfigError(
            f"recipe.holdout {recipe.holdout:,}: none of the {source.train:,} training images of "
            f"{config.dataset} is left to train on"
        )
    return min(left, recipe.train_images or left)


def epochs(config: RunConfig) -> float:
    """Returns the length of a training in epochs, whatever its recipe gives it in."""
    recipe = config.recipe
    seen = recipe.images or (recipe.iterations or 0) * recipe.batch_size
    return recipe.epochs or seen / images_of(config)
