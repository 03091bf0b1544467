"""Runs that do as they are told instead of training, in real processes forked from this one."""

import multiprocessing
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import tiny

from experiments.launch import failures, worker
from experiments.launch import local as launch
from experiments.launch.events import Outcome
from experiments.records.record import Record
from experiments.train.training import Watch

FORK = multiprocessing.get_context("fork")
DONE = Outcome("done")


def train_in_process(*args) -> None:
    """As it is, and what Python prints goes to descriptors 1 and 2 again, not to pytest."""
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    worker.train_in_process(*args)


@pytest.fixture
def script(monkeypatch) -> dict[int, Callable[[Record, Watch], None]]:
    """What a run does instead of training, by its seed; one that is not named is done at once."""
    does = {}

    def train(config, record: Record, data_dir: Path, device: str, watch: Watch) -> None:
        record.begin()
        (record.path / "device").write_text(device)
        does.get(config.seed, lambda *_: None)(record, watch)
        record.write_environment({})
        record.finish({"state": "done"})

    monkeypatch.setattr("experiments.train.train.train", train)
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: FORK)
    monkeypatch.setattr(launch, "warm_up", lambda: None)
    monkeypatch.setattr(launch, "train_in_process", train_in_process)
    for module in (launch, failures):  # a kernel counts those of all that it runs
        monkeypatch.setattr(module, "kills_for_memory", lambda: 0, raising=False)
    wait = launch.wait  # it looks up more often than once a second
    monkeypatch.setattr(launch, "wait", lambda pipes, timeout: wait(pipes, timeout / 50))
    return does


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.01)


def runs(results: Path, number: int, **changes) -> list[Record]:
    return [Record(results, tiny(seed=seed, **changes)) for seed in range(number)]


def begun(*records: Record) -> bool:
    return all((record.path / "device").exists() for record in records)
