"""Decides whether `auto` takes the captured step on a GPU: where it proved itself equal on it.

The proof (proof.py) is made once for each GPU, driver and torch, and for each change of the
loop, in a process of its own, and its outcome is kept in the user's cache. No torch at the top.
"""

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from contextlib import ExitStack, suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from experiments.records.files import read_sealed, write_sealed
from experiments.records.parsing import ConfigError
from experiments.train.devices import has_cuda
from experiments.train.environment import ROOT

PATIENCE = 300.0  # seconds of a proof, which is meant to take one minute
SOURCES = (
    "experiments.train.epoch",
    "experiments.train.gpu",
    "experiments.train.optimization",
    "experiments.records.schedules",
    "experiments.data.images",
    "experiments.train.trial",
    "senet.block",
    "senet.residual",
    "senet.networks",
    "experiments.train.proof",
)
DRIVER = Path("/proc/driver/nvidia/version")


@cache
def why_not_captured(device: str) -> str:
    """Returns why the captured step is not trusted on a GPU here; "" where it is."""
    if not has_cuda():
        return "no GPU is there"
    path = _kept_in(gpu_facts(device))
    with ExitStack() as held:  # others that ask for the same proof wait
        with suppress(OSError):  # where nothing can be locked it may be made twice
            path.parent.mkdir(parents=True, exist_ok=True)
            file = held.enter_context(path.with_suffix(".lock").open("a"))
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            return read_sealed(path, "reason")["reason"]
        except ConfigError:  # not there, or damaged
            pass
        print("checking whether captured steps are equal on this GPU, once ...", file=sys.stderr)
        state, says = asked(["experiments.train.proof", device], {}, PATIENCE)
        found = "" if state == "passed" else says
        if state in ("passed", "failed"):  # else it was killed, or the GPU was full
            with suppress(OSError):  # a cache that is read-only costs a minute the next time
                write_sealed(path, {"reason": found})
    return found


def step_of_gpu(device: str) -> str:
    """Says which step `auto` is on a GPU, and why, in one sentence."""
    if reason := why_not_captured(device):
        return f"a study that begins here takes the plain step, not the captured one: {reason}"
    gpu = gpu_facts(device)["gpu"]
    return f"a study that begins here takes the captured step: it proved equal on {gpu}"


def gpu_facts(device: str) -> dict[str, Any]:
    """Returns what a proof holds for: the GPU, its driver and the software on it."""
    import torch

    driver = ""
    with suppress(OSError):
        driver = DRIVER.read_text().splitlines()[0]
    return {
        "gpu": torch.cuda.get_device_name(device),
        "capability": ".".join(map(str, torch.cuda.get_device_capability(device))),
        "driver": driver,
        "torch": version("torch"),
        "cuda": torch.version.cuda or torch.version.hip,
        "cudnn": torch.backends.cudnn.version(),
    }


def _kept_in(facts: dict[str, Any]) -> Path:
    """Returns the file of a proof: another one for other facts, and for other sources."""
    from senet.fast.kernels import cache_folder

    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name in SOURCES:
        digest.update((ROOT / f"{name.replace('.', '/')}.py").read_bytes())
    return cache_folder() / f"captured-{digest.hexdigest()[:16]}.json"


def asked(module: list[str], environment: dict[str, str], patience: float) -> tuple[str, str]:
    """Asks a module, with its arguments, in a process of its own; returns (state, sentence).

    The state is "ended" where the process has ended, or was ended, without an answer.
    """
    command = [sys.executable, "-m", *module]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=patience,
            env=os.environ | environment,
        )  # fmt: skip
        found = json.loads((done.stdout.strip().splitlines() or [""])[-1])
        return found["state"], found["says"]
    except subprocess.TimeoutExpired:
        return "ended", f"its check took more than {patience:.0f} seconds"
    except (ValueError, KeyError, TypeError):
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return "ended", f"its check ended: {last}"
