"""Defines the measures that claims compare: (study, row) -> one number a run."""

import numpy as np

from analysis.study import Measure, Study, values_of
from senet.config import stage_of


def curve(third: int) -> Measure:
    """Makes a measure: the held-out error in %, mean over a third of the epochs: 0 is the first."""

    def measure(study: Study, row: str) -> list[float]:
        if "val_error" not in study.curves:
            return []
        epochs = [
            study.curves.loc[(study.curves.row == row) & (study.curves.seed == seed), "val_error"]
            for seed in study.column(row, "seed")
        ]
        parts = [np.array_split(errors.dropna().to_numpy(), 3)[third] for errors in epochs]
        return [float(part.mean()) for part in parts if len(part)]

    return measure


def _late_rise(study: Study, row: str) -> list[float]:
    """Returns the points that the error rises by with the last stage's gates at their means."""
    found = [run for run in study.column(row, "interventions") if isinstance(run, dict)]
    return [
        list(run["stages"].values())[-1]["mean"] - run["intact"]
        for run in found
        if run.get("stages")
    ]


def specificity(study: Study, row: str) -> list[float]:
    """Returns the points of variance over images that classes explain of the last stage's gates,
    beyond what they explain of what these gates look at, minus the same of the first stage."""

    def beyond(shares: dict[str, dict[str, float]], stage: str) -> float:
        names = [name for name in shares["gates"] if stage_of(name) == stage]
        return float(np.mean([shares["gates"][n] - shares["squeezed"][n] for n in names]))

    found = [s for s in study.column(row, "class_shares") if isinstance(s, dict) and s]
    ends = [(s, sorted({stage_of(name) for name in s["gates"]})) for s in found]
    return [100 * (beyond(s, stages[-1]) - beyond(s, stages[0])) for s, stages in ends]


MEASURES: dict[str, tuple[str, Measure]] = {
    "error": ("test error (points)", values_of("test_error")),
    "early": ("held-out error in the first third of the epochs (points)", curve(0)),
    "middle": ("held-out error in the second third (points)", curve(1)),
    "late": ("held-out error in the last third (points)", curve(2)),
    "parameters": ("parameters (times)", values_of("parameters")),
    "multiply_adds": ("multiply-adds (times)", values_of("multiply_adds")),
    "specificity": (
        "share of variance between classes, gates beyond what they look at, last stage minus first "
        "(points)",
        specificity,
    ),
    "late rise": ("error with the last stage's gates at their mean (points)", _late_rise),
}
COUNTED = ("parameters", "multiply_adds")  # quotients, the same for every seed: no interval
