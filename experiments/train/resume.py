"""Where a run goes on: its checkpoint, or a sentence that says why it cannot be used."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor

from experiments.records.files import unused
from experiments.records.parsing import ConfigError
from experiments.records.record import Record
from experiments.records.study_file import Arithmetic
from experiments.train import checkpoint
from experiments.train.stale import same
from senet.fast import kernels


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


def is_state(saved: Any) -> bool:
    """Tells whether a checkpoint has all that a run goes on from."""
    parts = {"position", "model", "optimizer", "random", "precision", "step", "device"}
    return (
        isinstance(saved, dict)
        and parts | {"data", "fingerprint"} <= saved.keys()
        and isinstance(saved["position"], dict)
        and saved["position"].keys() == {field.name for field in fields(Position)}
    )


def is_as_begun(record: Record, saved: dict[str, Any]) -> bool:
    """Tells whether a checkpoint has its study's arithmetic, where the recipe leaves it open."""
    begun = {key: v for key, v in record.arithmetic if getattr(record.config.recipe, key) == "auto"}
    return all(value in ("auto", saved[key]) for key, value in begun.items())


def is_of_other_kernels(saved: dict[str, Any]) -> bool:
    """Tells whether other sources, another compiler or another processor made its fused step.

    Checkpoints of older versions do not say.
    """
    now = kernels.built()[1]
    return saved["step"] == "fused" and saved.get("kernels", now) != now


def is_of_this_code(
    saved: dict[str, Any],
    marks: dict[str, Any],
    of_step: Callable[[Arithmetic], dict[str, Any]],
) -> bool:
    """Tells whether the plain step and its own one, where it tells of it, are those of today."""
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
    """Returns the state to go on from, or None. One that cannot be used is told of and set aside.

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
