"""Gates that go wrong in a training, and a grid of them: what test_faults.py trains.

As faults come from the fourth step on, nothing else that tries the network meets them. Once a file
`mended` is beside the grid they are all sigmoids: a run that `waits` is not over before that, nor
does it stop; one that is `held` does, and takes half a minute. RESULTS is the folder `results`
beside it.
"""

import json

SOURCE = """
import ctypes, os, signal, time
from pathlib import Path
import torch
from torch import nn
from senet.block import GATES

FOLDER = Path({folder!r})
MENDED = FOLDER / "mended"

def crowded():
    if len(list(FOLDER.glob("results/runs/*/*/lock"))) > 1:
        (FOLDER / "raised").touch()
        raise MemoryError("no room beside another run")

def slow():
    while not (FOLDER / "raised").exists():
        time.sleep(0.05)

def forks():
    if os.fork() == 0:  # a child that outlives the crash
        time.sleep(15)
        os._exit(0)
    os.abort()

def waits():
    while not MENDED.exists():
        time.sleep(0.05)

FAULTS = {
    "forks": forks,
    "raises": lambda: 1 / 0,
    "allocates": lambda: torch.empty(2**60),
    "aborts": os.abort,
    "segfaults": lambda: ctypes.string_at(0),
    "hangs": lambda: time.sleep(10**6),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "exits": lambda: os._exit(7),
    "crowded": crowded,
    "slow": slow,
    "waits": waits,
    "held": lambda: time.sleep(0.2),  # in each of nine blocks; it can be stopped between two steps
}

def faulty(name):
    class Gate(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.steps = 0

        def forward(self, logits):
            if self.training and len(logits) == 16 and not MENDED.exists():
                self.steps += 1
                if self.steps >= 4:
                    if name == "nan":
                        return logits * float("nan")
                    FAULTS[name]()
            return torch.sigmoid(logits)

    return Gate

GATES.update({name: faulty(name) for name in [*FAULTS, "nan"]})
"""


def cells(gate: str, *ratios: int) -> dict:
    """The cells of a grid with this gate."""
    return {"se.gate": gate, "se.ratio": ratios}


def write(folder, *gates: str) -> str:
    """The path of a grid of these gates, beside plain and sigmoid."""
    return write_grid(folder, "sigmoid", ["plain"], {"se.gate": ["sigmoid", *gates]})


def write_grid(
    folder, reference: str, controls: list[str], *cells: dict, title: str = "What goes wrong"
) -> str:
    """The path of a grid of these cells, whose gates may be those of here."""
    grid = {"title": title, "code": "my_faults.py", "controls": controls}
    (folder / "my_faults.py").write_text(SOURCE.replace("{folder!r}", repr(str(folder))))
    path = folder / "my_faults.yaml"  # JSON is YAML
    path.write_text(json.dumps({**grid, "reference": reference, "cells": cells}))
    return str(path)
