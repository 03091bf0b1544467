"""Trains a run in memory, epoch by epoch, from where it begins or goes on to its summary."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from experiments.data.images import Images
from experiments.records.config import RunConfig
from experiments.records.gates import SEEDS, pack_gates
from experiments.records.record import Record
from experiments.records.schedules import learning_rate
from experiments.records.states import State
from experiments.records.study_file import Arithmetic
from experiments.train import checkpoint
from experiments.train.environment import kernels_of
from experiments.train.epoch import Captured, Eager
from experiments.train.evaluation import class_shares, evaluate, gates_of, intervene, watch_epoch
from experiments.train.resume import Position
from senet.probe import GateProbe


@dataclass(frozen=True)
class Watch:
    """Tells what a run does, and is asked whether it is to stop.

    report            (step, steps in all, metrics or None): after each step, with the epoch's
                      metrics after each epoch, and during evaluations as a sign of life
    note              a sentence for the user
    stop              whether to write a checkpoint and stop
    checkpoint_every  seconds from one checkpoint to the next one, which an epoch's end writes
    """

    report: Callable[[int, int, dict | None], None] = lambda step, steps, row: None
    note: Callable[[str], None] = lambda sentence: None
    stop: Callable[[], bool] = lambda: False
    checkpoint_every: float = 60.0


SILENT = Watch()


class Interrupted(Exception):
    """Says that the run was told to stop; what it has done is in its checkpoint."""


@dataclass
class Training:
    """Holds a run in memory, between its beginning and its record.

    how        its precision and its step
    marks      fingerprints of the data and of what it computes
    price      parameters and multiply-adds
    training, curve, test  images: to train on, held out (None for none), of the test set
    random     shuffles, cuts and flips the images
    steps      of the whole training
    kept       when the last checkpoint was written
    is_finite  whether all losses so far were
    """

    config: RunConfig
    record: Record
    watch: Watch
    device: str
    how: Arithmetic
    marks: dict[str, Any]
    environment: dict[str, Any]
    price: dict[str, Any]
    class_names: tuple[str, ...]
    training: Images
    curve: Images | None
    test_set: Images
    loop: Eager | Captured
    autocast: torch.autocast
    random: torch.Generator
    steps: int
    at: Position
    kept: float = field(default_factory=time.monotonic)
    is_finite: bool = True

    def train_epoch(self) -> dict[str, Any]:
        """Steps to the end of the epoch that is under way; returns its images and seconds."""
        at, size, began = self.at, self.config.recipe.batch_size, time.perf_counter()
        skipped = at.batch
        self.random.set_state(at.order.cpu())
        self.loop.model.train()
        for sums in self.loop.epoch(self.random, at.step, skipped):
            at.sums += sums
            at.step, at.batch = at.step + 1, at.batch + 1
            self.report_life()
            if at.step == self.steps:
                break
            if self.watch.stop():
                self.keep()
                raise Interrupted
        before, seen = (min(n * size, len(self.training)) for n in (skipped, at.batch))
        return {"images": seen - before, "seconds": time.perf_counter() - began}

    def end_epoch(self, timing: dict[str, Any]) -> None:
        """Records the epoch, and writes a checkpoint where it is time for one."""
        row = self.measure_epoch()
        self.record.append("metrics.jsonl", row)
        self.record.append("timings.jsonl", {"epoch": row["epoch"], **timing})
        at, order = self.at, self.random.get_state()
        self.at = Position(at.step, 0, order, torch.zeros_like(at.sums), [*at.rows, row])
        self.watch.report(at.step, self.steps, row)
        is_time = time.monotonic() - self.kept > self.watch.checkpoint_every
        if self.is_finite and (is_time or at.step == self.steps or self.watch.stop()):
            self.keep()
            self.kept = time.monotonic()
            if self.watch.stop():
                raise Interrupted

    def measure_epoch(self) -> dict[str, Any]:
        """Returns the metrics of the epoch that has ended: a number that is not finite is None."""
        at, recipe = self.at, self.config.recipe
        seen = min(at.batch * recipe.batch_size, len(self.training))
        loss, error = (at.sums / seen).tolist()
        rate = learning_rate(at.step - 1, self.steps, recipe)
        row = {"epoch": len(at.rows) + 1, "step": at.step, "lr": rate}
        row |= {"train_loss": loss, "train_error": 100 * error}
        gates = {}
        if self.curve is not None:
            held_out, gates = watch_epoch(
                self.loop.forward, self.curve, self.autocast, self.report_life
            )
            row |= held_out
        self.is_finite = all(map(math.isfinite, row.values()))
        row = {key: value if math.isfinite(value) else None for key, value in row.items()}
        return row | ({"gates": gates} if gates else {})

    def test(self) -> dict[str, Any]:
        """Reads the test set, the only time, and writes what it shows; returns the summary.

        Nothing was selected on it.
        """
        names, at, record = self.class_names, self.at, self.record
        test, forward, autocast = self.test_set, self.loop.forward, self.autocast
        with GateProbe(forward, len(names)) as probe:
            found = evaluate(forward, test, autocast, self.report_life_or_stop, probe)
        done, row = self.is_finite and math.isfinite(found.loss), at.rows[-1]
        where = "the test set" if self.is_finite else f"epoch {row['epoch']}"
        interventions, shares = {}, {}
        if done:
            statistics = probe.statistics()
            some = test.first(self.config.recipe.intervention_images)
            interventions = intervene(forward, some, autocast, statistics, self.report_life_or_stop)
            shares = class_shares(probe)
            record.write_predictions(**found.predictions, class_names=names)
            if statistics and self.config.seed < SEEDS:
                gates = gates_of(self.loop.model, test, autocast, statistics, names)
                record.write_gates(pack_gates(gates, self.config.seed))
        return {
            "state": State.DONE if done else State.DIVERGED,
            "reason": "" if done else f"the loss of {where} was not finite",
            "test_error": found.error if done else None,
            "test_loss": found.loss if done else None,
            "test_brier": found.brier if done else None,
            "test_images": len(test),
            "val_error": row.get("val_error"),
            "train_error": row["train_error"],
            "train_images": len(self.training),
            "epochs": len(at.rows),
            "steps": at.step,
            "interventions": interventions,
            "class_shares": shares,
        }

    def keep(self) -> None:
        """Writes a checkpoint. Where the disk is full it goes on without one, and says so."""
        at, step = self.at, self.how.step
        state = {
            "position": vars(at),
            "model": self.loop.model.state_dict(),
            "optimizer": self.loop.optimizer.state_dict() if at.step < self.steps else None,
            "random": checkpoint.random_states(self.device),
            "precision": self.how.precision,
            "step": step,
            "kernels": kernels_of(step, self.config.recipe.step, self.device),
            "device": self.device.split(":")[0],
            **self.marks,
        }
        path = self.record.checkpoint
        try:
            checkpoint.save(path, state)
        except OSError as error:  # worse than to lose a minute is to lose the run
            self.watch.note(f"{path}: {error.strerror}: goes on without this checkpoint")

    def report_life(self) -> None:
        self.watch.report(self.at.step, self.steps, None)

    def report_life_or_stop(self) -> None:
        """Reports a sign of life while the test set is read; raises Interrupted if it is to stop.

        The checkpoint of the last epoch is there: nothing is lost.
        """
        self.report_life()
        if self.is_finite and self.watch.stop():
            raise Interrupted
