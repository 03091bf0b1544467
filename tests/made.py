"""Studies in memory, made of numbers that are known."""

import pandas as pd
from conftest import with_changes

from analysis.study import Study
from experiments.study.grid import PLAIN
from experiments.study.study import expand

GROUP = {"dataset": "cifar10", "recipe": "medium"}


def made(grid: str, errors: dict[str, list[float]], **changes) -> Study:
    """A study in memory, whose runs end in these errors; 9 % for the rows that are not named."""
    asked = with_changes(expand(grid, **GROUP).record(), **{"seeds": 3} | changes)
    rows = []
    for row in asked.rows:
        for seed, error in enumerate(errors.get(row.label, [8.9, 9.0, 9.1])):
            has_se = row.label not in (PLAIN, "gate fixed at 1/2")
            rows.append({
                "row": row.label, "seed": seed, "state": "done", "reason": "",
                "test_error": error, "test_images": 10_000, "interventions": {},
                "epochs": 6, "train_images": 45_000,
                "parameters": 110 if has_se else 100,
                "multiply_adds": 1005 if row.label == "NoSqueeze" else 1001 if has_se else 1000,
                "pace": (1.05 if has_se else 1.0) + 0.001 * seed, "delay": 1.1,
                "hidden": "",
                "env.processor": "p", "env.device": "d", "env.data": "x", "env.precision": "bf16",
                "env.step": "plain", "path": f"{row.label}/seed{seed}",
            })  # fmt: skip
    paper = pd.DataFrame(index=[row.label for row in asked.rows], columns=["top1"], dtype=float)
    return Study(
        asked, pd.DataFrame(rows), pd.DataFrame(columns=["row", "seed", "epoch"]), paper, ""
    )


def around(mean: float) -> list[float]:
    return [mean - 0.05, mean, mean + 0.05]


def across(slope: float, longest: int = 5) -> Study:
    """A study across lengths in which SE's error falls by so many points more with a doubling."""
    rows = expand("budget", dataset="cifar10", recipe="medium").record().rows
    steps = {f"{60_000 * 2**n:,}": n for n in range(5)}
    errors = {}
    for row in rows:
        n = steps[row.levels["images"]]
        mean = 30 - 4 * n + (slope * n if row.label.startswith("SE,") else 0)
        errors[row.label] = around(mean) if n < longest else []
    study = made("budget", errors)
    images = {row.label: int(row.levels["images"].replace(",", "")) for row in rows}
    study.runs["config.recipe.images"] = study.runs.row.map(images)
    return study
