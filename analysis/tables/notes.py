"""What has to be known to read a study's table, a sentence each."""

import math

from analysis.load import Study
from analysis.statistics.comparisons import MARGINS, by_chance, verdict
from analysis.statistics.pool import WIDE
from analysis.statistics.stats import PRIOR, Plan, sampling_difference, smallest_difference
from experiments.records.states import State
from experiments.records.study_file import Tune
from experiments.study.grid import PLAIN

INTERVALS = (
    "Intervals hold 95 %: each row's variance is drawn towards that of all cells of this data set, "
    f"network and recipe, which counts as {PRIOR:g} degrees of freedom."
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
    if asked.dataset == "synthetic":
        lines.append(
            "SYNTHETIC DATA: textures made here, not photographs. Nothing follows for CIFAR."
        )
    if len(done):
        images = int(done.test_images.max())
        lines.append(
            f"Test error on {images:,} images, read after the last epoch; nothing was selected by "
            "it."
        )
    if study.paper.top1.notna().any():
        lines.append(f"The paper's columns: {study.paper_of}, arXiv 1709.01507v4.")
    lines += resolution(study)
    for column, what in (
        ("env.precision", "precisions"),
        ("env.step", "steps of training, and times are not compared"),
        ("env.device", "devices, and times are not compared"),
        ("env.processor", "processors, and times are not compared"),
    ):
        if column in done and done[column].nunique() > 1:
            values = ", ".join(sorted(map(str, done[column].unique())))
            lines.append(f"MIXED: these runs have different {what}: {values}.")
    holes = study.runs[study.runs.state != State.DONE]
    if len(holes):
        counts = ", ".join(f"{n} {state}" for state, n in holes.state.value_counts().items())
        lines.append(f"Not in the means: {counts}.")
    lines += [f"DAMAGED: {reason}." for reason in study.damaged]
    if len(other := study.runs[study.runs.state == State.OTHER_DATA]):
        prints = ", ".join(sorted(set(other["env.data"])))
        lines.append(
            f"OTHER DATA: {len(other)} runs were trained on other data of this name (fingerprint "
            f"{prints}, not {done['env.data'].iloc[0]})."
        )
    return lines + expectation(study)


def tuning(tune: Tune) -> str:
    """With which value of what each row was trained, and what else was tried."""
    rows_of: dict[float | None, list[str]] = {}
    for row, one in tune.rows.items():
        rows_of.setdefault(one.chosen, []).append(row)
    tried = sorted({value for one in tune.rows.values() for value, _ in one.tried})
    untuned = len(rows_of.pop(None, []))
    values = sorted(rows_of, key=lambda value: -len(rows_of[value]))
    others = [f"{value:g} for {'; '.join(rows_of[value])}" for value in values[1:]]
    found = ", but ".join(
        [f"{value:g}" for value in values[:1]] + [", ".join(others)] * bool(others)
    )
    name = SETTINGS.get(tune.key, tune.key)
    return (
        f"Each row has its own best {name} of {', '.join(f'{value:g}' for value in tried)}, chosen "
        "on held-out images by runs of other seeds"
        + (f": {found}" if found else "")
        + (f"; {untuned} rows are not tuned yet." if untuned else ".")
    )


def resolution(study: Study) -> list[str]:
    """What these seeds can tell apart, and what would tell more."""
    asked, done = study.asked, study.done
    if not len(done):
        return []
    groups = [study.errors(row) for row in study.rows]
    n = min((len(group) for group in groups if group), default=0)
    plan = study.pool.plan
    is_measured = not math.isnan(plan.spread)
    if not is_measured and asked.spread is not None:
        plan = Plan(asked.spread)
    lines = []
    if n > 1:
        lines.append(INTERVALS)
        if study.references:
            lines += comparing(study)
        if any(map(study.pool.is_wide, study.cells.values())):
            lines.append(f"* spreads more: its variance is over {WIDE:g} times the pool's.")
    if not math.isnan(plan.spread):
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
        dataset = "cifar10" if asked.dataset == "synthetic" else asked.dataset
        warning = "A DEMONSTRATION" if asked.demonstration else "ONE SEED"
        lines.append(
            f"{warning}: rank nothing by it. Numbers that hold, on a GPU: "
            f"`DATASET={dataset} RECIPE=fast SEEDS=5 {asked.command}`; on a CPU RECIPE=small."
        )
    return lines


def comparing(study: Study) -> list[str]:
    """What has a verdict, and what the others are by chance."""
    margin = MARGINS.get(study.asked.dataset)
    lines = [by_chance(study)]
    if any(verdict(study, row) for row in study.references):
        lines.append(
            "A verdict stands where a comparison was declared beforehand (analysis/contrasts.yaml)"
            + (f"; alike means within {margin:g} points." if margin else ".")
        )
    return [line for line in lines if line]


def expectation(study: Study) -> list[str]:
    """A warning where the plain network did not end where this recipe should end."""
    expect, plain = study.asked.expect, study.of(PLAIN).test_error
    if expect is None or not len(plain) or expect[0] <= plain.mean() <= expect[1]:
        return []
    return [
        f"WARNING: the plain network ends at {plain.mean():.1f} %, and this recipe should end "
        f"between {expect[0]:g} and {expect[1]:g} %."
    ]
