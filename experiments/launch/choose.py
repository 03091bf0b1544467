"""Where runs are trained: on this machine, as jobs of Slurm, as tasks of a Ray cluster.

A launcher is a context manager with `workers`, how many runs go at a time (0: it does not know),
and `train(records, deadline)`, which yields what happens to them (`launch.Event`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from experiments.data.datasets import Say
from experiments.launch.cluster import (
    RaySettings,
    SlurmSettings,
    check_installed,
    check_slurm,
    pick_kind,
    read_settings,
)
from experiments.launch.local import Local
from experiments.launch.ray.driver import Ray
from experiments.launch.shared_gpu import shareable
from experiments.launch.slurm.driver import Slurm
from experiments.plan.options import PlanOptions, RunOptions
from experiments.records.config import ConfigError, checked
from experiments.records.record import Record
from experiments.train.environment import pick_devices, pick_slots
from senet.config import choose


@dataclass(frozen=True)
class Row:
    """A launcher.

    slots  (options) -> the device of each run that goes at a time; ConfigError where it is not so
    start  (options, slots, expected seconds of each run, say) -> the launcher, to be entered
    plan   what the user may expect, with {device}, {n} slots and the {total} time on them
    """

    slots: Callable[[PlanOptions], list[str]]
    start: Callable[[RunOptions, list[str], Mapping[Record, float], Say], Any]
    plan: str


def local_slots(options: PlanOptions) -> list[str]:
    if options.cluster is not None:
        raise ConfigError(f"cluster {options.cluster}: only of use with --launcher slurm or ray")
    return pick_slots(options.workers, pick_devices(options.device))


def start_local(
    options: RunOptions, slots: list[str], expected: Mapping[Record, float], say: Say
) -> Local:
    pace = options.patience, options.checkpoint_every
    return Local(slots, options.data_dir, *pace, shareable(expected), say)


def slurm_slots(options: PlanOptions) -> list[str]:
    check_slurm()
    settings, path = read_settings(options, SlurmSettings)
    device = pick_kind(options.device, settings.gpus, path)
    if device == "cpu":
        return pick_slots(options.workers or settings.cpus, ["cpu"])
    return pick_slots(options.workers, [f"cuda:{gpu}" for gpu in range(settings.gpus)])


def start_slurm(
    options: RunOptions, slots: list[str], expected: Mapping[Record, float], say: Say
) -> Slurm:
    settings, _ = read_settings(options, SlurmSettings)
    where = (options.results, options.data_dir, options.patience, options.checkpoint_every)
    return Slurm(settings, slots, *where, expected, say)


def ray_slots(options: PlanOptions) -> list[str]:
    check_installed("ray", "ray")
    settings, path = read_settings(options, RaySettings)
    device = pick_kind(options.device, settings.gpus, path)
    return pick_slots(options.workers or 1, [device.replace("cuda", "cuda:0")])


def start_ray(
    options: RunOptions, slots: list[str], expected: Mapping[Record, float], say: Say
) -> Ray:
    settings, _ = read_settings(options, RaySettings)
    where = (options.data_dir, options.patience, options.checkpoint_every)
    return Ray(settings, slots[0], options.workers, *where, say)


LAUNCHERS: dict[str, Row] = {
    "local": Row(
        local_slots,
        start_local,
        "on {device}, {n} at a time: about {total}; Ctrl-C keeps what is done",
    ),
    "slurm": Row(
        slurm_slots,
        start_slurm,
        "on {device}, {n} at a time in a job: about {total} of jobs; Ctrl-C leaves them to Slurm",
    ),
    "ray": Row(
        ray_slots,
        start_ray,
        "on {device} of a Ray cluster: {total} with {n} at a time; Ctrl-C keeps what is done",
    ),
}


def pick_launcher(options: PlanOptions) -> Row:
    """Raises ConfigError where there is none of this name."""
    return checked(choose, "launcher", options.launcher, LAUNCHERS)
