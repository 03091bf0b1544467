"""Proves that captured steps are equal on a GPU before `auto` takes them there (trust.py).

`python -m experiments.train.proof DEVICE` prints what it found. `make gpu-check` asks more
(benchmarks/gpu_checks.py). On a CPU the operations that a graph would replay are made one after
the other, which tests the checks themselves.
"""

import json
import sys
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from experiments.train.environment import pick_precision
from experiments.train.epoch import Captured, Eager
from experiments.train.stale import TOLERANCES
from experiments.train.trial import (
    SHORT,
    Size,
    apart,
    in_threads,
    refusing_to_wait,
    trained,
    training_steps,
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


def waiting(size: Size, device: str) -> Found:
    """Checks that no step waits for the device, while it is captured or when it is replayed."""
    seen: list[Captured] = []

    def loop(*args: Any) -> Captured:
        seen.append(Captured(*args))
        return seen[-1]

    next(training_steps(size, device, loop))  # captures
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


NEEDED = graph, waiting, threads


def proved(size: Size, device: str) -> Found:
    """Runs the checks that are NEEDED, up to the first that does not pass."""
    for check in NEEDED:
        found = check(size, device)
        if found.state != "passed":
            return found
    return Found("passed", "captured steps are equal to the same operations one by one")


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(asdict(proved(SHORT, sys.argv[1]))))
