"""Runs that are stopped after some steps."""

import pytest

from experiments.records.config import RunConfig
from experiments.records.record import Record
from experiments.train import train
from experiments.train.training import Interrupted, Watch

SE = {"se": {"ratio": 4}, "recipe": {"precision": "auto", "epochs": 3}}


class Stop:
    """Tells a run to stop after some steps; counts them."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


def run(folder, config: RunConfig, data_dir, watch: Watch = Watch()) -> Record:  # noqa: B008
    record = Record(folder, config)
    train.train(config, record, data_dir, watch=watch)
    return record


def stop_in_the_middle(folder, config, data_dir) -> Record:
    with pytest.raises(Interrupted):
        run(folder, config, data_dir, Watch(stop=Stop(4)))
    return Record(folder, config)
