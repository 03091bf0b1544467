"""Packs the gates that the page's explorer shows: mean and deviation by class, block and channel.

Each takes a byte: 255 steps from the least to the largest value of a block, of the means and of the
deviations apart. What is drawn is off by half a step at most; `step` says how much that is.
"""

import base64
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np

from analysis.figures.gate_facts import default_classes, start_of, widest
from analysis.figures.subjects import subjects
from analysis.study import Study
from experiments.records.gates import Block, Gates, unpack

STEPS = 255
ROOM = 900_000  # characters of base64, for all networks together


def networks(groups: Sequence[Sequence[Study]]) -> list[dict[str, Any]]:
    """Returns one entry per network whose gates differ by class, from its first seed with gates.

    In each group those come first of which there are figures. No further network is taken once
    ROOM is used up.
    """
    found: dict[str, dict[str, Any]] = {}
    left = ROOM
    for study, row in chain.from_iterable(map(ordered, groups)):
        cell = study.cells[row]
        if cell in found or left <= 0:
            continue
        seed, file = next(iter(study.gate_files(row).items()), (0, None))
        if file and all(map(varies, (gates := unpack(file)).blocks.values())):
            found[cell] = network(study, row, int(seed), gates)
            if len(groups) > 1:
                found[cell]["label"] += f" · {', '.join(study.asked.group)}"
            left -= sum(len(b["mean"]) + len(b["std"]) for b in found[cell]["blocks"])
    return list(found.values())


def ordered(studies: Sequence[Study]) -> Iterator[tuple[Study, str]]:
    """Yields study and row of each network: first those whose gates are drawn, as on the page."""
    yield from subjects(studies).values()
    yield from ((study, row) for study in studies for row in study.cells)


def varies(block: Block) -> bool:
    """Tells whether gates of a block are kept by class, and differ between classes."""
    return len(block.channels) > 0 and bool(np.ptp(block.class_mean, axis=0).max() > 0)


def network(study: Study, row: str, seed: int, gates: Gates) -> dict[str, Any]:
    gate = study.gate(row)
    return {
        "label": row if row == study.reference else f"{row} ({study.asked.title})",
        "cell": study.cells[row],
        "seed": seed,
        "classes": gates.class_names,
        "images": gates.images.tolist(),
        "first": list(default_classes(gates)),
        "widest": list(gates.blocks).index(widest(gates)),
        "blocks": [
            {"name": name, "width": len(block.mean), "start": start_of(gate, len(block.mean))}
            | packed(block)
            for name, block in gates.blocks.items()
        ],
    }


def packed(block: Block) -> dict[str, Any]:
    """Packs the numbers by class, (classes, k) each, as bytes in base64, with how to read them."""
    whole = block.channels.tolist() == list(range(len(block.mean)))
    found: dict[str, Any] = {} if whole else {"channels": block.channels.tolist()}
    for name, values in (("mean", block.class_mean), ("std", block.class_std)):
        low, high = float(values.min()), float(values.max())
        step = (high - low) / STEPS or 1.0
        steps = np.rint((values - low) / step).astype(np.uint8)
        found[name] = base64.b64encode(steps.tobytes()).decode()
        found[f"{name}_low"], found[f"{name}_step"] = low, float(f"{step:.6g}")
    return found
