"""The machine that a run is on: its device, its arithmetic, and what the record says of it."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from experiments.config import ConfigError

ROOT = Path(__file__).resolve().parents[1]
DEVICES = {
    "cuda": torch.cuda.is_available,
    "mps": torch.backends.mps.is_available,
    "cpu": lambda: True,
}


def pick_device(name: str) -> str:
    """`auto` as cuda, else mps, else cpu; any other name must be a device that is there."""
    if name == "auto":
        return next(device for device, is_there in DEVICES.items() if is_there())
    kind, _, index = name.partition(":")
    if kind not in DEVICES or (name != kind and not (kind == "cuda" and index.isdecimal())):
        raise ConfigError(
            f"unknown device {name!r}: allowed are auto, {', '.join(DEVICES)}, and cuda:0 and so on"
        )
    if not DEVICES[kind]() or int(index or 0) >= max(1, torch.cuda.device_count()):
        raise ConfigError(f"device {name!r} is not there: torch {torch.__version__} finds none")
    return name


def pick_workers(asked: int | None, device: str) -> int:
    """How many runs go at a time: on a CPU one for each core that we may use, as a run has one
    thread; elsewhere one."""
    if asked is not None and asked < 1:
        raise ConfigError(f"workers {asked}: at least one is needed")
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count()
    return asked or (cores if device == "cpu" else 1)


@cache
def processor() -> tuple[str, set[str]]:
    """The processor's name and, where Linux tells them, its instruction sets."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine(), set()
    facts = {key.strip(): value.strip() for key, _, value in (s.partition(":") for s in lines)}
    flags = facts.get("flags", facts.get("Features", ""))
    return facts.get("model name", platform.machine()), set(flags.split())


def pick_precision(name: str, device: str) -> str:
    """`auto` as bf16 where the processor has instructions for it, else fp32. No clock decides."""
    if name != "auto":
        return name
    has_bf16 = {
        "cuda": lambda: torch.cuda.is_bf16_supported(including_emulation=False),
        "mps": lambda: False,
        "cpu": lambda: bool({"avx512_bf16", "amx_bf16", "bf16"} & processor()[1]),
    }
    return "bf16" if has_bf16[device.split(":")[0]]() else "fp32"


def provenance(device: str, precision: str) -> dict[str, Any]:
    """What a record's env.json says of where its numbers come from."""
    names = ("torch", "torchvision", "numpy")
    return {
        "commit": git("rev-parse", "HEAD"),
        "clean": git("status", "--porcelain", "--untracked-files=no") == "",
        "python": platform.python_version(),
        **{name: version(name) for name in names},
        "platform": platform.platform(),
        "processor": processor()[0],
        "device": torch.cuda.get_device_name(device) if "cuda" in device else device,
        "precision": precision,
        "threads": torch.get_num_threads(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def git(*words: str) -> str | None:
    """What git says of the checkout, None where there is none."""
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def peak_memory() -> float:
    """The most memory that this process has had, in MiB."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(used / (2**20 if sys.platform == "darwin" else 2**10), 1)
