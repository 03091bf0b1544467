"""Picks the devices of a machine, and how many runs each trains at a time.

No torch at the top: the driver of a grid needs none where there is no GPU.
"""

import math
import os
import sys
from importlib.metadata import version
from pathlib import Path

from experiments.records.parsing import ConfigError

MOST_WORKERS = 1024
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds in each period
STREAMS = 32  # of a GPU that torch hands out in turn: the next one is the first again
# Of Nvidia and its Jetsons, of Linux under Windows, of AMD.
DRIVERS = ("/dev/nvidiactl", "/dev/nvmap", "/dev/dxg", "/dev/kfd")


def has_cuda() -> bool:
    """Tells whether torch can use a GPU of Nvidia's or AMD's.

    Where Linux has no driver of one, torch is not asked: it takes seconds to import.
    """
    if sys.platform == "linux" and not any(map(os.path.exists, DRIVERS)):
        return False
    import torch

    return torch.cuda.is_available()


def _has_mps() -> bool:
    """Tells whether torch can use the GPU of a Mac."""
    if sys.platform != "darwin":
        return False
    import torch

    return torch.backends.mps.is_available()


def count_gpus() -> int:
    import torch

    return torch.cuda.device_count()


DEVICES = {"cuda": has_cuda, "mps": _has_mps, "cpu": lambda: True}


def pick_devices(name: str) -> list[str]:
    """Returns the devices to train on: `auto` is cuda, else mps, else cpu; `cuda` is all GPUs.

    Raises ConfigError for any other name that is not a device that is there, such as cuda:1.
    """
    if name == "auto":
        name = next(device for device, is_there in DEVICES.items() if is_there())
    kind, _, index = name.partition(":")
    if kind not in DEVICES or (name != kind and not (kind == "cuda" and index.isdecimal())):
        raise ConfigError(
            f"unknown device {name!r}: allowed are auto, {', '.join(DEVICES)}, and cuda:0 and so on"
        )
    is_there = DEVICES[kind]()
    gpus = count_gpus() if kind == "cuda" and is_there else 0
    if not is_there or int(index or 0) >= max(1, gpus):
        raise ConfigError(f"device {name!r} is not there: torch {version('torch')} finds none")
    return [f"cuda:{gpu}" for gpu in range(gpus)] if name == "cuda" else [name]


def usable_cores() -> int:
    """Counts the cores that we may use: those that we may run on, and a container's quota."""
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    try:
        quota, period = QUOTA.read_text().split()
        return max(1, min(cores, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no container of cgroup v2, or no quota ("max")
        return cores


def pick_slots(workers: int | None, devices: list[str]) -> list[str]:
    """Returns the device of each run that trains at the same time: `workers` of them.

    Where `workers` is None, it is one for each core that we may use on a CPU, as a run has one
    thread; else one on each device.
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"workers {workers}: at least one is needed")
    if workers is not None and workers > MOST_WORKERS:
        raise ConfigError(f"workers {workers}: at most {MOST_WORKERS:,} on one machine")
    count = workers or (usable_cores() if devices == ["cpu"] else len(devices))
    return [devices[slot % len(devices)] for slot in range(count)]
