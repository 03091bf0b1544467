"""Checks captured steps: each check trains some networks on a device, and judges the result.

On a CPU the operations that a graph would replay are made one after the other, which tests the
checks themselves; what a CPU cannot do is skipped there.
"""

import inspect
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from experiments.launch.events import Progressed
from experiments.launch.local import Local
from experiments.plan.rates import rates
from experiments.records.config import Recipe
from experiments.records.record import Record
from experiments.train.environment import pick_precision
from experiments.train.epoch import Captured, Eager
from experiments.train.stale import TOLERANCES
from experiments.train.trial import (
    Size,
    apart,
    arrays_of,
    begin,
    config_of,
    filled,
    in_threads,
    refusing_to_wait,
    trained,
)


@dataclass(frozen=True)
class Found:
    """Holds what a check found.

    state  passed; failed; measured, where there is nothing to pass; or skipped
    """

    state: Literal["passed", "failed", "measured", "skipped"]
    says: str


def judge(fault: str, says: str) -> Found:
    return Found("failed", fault) if fault else Found("passed", says)


class Ungraphed(Captured):
    """Makes the operations of a captured step one after the other, without a graph."""

    def launch(self, size: int) -> None:
        self.once(size)


class Watched(Captured):
    """Notices where memory that a graph reads is given up before it is replayed."""

    def recording(self, graph: torch.cuda.CUDAGraph, pool: Any) -> torch.cuda.graph:
        mode = {"capture_error_mode": "thread_local", "check_input_liveness": True}
        return torch.cuda.graph(graph, pool, self.stream, **mode)


def graph(size: Size, device: str) -> Found:
    """Compares steps with and without a graph bit by bit, and the usual ones up to rounding."""
    ours, theirs = (trained(size, device, of).numbers for of in (Captured, Ungraphed))
    if far := apart(ours, theirs):
        return Found("failed", f"{size.steps} steps with a graph and without are {far:.1g} apart")
    plain = trained(size, device, Eager).numbers
    for step, tolerance in enumerate(TOLERANCES[pick_precision("auto", device)]):
        far = apart([ours[step][:1]], [plain[step][:1]])
        if not far <= tolerance:
            return Found("failed", f"loss {step + 1} is {far:.1g} from that of the usual step")
    return Found("passed", f"{size.steps} steps with a graph and without: equal bits")


def liveness(size: Size, device: str) -> Found:
    """Checks that all memory which a graph reads is still in use when it is replayed."""
    if "cuda" not in device:
        return Found("skipped", "nothing is captured on a CPU")
    if "check_input_liveness" not in inspect.signature(torch.cuda.graph).parameters:
        return Found("skipped", f"torch {torch.__version__} cannot watch over a capture")
    far = apart(trained(size, device, Watched).numbers, trained(size, device, Ungraphed).numbers)
    return judge(f"{far:.1g} apart" if far else "", "all that the graphs read is alive")


def waiting(size: Size, device: str) -> Found:
    """Checks that no step waits for the device, while it is captured or when it is replayed."""
    seen: list[Captured] = []

    def loop(*args: Any) -> Captured:
        seen.append(Captured(*args))
        return seen[-1]

    next(begin(size, device, loop))  # captures
    with refusing_to_wait(device):
        try:
            for step in (seen[0].launch, seen[0].once):
                seen[0].step.zero_()
                seen[0].batch.zero_()
                step(size.batch)
        except RuntimeError as error:
            return Found("failed", str(error).splitlines()[0])
    return Found("passed", "no step waits for the device")


def threads(size: Size, device: str, sets: int = 1) -> Found:
    """Checks that runs beside each other on one GPU have the same bits as each alone."""
    cells = [cell for cell in range(2 * size.cells) if sets == 2 or cell // 2 % 2 == 0][
        : size.cells
    ]
    together = in_threads(size, device, size.threads, cells)
    alone = in_threads(size, device, 1, cells)
    others = [cell for cell, a, b in zip(cells, together, alone, strict=True)
              if apart(a.numbers, b.numbers)]  # fmt: skip
    fault = f"{len(others)} of {len(cells)} runs are not as alone" if others else ""
    return judge(fault, f"{len(cells)} runs on {size.threads} threads: each as alone, equal bits")


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
    beside, numbers = begin(size, device), []
    numbers += [next(beside).clone() for _ in range(size.steps // 2)]
    try:
        next(begin(size, device, partial(_without_room, full, device)))
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
