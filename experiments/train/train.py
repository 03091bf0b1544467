"""Trains one run, from its first batch to its record: `train` reads top to bottom."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from experiments.data.datasets import load_data
from experiments.data.images import shared
from experiments.records.config import RunConfig
from experiments.records.files import digest_of_file
from experiments.records.record import Record
from experiments.records.results import seconds_spent
from experiments.records.study_file import Arithmetic
from experiments.train import checkpoint
from experiments.train.arithmetic import pick_arithmetic
from experiments.train.environment import peak_memory, provenance
from experiments.train.epoch import arithmetic_of, new_loop
from experiments.train.fingerprint import fingerprint, step_fingerprint
from experiments.train.optimization import arithmetic, build_network, placed, total_steps
from experiments.train.resume import Position, find_checkpoint
from experiments.train.training import SILENT, Training, Watch
from senet.cost import cost
from senet.custom import load_own


def train(
    config: RunConfig, record: Record, data_dir: Path, device: str = "cpu", watch: Watch = SILENT
) -> None:
    """Trains one network and writes its record; goes on from its checkpoint where there is one.

    On a CPU, a run that was stopped at any moment and went on ends in the same bits as one that
    was never stopped. Raises Interrupted where `watch` says that it is to stop.
    """
    began, earlier = time.perf_counter(), seconds_spent(record.path)
    record.begin()
    run = _begin(config, record, data_dir, device, watch)
    while run.at.step < run.steps and run.is_finite:
        timing = run.train_epoch()
        run.end_epoch(timing)
    found = run.test()
    seconds = earlier + time.perf_counter() - began
    timings = digest_of_file(record.path / "timings.jsonl")
    spent = {"seconds": seconds, **peak_memory(device), "timings": timings}
    record.write_environment(run.environment | spent)
    record.finish(found | run.price)


def _begin(
    config: RunConfig, record: Record, data_dir: Path, device: str, watch: Watch
) -> Training:
    """Brings data, network and optimiser to where the run begins, or goes on."""
    recipe = config.recipe
    own = arithmetic_of(config, pick_arithmetic(recipe, record.arithmetic, device))
    arrays = load_data(config.dataset, data_dir)
    if config.code:
        load_own(record.code_path)
    marks: dict[str, Any] = {"data": arrays.fingerprint, "fingerprint": fingerprint(config, arrays)}

    known: dict[str, dict[str, Any]] = {}  # by step and precision: it takes a second

    def of_step(how: Arithmetic) -> dict[str, Any]:
        if repr(how) not in known:
            known[repr(how)] = step_fingerprint(config, arrays, device, how)
        return known[repr(how)]

    saved = find_checkpoint(record, device, marks, of_step, watch.note)
    how = Arithmetic(precision=saved["precision"], step=saved["step"]) if saved else own
    marks["step_fingerprint"] = of_step(how)
    environment = provenance(device, how.precision, how.step, recipe.step) | marks
    environment = record.note_start(environment, saved["position"]["step"] if saved else 0)
    training, curve, test = shared(arrays, recipe, torch.device(device))
    steps = total_steps(recipe, len(training))

    with checkpoint.GENERATORS:
        checkpoint.seed_all(config.seed)
        model = build_network(config)
    price = asdict(cost(model, size=arrays.train_images.shape[1]))
    model = placed(model, device)
    autocast = arithmetic(device, how.precision)
    loop = new_loop(how.step, config, model, training, steps, autocast)
    random = torch.Generator(device).manual_seed(config.seed)
    at = Position(0, 0, random.get_state(), torch.zeros(2, device=device), [])
    if saved:
        at = Position(**saved["position"])
        loop.model.load_state_dict(saved["model"])
        if saved["optimizer"]:
            loop.restore(saved["optimizer"])
        with checkpoint.GENERATORS:
            checkpoint.set_random_states(saved["random"], device)
    record.write_metrics(at.rows)
    return Training(
        config, record, watch, device, how, marks, environment, price, arrays.class_names,
        training, curve, test, loop, autocast, random, steps, at,
    )  # fmt: skip
