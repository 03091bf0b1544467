"""Asks a process that has torch: the driver of a grid does without, and so starts at once."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from experiments.processes.fork_server import call_in_process
from experiments.records.parsing import ConfigError
from experiments.records.record import Record
from experiments.study.study import StudyDesign
from experiments.train.arithmetic import ASSUMED, Unfit
from experiments.train.devices import has_cuda
from experiments.train.environment import pick_step, why_not_fused
from experiments.train.trust import step_of_gpu

if TYPE_CHECKING:
    from senet.cost import Cost

ON_OTHER_MACHINES = (
    "no GPU is here: a study that begins now is computed in {precision} by the {step} step on all "
    "machines; --set recipe.precision=fp32 or recipe.step=captured asks for another way"
).format(**ASSUMED["cuda"])


def refuse_unbuildable(studies: Sequence[StudyDesign]) -> None:
    """Raises ConfigError, which names grid and row, where a network cannot be built."""
    answered("build every network once", _measure, "check", studies)


def prices(studies: Sequence[StudyDesign]) -> dict[str, "Cost"]:
    """Returns the cost of each cell. Raises ConfigError as `refuse_unbuildable` does."""
    return answered("count what the networks cost", _measure, "prices", studies)


def seconds_of_an_image(record: Record, device: str) -> float | None:
    """Returns the seconds of an image in training, None where that cannot be measured."""
    try:
        return call_in_process(_measure, "probe_run", record, device)
    except Unfit:  # a driver on which nothing is trained
        return None


def answered(task: str, function: Callable, *args: Any) -> Any:
    """Returns what a process of its own returns.

    Raises ConfigError, with its task, where it ends or hangs before.
    """
    if (found := call_in_process(function, *args, quiet=False)) is None:
        raise ConfigError(f"the process that was to {task} has ended, or took too long")
    return found


def compile_step(name: str, device: str) -> str:
    """Compiles what a step of training needs, or proves it on a GPU.

    Returns a sentence where there is something to say of what `auto` is, or "". Raises ConfigError
    where it cannot be had.
    """
    pick_step(name, device)
    if name != "auto":
        return ""
    if device == "cpu":
        reason = why_not_fused(name, device)
        return f"the step is plain, not fused: {reason}" if reason else ""
    if "cuda" not in device:
        return ""
    return step_of_gpu(device) if has_cuda() else ON_OTHER_MACHINES


def _measure(name: str, *args: Any) -> Any:
    """Calls a function of measure.py, which imports torch, in the process that answers."""
    from experiments.plan import measure

    return getattr(measure, name)(*args)
