"""Describes the machine of a run for its record, and picks precision and step for it.

No torch at the top: the driver of a grid needs none where there is no GPU.
"""

import ctypes
import fcntl
import hashlib
import os
import platform
import subprocess
import sys
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from experiments.records.parsing import ConfigError

ROOT = Path(__file__).resolve().parents[2]
# With any of them the fused step is taken for the faster one: measured with AVX-512 and bf16, and
# with AVX2 on a processor that has more (benchmarks/RESULTS.md).
FASTER_FUSED = {"avx2", "avx512f"}
BF16 = {"amx_bf16", "avx512_bf16", "bf16"}  # flags of instructions for bf16
# Those that decide how fast a processor is, the fastest first: flag of Linux -> word of a record.
INSTRUCTIONS = {
    "amx_bf16": "amx_bf16",
    "avx512_bf16": "avx512_bf16",
    "avx512f": "avx512",
    "avx2": "avx2",
    "bf16": "neon_bf16",
    "asimd": "neon",
}
# <malloc.h>: M_MMAP_THRESHOLD, at its largest; M_TRIM_THRESHOLD; M_TOP_PAD
MALLOC = {-3: 32 << 20, -1: 2**31 - 1, -2: 64 << 20}


def use() -> int | None:
    """Keeps `make` from renewing the environment that this process imports from, while it lives.

    Waits where it is being renewed. Returns the open file that holds the lock; None in another
    environment than the project's.
    """
    if Path(sys.prefix).resolve() != (ROOT / ".venv").resolve():
        return None
    try:
        file = os.open(ROOT / ".venv.lock", os.O_RDONLY | os.O_CREAT, 0o666)
        fcntl.flock(file, fcntl.LOCK_SH)
    except OSError:  # another user's, or a file system without locks
        return None
    return file


@cache
def processor() -> tuple[str, set[str]]:
    """Returns the processor's name and, where Linux tells them, its instruction sets."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine(), set()
    facts = {key.strip(): value.strip() for key, _, value in (s.partition(":") for s in lines)}
    flags = facts.get("flags", facts.get("Features", ""))
    return facts.get("model name", platform.machine()), set(flags.split())


def _fast_flags() -> set[str]:
    """Returns the processor's instruction sets, without the one that makes Intel's no faster.

    With avx512_bf16 these multiply at the rate of float32 and have to arrange the numbers first;
    with AMX they are faster, and AMD's processors are with avx512_bf16 (benchmarks/RESULTS.md).
    """
    name, flags = processor()
    return flags - {"avx512_bf16"} if "Intel" in name else flags


def instructions() -> str:
    """Names the processor's fastest instruction set, such as avx2; else the processor's family."""
    flags = _fast_flags()
    return next((word for flag, word in INSTRUCTIONS.items() if flag in flags), platform.machine())


def arithmetic_unit() -> str:
    """Names what decides how sums are rounded on a CPU: equal names compute equal bits."""
    import torch

    name, flags = processor()
    digest = hashlib.sha256(" ".join(sorted(flags)).encode()).hexdigest()[:8]
    return f"{name} ({torch.backends.cpu.get_cpu_capability()}, {digest}), torch {version('torch')}"


def pick_precision(name: str, device: str) -> str:
    """Returns the precision that `name` means on a device.

    `auto` is bf16 where the device is faster in it, else fp32. No clock decides.
    """
    if name != "auto":
        return name
    is_faster = has_bf16(device) and (device != "cpu" or BF16 & _fast_flags())
    return "bf16" if is_faster else "fp32"


def has_bf16(device: str) -> bool:
    """Tells whether a device has instructions for bf16: without them it is many times slower."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device == "cpu" and not BF16.isdisjoint(processor()[1])


def pick_step(name: str, device: str) -> str:
    """Returns the step that `name` means on a device.

    `auto` is fused where that is the faster one and can be compiled, captured on a GPU that has
    proved that equal (experiments/train/trust.py), else plain. No clock decides.

    Raises ConfigError where it has to be fused or captured and cannot.
    """
    if name == "captured":
        if "cuda" not in device:
            raise ConfigError("recipe.step 'captured' needs a GPU of Nvidia's: DEVICE=cuda")
        return name
    if name == "auto" and "cuda" in device:
        from experiments.train.trust import why_not_captured

        return "plain" if why_not_captured(device) else "captured"
    reason = why_not_fused(name, device)
    if name == "fused" and reason:
        raise ConfigError(f"recipe.step 'fused' needs a CPU and a C++ compiler: {reason}")
    return "plain" if reason else "fused"


def why_not_fused(name: str, device: str) -> str:
    """Says why a step that is asked for as `name` is not the fused one; "" where it is."""
    if name not in ("auto", "fused"):
        return f"recipe.step is {name!r}"
    if device != "cpu":
        return f"the device is {device}"
    if name == "auto" and not FASTER_FUSED & processor()[1]:
        return "the processor has neither AVX2 nor AVX-512, and without them it is not measured"
    from senet.fast import kernels

    return "" if kernels.library() else kernels.built()[1]


def device_name(device: str) -> tuple[str, str]:
    """Returns (processor, GPU or "cpu"), as they are named in a record."""
    if "cuda" not in device:
        return processor()[0], device
    import torch

    return processor()[0], torch.cuda.get_device_name(device)


def provenance(device: str, precision: str, step: str, asked: str) -> dict[str, Any]:
    """Returns what a record's env.json says of where its numbers come from.

    `asked` is the step that the recipe asks for, such as "auto".
    """
    import torch

    from experiments.train.gpu import flags

    names = ("torch", "torchvision", "numpy")
    return {
        **checkout(),
        "python": platform.python_version(),
        **{name: version(name) for name in names},
        "platform": platform.platform(),
        "host": platform.node(),
        **dict(zip(("processor", "device"), device_name(device), strict=True)),
        "instructions": instructions(),
        "precision": precision,
        "step": step,
        "kernels": kernels_of(step, asked, device),
        **flags(),
        "threads": torch.get_num_threads(),
    }


def kernels_of(step: str, asked: str, device: str) -> str:
    """Names the kernels of a training's step, or why it has none; `asked`: as in `provenance`."""
    if step != "fused":
        return f"none: {why_not_fused(asked, device) or f'it went on with the {step} step'}"
    from senet.fast import kernels

    return kernels.built()[1]


def checkout() -> dict[str, Any]:
    """Returns the commit of this code, and whether the code is as it was committed.

    They are None and False where the code is in no repository of its own.
    """
    clean = git("status", "--porcelain", "--untracked-files=no") == ""
    return {"commit": git("rev-parse", "HEAD"), "clean": clean}


def git(*words: str) -> str | None:
    """Returns what git says of the repository in ROOT, or None where there is none.

    It neither looks for one above, as where a zip of the code was unpacked inside another project,
    nor takes the one that the environment names (GIT_DIR and its like).
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment["GIT_CEILING_DIRECTORIES"] = str(ROOT.parent)
    try:
        done = subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, timeout=10, env=environment
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def peak_memory(device: str) -> dict[str, float]:
    """Returns the most memory that this process has had, also on its GPU, in MiB."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak = {"peak_memory_mib": round(used / (2**20 if sys.platform == "darwin" else 2**10), 1)}
    if "cuda" in device:
        import torch

        peak["peak_gpu_memory_mib"] = round(torch.cuda.max_memory_reserved(device) / 2**20, 1)
    return peak


def keep_freed_memory() -> None:
    """Lets freed memory be used again at once, where the C library is glibc.

    As it comes, it gives large blocks back to the kernel, which hands out new ones at the next
    layer, zeroed page by page.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        for parameter, value in MALLOC.items():
            mallopt(parameter, value)
