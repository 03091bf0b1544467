"""Runs the checks that a captured step has to pass before a GPU is trusted with it: checks.py.

Each is asked in a process of its own: `python -m experiments.launch.proof NAME DEVICE` prints what
it found.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import torch

from experiments.launch.checks import (
    Found,
    graph,
    liveness,
    memory,
    resume,
    same_bits,
    streams,
    tf32,
    threads,
    two_sets,
    waiting,
)
from experiments.train.trial import FULL, SHORT, Size


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
NEEDED = "graph", "waiting", "threads"  # for `auto` to take the captured step


def short(size: Size, device: str) -> Found:
    """Runs the checks that are NEEDED, up to the first that does not pass."""
    for name in NEEDED:
        found = CHECKS[name].function(size, device)
        if found.state != "passed":
            return found
    return Found("passed", "captured steps are equal to the same operations one by one")


def main(name: str, device: str) -> None:
    torch.set_num_threads(1)
    found = short(SHORT, device) if name == "short" else CHECKS[name].function(FULL, device)
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    main(*sys.argv[1:])
