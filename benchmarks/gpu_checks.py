"""Checks captured steps: each check trains some networks on a device, and judges the result.

`python -m benchmarks.gpu_checks NAME DEVICE` prints what one found, in a process of its own. Three
of them are those that `auto` asks for (experiments/train/proof.py). On a CPU the operations that a
graph would replay are made one after the other, which tests the checks themselves; what a CPU
cannot do is skipped there.
"""

import inspect
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.launch.events import Progressed
from experiments.launch.local import Local
from experiments.plan.rates import rates
from experiments.records.config import Recipe
from experiments.records.record import Record
from experiments.train.epoch import Captured
from experiments.train.proof import Found, Ungraphed, graph, judge, threads, waiting
from experiments.train.trial import FULL, Size, apart, arrays_of, config_of, trained, training_steps


class Watched(Captured):
    """Notices where memory that a graph reads is given up before it is replayed."""

    def recording(self, graph: torch.cuda.CUDAGraph, pool: Any) -> torch.cuda.graph:
        mode = {"capture_error_mode": "thread_local", "check_input_liveness": True}
        return torch.cuda.graph(graph, pool, self.stream, **mode)


def liveness(size: Size, device: str) -> Found:
    """Checks that all memory which a graph reads is still in use when it is replayed."""
    if "cuda" not in device:
        return Found("skipped", "nothing is captured on a CPU")
    if "check_input_liveness" not in inspect.signature(torch.cuda.graph).parameters:
        return Found("skipped", f"torch {torch.__version__} cannot watch over a capture")
    far = apart(trained(size, device, Watched).numbers, trained(size, device, Ungraphed).numbers)
    return judge(f"{far:.1g} apart" if far else "", "all that the graphs read is alive")


def two_sets(size: Size, device: str) -> Found:
    """Checks that runs on two data sets, in turns on one GPU, have the same bits as alone."""
    return threads(size, device, 2)


Full = Callable[[str], AbstractContextManager]


def memory(size: Size, device: str, full: Full | None = None) -> Found:
    """Checks that a run without room for a capture ends, and that those beside it go on.

    `full` takes the room; the GPU's own unless given.
    """
    full = full or (filled if "cuda" in device else None)
    if full is None:
        return Found("skipped", "nothing is captured on a CPU")
    expected = trained(size, device).numbers
    beside, numbers = training_steps(size, device), []
    numbers += [next(beside).clone() for _ in range(size.steps // 2)]
    try:
        next(training_steps(size, device, partial(_without_room, full, device)))
        return Found("failed", "a capture went on where no memory was left")
    except torch.OutOfMemoryError:
        pass
    except Exception as error:
        return Found("failed", f"no room for a capture raised {type(error).__name__}: {error}")
    numbers += [value.clone() for value in beside]
    faults = {
        "the run beside it": apart([n.cpu() for n in numbers], expected),
        "the next capture": apart(trained(size, device).numbers, expected),
    }
    fault = ", ".join(f"{name} is {far:.1g} apart" for name, far in faults.items() if far)
    return judge(fault, "out of memory ends one run; those beside it and after it are as before")


def _without_room(full: Full, device: str, *args: Any) -> Captured:
    """Makes a loop that has no more memory from its capture on, or on a CPU from its first step."""
    ours = Captured(*args)
    name = "recording" if "cuda" in device else "launch"
    own = getattr(ours, name)

    @contextmanager
    def recording(*args: Any) -> Iterator[None]:
        with full(device), own(*args):
            yield

    def launch(size: int) -> None:
        with full(device):
            own(size)

    setattr(ours, name, recording if name == "recording" else launch)
    return ours


def resume(size: Size, device: str) -> Found:
    """Checks that a run whose process is killed ends in the same numbers as one left alone."""
    with tempfile.TemporaryDirectory(prefix="check-") as folder:
        arrays = arrays_of(size)
        names = tuple(f"class {number}" for number in range(10))
        parts: dict[str, Any] = vars(arrays) | {"class_names": np.array(names)}
        parts = {k: v for k, v in parts.items() if k not in ("name", "fingerprint")}
        np.savez(Path(folder) / "cifar10.npz", **parts)
        step = "captured" if "cuda" in device else "plain"
        recipe = Recipe(name="check", epochs=8, batch_size=size.batch, holdout=size.images // 4,
                        step=step)  # fmt: skip
        config = config_of(size).model_copy(update={"recipe": recipe})
        alone, killed = (Record(Path(folder) / name, config) for name in ("alone", "killed"))
        run(alone, device, Path(folder), kill_in=None)
        run(killed, device, Path(folder), kill_in=2)
        run(killed, device, Path(folder), kill_in=None)
        for record in (alone, killed):
            if record.state != "done":
                return Found("failed", f"the run that is {record.path.parents[2].name} ended as "
                             f"{record.state}")  # fmt: skip
        resumed = json.loads((killed.path / "env.json").read_bytes()).get("resumed")
        same = alone.summary() == killed.summary()
    if not resumed:
        return Found("failed", "the killed run did not go on from its checkpoint")
    return judge(
        "" if same else "it ended in other numbers", "killed and resumed: the same numbers"
    )


def run(record: Record, device: str, data_dir: Path, kill_in: int | None) -> None:
    """Trains a run; kills its process after so many epochs."""
    together = [record] if "cuda" in device else []
    with Local([device], data_dir, checkpoint_every=0.0, together=together) as local:
        for event in local.train([record]):
            match event:
                case Progressed(row={"epoch": epoch}) if epoch == kill_in:
                    for active in local.active.values():
                        active.worker.process.kill()
                    return


def same_bits(size: Size, device: str) -> Found:
    """Compares two runs with deterministic cuDNN, which have to be equal, and two without."""
    far = {
        held: apart(*(trained(size, device, deterministic=held).numbers for _ in range(2)))
        for held in (True, False)
    }
    free = f"{far[False]:.1g} apart" if far[False] else "equal bits, too"
    fault = f"two runs with deterministic cuDNN are {far[True]:.1g} apart" if far[True] else ""
    return judge(fault, f"two runs with deterministic cuDNN: equal bits; without: {free}")


def tf32(size: Size, device: str) -> Found:
    """Measures how far apart float32 with and without TF32 are, and how fast each is."""
    found = {}
    for is_on in (False, True):
        found[is_on] = trained(size, device, precision="fp32", tf32=is_on)
    far = apart([found[True].numbers[0][:1]], [found[False].numbers[0][:1]])
    paces = ", ".join(
        f"{name} {found[is_on].rate:,.0f}" for is_on, name in ((False, "off"), (True, "on"))
    )
    return Found("measured", f"images/s with TF32 {paces}; the first loss is {far:.1g} apart")


def streams(size: Size, device: str) -> Found:
    """Measures how many images a second 1, 2, 4, ... runs train on at once."""
    most = 2 if device == "cpu" else 32
    found = rates(config_of(size), device, most)
    return Found("measured", ", ".join(f"{n}: {rate:,.0f} images/s" for n, rate in found.items()))


@contextmanager
def filled(device: str) -> Iterator[None]:
    """Leaves no more of the GPU's memory to this process than it has."""
    torch.cuda.empty_cache()
    _, everything = torch.cuda.mem_get_info(device)
    share = torch.cuda.memory_reserved(device) / everything
    torch.cuda.set_per_process_memory_fraction(share, device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


@dataclass(frozen=True)
class Check:
    """Holds a function of (size, device), and the environment of its process."""

    function: Callable[[Size, str], Found]
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def about(self) -> str:
        return (self.function.__doc__ or "").split("\n")[0]


CHECKS = {
    "graph": Check(graph),
    "liveness": Check(liveness),
    "waiting": Check(waiting),
    "threads": Check(threads),
    "two sets": Check(two_sets),
    "memory": Check(memory),
    "resume": Check(resume),
    "same bits": Check(same_bits),
    "tf32": Check(tf32),
    "streams, 8 connections": Check(streams, {"CUDA_DEVICE_MAX_CONNECTIONS": "8"}),
    "streams, 32 connections": Check(streams, {"CUDA_DEVICE_MAX_CONNECTIONS": "32"}),
}


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(asdict(CHECKS[sys.argv[1]].function(FULL, sys.argv[2]))))
