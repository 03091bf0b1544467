"""Tells facts of gates that need no drawing: where they start, which classes are shown."""

import numpy as np

from experiments.data.datasets import DATASETS
from experiments.records.gates import Block, Gates, spaced

LOW, HIGH = 0.1, 0.9  # gates beyond them are saturated
STARTS = {  # of a gate's function at logit 0, where a training begins
    "sigmoid": 0.5, "hard_sigmoid": 0.5, "tanh": 0.0, "relu": 0.0, "softmax_c": 1.0,
    "sigmoid_x2": 1.0, "tanh_plus1": 1.0, "relu_plus1": 1.0,
}  # fmt: skip


def start_of(gate: str | None, width: int) -> float | None:
    """Returns the gate at logit 0 in a block of `width` channels; None where it is unknown."""
    return 1 / width if gate == "softmax" else STARTS.get(gate or "")


def class_range(block: Block) -> float:
    """Returns how far the classes lie apart in a block: most minus least open, the mean channel."""
    return float(np.ptp(block.class_mean, axis=0).mean())


def widest(gates: Gates) -> str:
    """Names the block whose classes lie farthest apart."""
    return max(gates.blocks, key=lambda name: class_range(gates.blocks[name]))


def default_classes(gates: Gates) -> tuple[str, ...]:
    """Returns four of the data set's classes: those that its row names, or evenly spaced ones."""
    names = gates.class_names
    some = tuple(names[i] for i in spaced(len(names), min(4, len(names))))
    named = (source.shown for source in DATASETS.values() if source.shown)
    return next((row for row in named if set(row) <= set(names)), some)


def saturation(block: Block) -> tuple[float, float]:
    """Returns the shares of channels whose mean gate is below LOW, and above HIGH."""
    return float((block.mean < LOW).mean()), float((block.mean > HIGH).mean())
