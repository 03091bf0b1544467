"""Writes what the figures of one network's gates show, and what follows."""

import numpy as np

from analysis.figures.gate_facts import class_range, start_of, widest
from analysis.page.captions import Caption
from analysis.statistics.interventions import WORDS, everywhere, written
from analysis.study import Study
from experiments.records.gates import Gates


def of_gates(kind: str, study: Study, row: str, gate: str | None) -> Caption:
    """Writes the caption of a figure of the gates of one network."""
    runs = list(study.gates(row).values())
    if kind == "interventions":
        return interventions(study, row)
    if not runs:
        return Caption(kind, "")
    return {"figure6": figure6, "figure7": figure7, "specificity": specificity, "walk": walk}[kind](
        runs, gate
    )


def figure6(runs: list[Gates], gate: str | None) -> Caption:
    blocks = runs[0].blocks
    away = {n: np.abs(b.mean - (start_of(gate, len(b.mean)) or 0.0)) for n, b in blocks.items()}
    texts = [f"{n} {b.mean.min():.3f} to {b.mean.max():.3f}" for n, b in blocks.items()]
    alt = f"Mean gate of each channel by class, a panel a block. Over channels: {'; '.join(texts)}."
    most = widest(runs[0])
    start = " of where they start" if gate else ""
    nine = float(np.quantile(np.concatenate(list(away.values())), 0.9))
    return Caption(
        alt,
        f"Nine tenths of the channels have a mean gate within {nine:.3f}{start}. Classes lie "
        f"farthest apart in {most}: by {class_range(blocks[most]):.3f} in the mean channel.",
    )


def figure7(runs: list[Gates], gate: str | None) -> Caption:
    blocks = runs[0].blocks
    within = {n: float(b.class_std.mean()) for n, b in blocks.items()}
    texts = [f"{n} ± {x:.3f}" for n, x in within.items()]
    alt = f"Mean gate and its deviation within two classes, a panel a block: {'; '.join(texts)}."
    most = max(within, key=lambda name: within[name])
    return Caption(
        alt,
        f"Within a class gates vary most in {most}, by {within[most]:.3f} (standard deviation, in "
        "the mean channel). Where bands overlap the gates do not tell the classes apart.",
    )


def specificity(runs: list[Gates], gate: str | None) -> Caption:
    by_block = {n: b.class_share() for n, b in runs[0].blocks.items()}
    medians = {n: float(np.median(s)) for n, s in by_block.items() if len(s)}
    if not medians:
        return Caption("No gate varies.", "No gate varies over images.")
    texts = [f"{n} {100 * x:.0f} %" for n, x in medians.items()]
    alt = (
        "Share of a gate's variance that lies between classes, by block, median channel: "
        f"{'; '.join(texts)}."
    )
    names, shares = zip(*medians.items(), strict=True)
    ends = [f"{100 * share:.0f}" for share in (shares[0], shares[-1])]
    text = "share of the variance over images that lies between classes"
    if len(names) == 1:
        return Caption(alt, f"The {text} is {ends[0]} % in {names[0]}, in the median channel.")
    return Caption(
        alt,
        f"From {names[0]} to {names[-1]} the {text} goes from {ends[0]} to {ends[1]} %, in the "
        "median channel.",
    )


def walk(runs: list[Gates], gate: str | None) -> Caption:
    found = next(one for one in runs if one.walk is not None)
    seen, spread = found.walk, {n: float(b.std.mean()) for n, b in found.blocks.items()}
    most = max(spread, key=lambda name: spread[name])
    ends = f"{seen.s.min():.2f} to {seen.s.max():.2f}"
    alt = (
        f"One image of class {found.class_names[seen.label]} through {seen.block}: the image, some "
        f"maps, one number a map, one gate a map ({ends}), and the maps times their gates."
    )
    text = f"For this image the gates of {seen.block} lie between {ends.replace(' to ', ' and ')}."
    if most != seen.block:
        text += f" Over all images gates vary most in {most}; the record kept this block's maps."
    return Caption(alt, text)


def interventions(study: Study, row: str) -> Caption:
    table = everywhere(study, row)
    by = {how: written(table.rise[how], table.half_width[how]) for how in table.index}
    texts = [f"{WORDS[how]} {by[how]}" for how in WORDS if how in by]
    alt = (
        f"Rise of the error, in points, with the gates of all blocks replaced: {'; '.join(texts)}."
    )
    if "mean" not in by:
        return Caption(alt, "")
    text = f"With each gate at its mean over images the error changes by {by['mean']} points"
    rest = f", with all gates at 1 by {by['one']}" if "one" in by else ""
    return Caption(
        alt, f"{text}{rest}: what the trained network depends on, not what its training gained."
    )
