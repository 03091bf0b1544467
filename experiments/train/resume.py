"""Finds where a run goes on: its checkpoint, or a sentence that says why that cannot be used."""

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from experiments.records.config import RunConfig
from experiments.records.files import unused
from experiments.records.lock import confirm
from experiments.records.parsing import ConfigError
from experiments.records.record import Record
from experiments.records.study_file import Arithmetic
from experiments.train import checkpoint
from experiments.train.epoch import arithmetic_of
from experiments.train.optimization import build_network, new_optimizer
from experiments.train.stale import same
from senet.fast import kernels


@dataclass
class Position:
    """Says where a run is between two steps.

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


def _is_state(saved: Any) -> bool:
    """Tells whether a checkpoint has all that a run goes on from."""
    parts = {"position", "model", "optimizer", "random", "precision", "step", "device"}
    return (
        isinstance(saved, dict)
        and parts | {"data", "fingerprint"} <= saved.keys()
        and isinstance(saved["position"], dict)
        and saved["position"].keys() == {field.name for field in fields(Position)}
    )


def _is_as_begun(record: Record, saved: dict[str, Any]) -> bool:
    """Tells whether a checkpoint has its study's arithmetic, where the recipe leaves it open."""
    begun, recipe = arithmetic_of(record.config, record.arithmetic), record.config.recipe
    is_open = {key: getattr(recipe, key) == "auto" for key in Arithmetic.model_fields}
    return all(value in ("auto", saved[key]) for key, value in begun if is_open[key])


def _is_of_this_code(
    saved: dict[str, Any],
    marks: dict[str, Any],
    of_step: Callable[[Arithmetic], dict[str, Any]],
) -> bool:
    """Tells whether the plain step and its own one, where it tells of it, are those of today."""
    if not same(saved["fingerprint"], marks["fingerprint"]):
        return False
    how = Arithmetic.model_validate({key: saved[key] for key in Arithmetic.model_fields})
    return "step_fingerprint" not in saved or same(saved["step_fingerprint"], of_step(how))


def _why_unusable(
    record: Record,
    kind: str,
    saved: dict[str, Any],
    marks: dict[str, Any],
    of_step: Callable[[Arithmetic], dict[str, Any]],
) -> str:
    """Says why a run cannot go on from what was saved, on this kind of device; "" if it can."""
    if not _is_state(saved):
        return "is not what this version writes: it lacks a part"
    if saved["device"] != kind:
        return f"was written on {saved['device']} and cannot go on bit for bit on {kind}"
    if saved["step"] == "fused" and kernels.library() is None:
        return "was written by the fused step, for which no compiler is here"
    if not _is_as_begun(record, saved):
        how = f"in {saved['precision']} by the {saved['step']} step"
        return f"was computed {how}, and not as the study was begun"
    if saved["data"] != marks["data"]:
        return f"comes from other data: {saved['data']}, not {marks['data']}"
    here = kernels.built()[1] if saved["step"] == "fused" else ""
    if here and saved.get("kernels", here) != here:  # older versions do not say
        return f"was computed by the kernels {saved['kernels']}, and here are {here}"
    if not _is_of_this_code(saved, marks, of_step):
        return "was written by code that computes something else"
    return ""


def _try_on(config: RunConfig, saved: dict[str, Any], device: str) -> None:
    """Restores a checkpoint in new objects, which are not kept; raises where it does not fit."""
    at = Position(**saved["position"])
    numbers = [at.step, at.batch]
    if any(type(number) is not int or number < 0 for number in numbers) or at.sums.shape != (2,):
        raise ValueError("a position that no run comes to")
    epochs = [row["epoch"] for row in json.loads(json.dumps(at.rows))]
    if epochs != list(range(1, len(epochs) + 1)):
        raise ValueError("epochs that do not follow each other")
    with checkpoint.GENERATORS:
        model = build_network(config)
    model.load_state_dict(saved["model"])
    if saved["optimizer"]:
        optimizer = new_optimizer(model, config.recipe)
        optimizer.load_state_dict(saved["optimizer"])
        for parameter, state in optimizer.state.items():
            buffer = state.get("momentum_buffer")
            if buffer is not None and buffer.shape != parameter.shape:
                raise ValueError("a momentum of another shape")
    checkpoint.try_random_states(saved["random"])
    torch.Generator(device).set_state(at.order.cpu())


def find_checkpoint(
    record: Record,
    device: str,
    marks: dict[str, Any],
    of_step: Callable[[Arithmetic], dict[str, Any]],
    note: Callable[[str], None],
) -> dict[str, Any] | None:
    """Returns the state to go on from, or None. One that cannot be used is told of and set aside.

    `marks` are the fingerprints of the data and of the plain step, here; `of_step` gives that of
    another step.
    """
    path = record.checkpoint
    try:
        saved = checkpoint.load(path, device)
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = f"{path} cannot be read: {error.strerror}"
    except ConfigError as error:
        reason = str(error)
    else:
        try:
            fault = _why_unusable(record, device.split(":")[0], saved, marks, of_step)
            if not fault:
                _try_on(record.config, saved, device)
                return saved
        except Exception as error:  # of a later version: its checksum fits, and nothing else
            fault = f"is not what this version writes: {type(error).__name__}"
        reason = f"{path} {fault}"
    confirm(record.path)  # else it is that of another driver
    aside = unused(path.parent, "checkpoint.old", ".pt")
    path.replace(aside)
    note(f"{reason}: the run starts anew, and the file is kept as {aside.name}")
    return None
