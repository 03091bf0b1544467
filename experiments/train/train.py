"""One run, from the first batch to its record: `train` reads top to bottom."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.data.datasets import load
from experiments.data.images import shared
from experiments.records.config import RunConfig
from experiments.records.files import digest_of_file, unused
from experiments.records.gates import SEEDS, pack
from experiments.records.parsing import ConfigError
from experiments.records.record import Record
from experiments.records.results import seconds_spent
from experiments.records.states import State
from experiments.records.study_file import Arithmetic
from experiments.train import checkpoint
from experiments.train.arithmetic import pick_arithmetic
from experiments.train.environment import kernels_of, peak_memory, provenance
from experiments.train.epoch import draws_nothing, new_loop
from experiments.train.evaluation import class_shares, evaluate, gates_of, intervene, watch_epoch
from experiments.train.fingerprint import fingerprint, step_fingerprint
from experiments.train.optimization import (
    arithmetic,
    build_network,
    learning_rate,
    total_steps,
)
from experiments.train.stale import same
from senet.cost import cost
from senet.custom import load_own
from senet.fast import kernels
from senet.probe import GateProbe


@dataclass(frozen=True)
class Watch:
    """How a run tells what it does, and is told to stop.

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


class Interrupted(Exception):
    """The run was told to stop; what it has done is in its checkpoint."""


@dataclass
class Position:
    """Where a run is between two steps.

    step   how many are done
    batch  how many of the epoch that is under way
    order  the state of the generator that shuffles, from before this epoch
    sums   loss and mistakes in this epoch, (2,): read at its end, so that no step is waited for
    rows   the metrics of the epochs that are done
    """

    step: int
    batch: int
    order: Tensor
    sums: Tensor
    rows: list[dict[str, Any]]


def train(
    config: RunConfig, record: Record, data_dir: Path, device: str = "cpu", watch: Watch = Watch()
) -> None:
    """Trains one network and writes its record; goes on from its checkpoint where there is one.

    On a CPU, a run that was stopped at any moment and went on ends in the same bits as one that
    was never stopped.

    Args:
        config: what to train.
        record: where it is written.
        data_dir: holds the prepared data set.
        device: a torch device.
        watch: hears of it, and may stop it.

    Raises:
        Interrupted: `watch` stopped it.
    """
    began, recipe, earlier = time.perf_counter(), config.recipe, seconds_spent(record.path)
    record.begin()
    own = pick_arithmetic(recipe, record.arithmetic, device)
    arrays = load(config.dataset, data_dir)
    if config.code:
        load_own(record.code_path)
    marks = {"data": arrays.fingerprint, "fingerprint": fingerprint(config, arrays)}

    @cache
    def of_step(how: Arithmetic) -> dict[str, Any]:
        return step_fingerprint(config, arrays, device, how)

    saved = find_checkpoint(record, device, marks, of_step, watch.note)
    if saved:
        precision, step = saved["precision"], saved.get("step", "plain")
    else:
        precision, step = own.precision, own.step
        if step == "captured" and not draws_nothing(config):
            step = "plain"
    marks["step_fingerprint"] = of_step(Arithmetic(precision=precision, step=step))
    environment = provenance(device, precision, step, recipe.step) | marks
    environment = record.note_start(environment, saved["position"]["step"] if saved else 0)
    training, curve, test = shared(arrays, recipe, torch.device(device))
    steps = total_steps(recipe, len(training))

    with checkpoint.GENERATORS:
        checkpoint.seed_all(config.seed)
        model = build_network(config)
    price = asdict(cost(model, size=arrays.train_images.shape[1]))
    model = model.to(device, memory_format=torch.channels_last)
    autocast = arithmetic(device, precision)
    loop = new_loop(step, config, model, training, steps, autocast)
    model, forward = loop.model, loop.forward
    random = torch.Generator(device).manual_seed(config.seed)
    at = Position(0, 0, random.get_state(), torch.zeros(2, device=device), [])
    if saved:
        at = Position(**saved["position"])
        model.load_state_dict(saved["model"])
        if saved["optimizer"]:
            loop.restore(saved["optimizer"])
        with checkpoint.GENERATORS:
            checkpoint.set_random_states(saved["random"], device)
    record.write_metrics(at.rows)

    def keep() -> None:
        state = {
            "position": vars(at),
            "model": model.state_dict(),
            "optimizer": loop.optimizer.state_dict() if at.step < steps else None,
            "random": checkpoint.random_states(device),
            "precision": precision,
            "step": step,
            "kernels": kernels_of(step, recipe.step, device),
            "device": device.split(":")[0],
            **marks,
        }
        try:
            checkpoint.save(record.checkpoint, state)
        except OSError as error:  # a full disk: worse than to lose a minute is to lose the run
            watch.note(f"{record.checkpoint}: {error.strerror}: goes on without this checkpoint")

    def alive() -> None:
        watch.report(at.step, steps, None)

    def rate(step: int) -> float:
        return learning_rate(step, steps, recipe)

    kept, finite = time.monotonic(), True
    while at.step < steps and finite:
        epoch_began, skipped = time.perf_counter(), at.batch
        random.set_state(at.order.cpu())
        model.train()
        for sums in loop.epoch(random, at.step, skipped):
            at.sums += sums
            at.step, at.batch = at.step + 1, at.batch + 1
            alive()
            if at.step == steps:
                break
            if watch.stop():
                keep()
                raise Interrupted
        before, seen = (min(n * recipe.batch_size, len(training)) for n in (skipped, at.batch))
        loss, error = (at.sums / seen).tolist()
        timing = {"images": seen - before, "seconds": time.perf_counter() - epoch_began}
        row = {"epoch": len(at.rows) + 1, "step": at.step, "lr": rate(at.step - 1)}
        row |= {"train_loss": loss, "train_error": 100 * error}
        gates = {}
        if curve is not None:
            held_out, gates = watch_epoch(forward, curve, autocast, alive)
            row |= held_out
        finite = all(map(math.isfinite, row.values()))
        row = {key: value if math.isfinite(value) else None for key, value in row.items()}
        if gates:
            row["gates"] = gates
        record.append("metrics.jsonl", row)
        record.append("timings.jsonl", {"epoch": row["epoch"], **timing})
        at = Position(at.step, 0, random.get_state(), torch.zeros_like(at.sums), [*at.rows, row])
        watch.report(at.step, steps, row)
        is_time = time.monotonic() - kept > watch.checkpoint_every
        if finite and (is_time or at.step == steps or watch.stop()):
            keep()
            kept = time.monotonic()
            if watch.stop():
                raise Interrupted

    def alive_or_stop() -> None:
        alive()
        if finite and watch.stop():
            raise Interrupted  # the checkpoint of the last epoch's end is there

    # The only look at the test set; nothing was selected on it.
    names = arrays.class_names
    with GateProbe(forward, len(names)) as probe:
        found = evaluate(forward, test, autocast, alive_or_stop, probe)
    done, row = finite and math.isfinite(found.loss), at.rows[-1]
    where = "the test set" if finite else f"epoch {row['epoch']}"
    interventions, shares = {}, {}
    if done:
        statistics, some = probe.statistics(), test.first(recipe.intervention_images)
        interventions = intervene(forward, some, autocast, statistics, alive_or_stop)
        shares = class_shares(probe)
        record.write_predictions(**found.predictions, class_names=names)
        if statistics and config.seed < SEEDS:
            gates = gates_of(model, test, autocast, statistics, names)
            record.write_gates(pack(gates, config.seed))
    spent = {"seconds": earlier + time.perf_counter() - began, **peak_memory(device)}
    spent["timings"] = digest_of_file(record.path / "timings.jsonl")
    record.write_environment(environment | spent)
    summary = {
        "state": State.DONE if done else State.DIVERGED,
        "reason": "" if done else f"the loss of {where} was not finite",
        "test_error": found.error if done else None,
        "test_loss": found.loss if done else None,
        "test_brier": found.brier if done else None,
        "test_images": len(test),
        "val_error": row.get("val_error"),
        "train_error": row["train_error"],
        "train_images": len(training),
        "epochs": len(at.rows),
        "steps": at.step,
        "interventions": interventions,
        "class_shares": shares,
        **price,
    }
    record.finish(summary)


def is_state(saved: Any) -> bool:
    """Whether a checkpoint has all that a run goes on from."""
    parts = {"position", "model", "optimizer", "random", "precision", "step", "device"}
    return (
        isinstance(saved, dict)
        and parts | {"data", "fingerprint"} <= saved.keys()
        and isinstance(saved["position"], dict)
        and saved["position"].keys() == {field.name for field in fields(Position)}
    )


def is_as_begun(record: Record, saved: dict[str, Any]) -> bool:
    """Whether a checkpoint has the arithmetic of its study; what a recipe says itself, it has."""
    begun = {key: v for key, v in record.arithmetic if getattr(record.config.recipe, key) == "auto"}
    return all(value in ("auto", saved[key]) for key, value in begun.items())


def is_of_other_kernels(saved: dict[str, Any]) -> bool:
    """Whether other sources, another compiler or another processor made its fused step; those of
    older versions do not say."""
    now = kernels.built()[1]
    return saved["step"] == "fused" and saved.get("kernels", now) != now


def is_of_this_code(
    saved: dict[str, Any],
    marks: dict[str, Any],
    of_step: Callable[[Arithmetic], dict[str, Any]],
) -> bool:
    """Whether the plain step and its own one, where it tells of it, are those of today."""
    if not same(saved["fingerprint"], marks["fingerprint"]):
        return False
    how = Arithmetic(precision=saved["precision"], step=saved["step"])
    return "step_fingerprint" not in saved or same(saved["step_fingerprint"], of_step(how))


def find_checkpoint(
    record: Record,
    device: str,
    marks: dict[str, Any],
    of_step: Callable[[Arithmetic], dict[str, Any]],
    note: Callable[[str], None],
) -> dict[str, Any] | None:
    """The state to go on from, or None. One that cannot be used is told of and set aside.

    Args:
        marks: the fingerprints of the data and of the plain step, here.
        of_step: gives that of another step.
    """
    path, kind = record.checkpoint, device.split(":")[0]
    try:
        saved = checkpoint.load(path, device)
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = f"{path} cannot be read: {error.strerror}"
    except ConfigError as error:
        reason = str(error)
    else:
        if not is_state(saved):
            reason = f"{path} is not what this version writes: it lacks a part"
        elif saved["device"] != kind:
            reason = (
                f"{path} was written on {saved['device']} and cannot go on bit for bit on {kind}"
            )
        elif saved.get("step") == "fused" and kernels.library() is None:
            reason = f"{path} was written by the fused step, for which no compiler is here"
        elif not is_as_begun(record, saved):
            reason = (
                f"{path} was computed in {saved['precision']} by the {saved['step']} step, "
                "and not as the study was begun"
            )
        elif saved["data"] != marks["data"]:
            reason = f"{path} comes from other data: {saved['data']}, not {marks['data']}"
        elif is_of_other_kernels(saved):
            reason = (
                f"{path} was computed by the kernels {saved['kernels']}, and here are "
                f"{kernels.built()[1]}"
            )
        elif not is_of_this_code(saved, marks, of_step):
            reason = f"{path} was written by code that computes something else"
        else:
            return saved
    aside = unused(path.parent, "checkpoint.old", ".pt")
    path.replace(aside)
    note(f"{reason}: the run starts anew, and the file is kept as {aside.name}")
    return None
