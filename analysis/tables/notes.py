"""Writes the notes that one needs to read a study's table, a sentence each."""

import math
from collections.abc import Sequence

import pandas as pd

from analysis.statistics.comparisons import MARGINS, by_chance, verdict
from analysis.statistics.contrasts import standing
from analysis.statistics.lengths import UNITS, series, unit
from analysis.statistics.pool import WIDE
from analysis.statistics.seeds import Plan, sampling_difference, smallest_difference
from analysis.statistics.stats import PRIOR
from analysis.study import Study
from experiments.data.datasets import caveat
from experiments.records.states import State
from experiments.records.study_file import Tune
from experiments.study.grid import PLAIN

INTERVALS = (
    "Intervals hold 95 %: each row's variance is shrunk towards that of all cells of this data "
    f"set, network and recipe{{}}, which counts as {PRIOR:g} degrees of freedom."
)

SETTINGS = {"recipe.lr": "learning rate", "recipe.weight_decay": "weight decay"}

WATCHED = (
    "The results were looked at after every round of seeds: the intervals of these rows are wider, "
    "so that they hold however often one looks."
)


def notes(study: Study) -> list[str]:
    asked, done = study.asked, study.done
    lines = [
        f"Data {asked.dataset}, network {asked.network}, {asked.training}. "
        + ("One seed." if asked.seeds == 1 else f"Seeds 0 to {asked.seeds - 1}.")
    ]
    if added := {row.label: row.seeds for row in asked.rows if row.seeds}:
        more = ", ".join(f"{row}: {seeds}" for row, seeds in added.items())
        lines.append(f"Seeds were added where a declared comparison was not decided ({more}).")
    if study.is_watched:
        lines.append(WATCHED)
    if asked.tune:
        lines.append(tuning(asked.tune))
    if text := caveat(asked.dataset):
        lines.append(text)
    if len(done):
        images = int(done.test_images.max())
        lines.append(
            f"Test error on {images:,} images, read after the last epoch; nothing was selected by "
            "it."
        )
    if study.paper.top1.notna().any():
        lines.append(f"The paper's columns: {study.paper_of}, arXiv 1709.01507v4.")
    lines += _resolution(study)
    for column, what in (
        ("env.precision", "precisions"),
        ("env.step", "steps of training, and times are not compared"),
        ("env.device", "devices, and times are not compared"),
        ("env.processor", "processors, and times are not compared"),
    ):
        values = {str(x) for x in done[column] if not pd.isna(x)} if column in done else set()
        if len(values) > 1:
            shown = ", ".join(sorted(values))
            lines.append(f"MIXED: these runs have different {what}: {shown}.")
    holes = study.runs[study.runs.state != State.DONE]
    if len(holes):
        counts = ", ".join(f"{n} {state}" for state, n in holes.state.value_counts().items())
        lines.append(f"Not in the means: {counts}.")
    lines += [f"DAMAGED: {reason}." for reason in study.damaged]
    if len(other := study.runs[study.runs.state == State.OTHER_DATA]):
        prints = ", ".join(sorted(set(other["env.data"])))
        lines.append(
            f"OTHER DATA: {len(other)} runs were trained on other data of this name (fingerprint "
            f"{prints}{', not ' + done['env.data'].iloc[0] if len(done) else ''})."
        )
    return lines + expectation(study)


def tuning(tune: Tune) -> str:
    """Says which tuned value each row was trained with, and of which it is the best."""
    rows_of: dict[float, list[str]] = {}
    at_end = []
    for row, one in tune.rows.items():
        values = [value for value, _ in one.tried]
        if one.chosen is not None:
            rows_of.setdefault(one.chosen, []).append(row)
            at_end += [row] if one.chosen in (values[0], values[-1]) else []
    left = len(tune.rows) - sum(map(len, rows_of.values()))
    tried = sorted({value for one in tune.rows.values() for value, _ in one.tried})
    ranked = sorted(rows_of, key=lambda value: -len(rows_of[value]))
    others = [f"{value:g} for {'; '.join(rows_of[value])}" for value in ranked[1:]]
    text = (
        f"Each row has the {SETTINGS.get(tune.key, tune.key)} that is best on held-out images, by "
        f"runs of other seeds with {', '.join(f'{value:g}' for value in tried)}"
    )
    if ranked:
        text += f": {', but '.join([f'{ranked[0]:g}', *([', '.join(others)] if others else [])])}"
    if at_end:
        text += f"; at the end of what was tried for {'; '.join(at_end)}"
    return text + (f"; not chosen yet for {left} of {len(tune.rows)} rows." if left else ".")


def _resolution(study: Study) -> list[str]:
    """Says which differences these seeds can show, and where more seeds are needed."""
    asked, done = study.asked, study.done
    if not len(done):
        return []
    n = fewest([study])
    plan, across = study.pool.plan, series(study)
    is_measured = not math.isnan(plan.spread)
    if not is_measured and asked.spread is not None:
        plan = Plan(asked.spread)
    lines = []
    if n > 1:
        lines.append(INTERVALS.format(" that were trained as long" if across else ""))
        if study.references:
            lines += _comparing(study)
        if any(map(study.pool.is_wide, study.cells.values())):
            lines.append(f"* spreads more: its variance is over {WIDE:g} times the pool's.")
    if across:
        lines += spreads(study)
    elif not math.isnan(plan.spread):
        source = "these runs" if is_measured else "this recipe, measured before"
        lines.append(
            f"Seeds differ by {plan.spread:.2f} points (standard deviation, of {source}): "
            f"with n = {n} only a difference of {smallest_difference(plan, n):.1f} points or more "
            "is likely to be seen, in one comparison alone (power 0.8)."
        )
    elif n == 1:
        sampled = sampling_difference(done.test_error.mean(), int(done.test_images.max()))
        lines.append(
            f"n = 1: no interval. The choice of test images alone can move a difference by up to "
            f"{sampled:.1f} points (95 %); how much seeds move it was not measured."
        )
    if asked.demonstration or n == 1:
        dataset = "cifar10" if caveat(asked.dataset) else asked.dataset
        warning = "A DEMONSTRATION" if asked.demonstration else "ONE SEED"
        lines.append(
            f"{warning}: rank nothing by it. Numbers that hold, on a GPU: "
            f"`DATASET={dataset} RECIPE=fast SEEDS=5 {asked.command}`; on a CPU RECIPE=small."
            if not across
            else f"{warning}: rank nothing by it. Numbers that hold: `SEEDS=5 {asked.command}`."
        )
    return lines


def fewest(studies: Sequence[Study]) -> int:
    """Counts the seeds of the row with the fewest, of those with several; 1 where none has.

    While seeds or rows are still to come that is the number behind the intervals. 0 for no result.
    """
    counts = {len(study.errors(row)) for study in studies for row in study.rows}
    return min(counts - {0, 1}, default=max(counts, default=0))


def spreads(study: Study) -> list[str]:
    """Says how far seeds differ at each length of training; [] where that is not known yet."""
    pool = study.pool
    known = {
        length: spread.deviation
        for rows in series(study).values()
        for length, row in rows.items()
        if (spread := pool.spread_of(study.cells[row])).is_known
    }
    texts = [f"{known[length]:.2f} at {length:,}" for length in sorted(known)]
    if not texts:
        return []
    return [
        f"Seeds differ by so many points (standard deviation): {', '.join(texts)} "
        f"{UNITS[unit(study)]}."
    ]


def _comparing(study: Study) -> list[str]:
    """Says where verdicts stand, and how many other intervals leave out 0, as some do by chance."""
    margin = MARGINS.get(study.asked.dataset)
    lines = [by_chance(study)]
    if any(verdict(study, row) for row in study.references):
        lines.append(
            "A verdict stands where a comparison is declared (analysis/contrasts.yaml)"
            + (f"; alike means within {margin:g} points." if margin else ".")
            + "".join(f" {text}" for text in standing(study.asked.group))
        )
    return [line for line in lines if line]


def expectation(study: Study) -> list[str]:
    """Warns where the plain network did not end where this recipe should end; [] elsewhere."""
    expect, plain = study.asked.expect, study.of(PLAIN).test_error
    if expect is None or not len(plain) or expect[0] <= plain.mean() <= expect[1]:
        return []
    return [
        f"WARNING: the plain network ends at {plain.mean():.1f} %, and this recipe should end "
        f"between {expect[0]:g} and {expect[1]:g} %."
    ]
