"""Chooses where runs are trained: on this machine, in jobs of Slurm, on a Ray cluster.

`LAUNCHERS` has a row for each; what a launcher offers is said in queue.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from experiments.data.download import Say
from experiments.launch.cluster import (
    RaySettings,
    SlurmSettings,
    check_installed,
    check_slurm,
    pick_kind,
    read_settings,
)
from experiments.launch.local import Local
from experiments.launch.queue import Launcher
from experiments.launch.ray.driver import Ray
from experiments.launch.shared_gpu import shareable
from experiments.launch.slurm.driver import Slurm
from experiments.plan.options import PlanOptions, RunOptions
from experiments.records.parsing import ConfigError, checked
from experiments.records.record import Record
from experiments.train.devices import pick_devices, pick_slots
from senet.config import find_row

Expected = Mapping[Record, float]  # the seconds that each run takes


@dataclass(frozen=True)
class LauncherRow:
    """Says what there is to know of a launcher before it is started.

    slots  (options) -> the device of each run that goes at a time; ConfigError where it is not so
    start  (options, slots, expected seconds of each run, say) -> the launcher, to be entered
    plan   what the user may expect, with {device}, {n} slots and the {total} time on them
    """

    slots: Callable[[PlanOptions], list[str]]
    start: Callable[[RunOptions, list[str], Expected, Say], Launcher]
    plan: str


def _local_slots(options: PlanOptions) -> list[str]:
    if options.cluster is not None:
        raise ConfigError(f"cluster {options.cluster}: only of use with --launcher slurm or ray")
    return pick_slots(options.workers, pick_devices(options.device))


def _start_local(options: RunOptions, slots: list[str], expected: Expected, say: Say) -> Local:
    pace = options.patience, options.checkpoint_every
    return Local(slots, options.data_dir, *pace, shareable(expected), say)


def _slurm_slots(options: PlanOptions) -> list[str]:
    check_slurm()
    settings, path = read_settings(options, SlurmSettings)
    device = pick_kind(options.device, settings.gpus, path)
    if device == "cpu":
        workers = settings.cpus if options.workers is None else options.workers
        return pick_slots(workers, ["cpu"])
    return pick_slots(options.workers, [f"cuda:{gpu}" for gpu in range(settings.gpus)])


def _start_slurm(options: RunOptions, slots: list[str], expected: Expected, say: Say) -> Slurm:
    settings, _ = read_settings(options, SlurmSettings)
    where = (options.results, options.data_dir, options.patience, options.checkpoint_every)
    return Slurm(settings, slots, *where, expected, say)


def _ray_slots(options: PlanOptions) -> list[str]:
    check_installed("ray", "ray")
    settings, path = read_settings(options, RaySettings)
    device = pick_kind(options.device, settings.gpus, path)
    workers = 1 if options.workers is None else options.workers
    return pick_slots(workers, [device.replace("cuda", "cuda:0")])


def _start_ray(options: RunOptions, slots: list[str], expected: Expected, say: Say) -> Ray:
    settings, _ = read_settings(options, RaySettings)
    where = (options.data_dir, options.patience, options.checkpoint_every)
    return Ray(settings, slots[0], options.workers, *where, say)


LAUNCHERS: dict[str, LauncherRow] = {
    "local": LauncherRow(
        _local_slots,
        _start_local,
        "on {device}, {n} at a time: about {total}; Ctrl-C keeps what is done",
    ),
    "slurm": LauncherRow(
        _slurm_slots,
        _start_slurm,
        "on {device}, {n} at a time in a job: about {total} of jobs; Ctrl-C leaves them to Slurm",
    ),
    "ray": LauncherRow(
        _ray_slots,
        _start_ray,
        "on {device} of a Ray cluster: {total} with {n} at a time; Ctrl-C keeps what is done",
    ),
}


def pick_launcher(options: PlanOptions) -> LauncherRow:
    """Returns the launcher of the options. Raises ConfigError where there is none of this name."""
    return checked(find_row, "launcher", options.launcher, LAUNCHERS)
