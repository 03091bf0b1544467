"""Tunes each row to its own best value of a setting: what `tune` in a grid file asks for.

Pilots, runs whose seeds no result uses, try each value. The best is the one with the lowest error
on held-out images, and the row's own seeds are trained with it. Where the best is the first or the
last that was tried, another is tried beyond it. The test images have no part in it. No torch here.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from experiments.records.config import RunConfig
from experiments.records.parsing import ConfigError, parse
from experiments.records.record import Record
from experiments.records.states import FINISHED, State
from experiments.records.studies import read_study
from experiments.records.study_file import MOST_SEEDS
from experiments.study.grid import place_of
from experiments.study.settings import set_key

if TYPE_CHECKING:
    from experiments.study.study import Runs, StudyDesign

FIRST_PILOT = MOST_SEEDS  # its seed: results have those below
WIDEST = 4  # so many values may be tried beyond either end of the bracket


@dataclass(frozen=True)
class Tuning:
    """Holds what a row has tried, and what came of it.

    tried   value -> mean held-out error of its pilots in %, infinity where one diverged; None
            before they are done
    chosen  the best value; None as long as that is open, and where all diverged
    """

    tried: Mapping[float, float | None] = field(default_factory=dict)
    chosen: float | None = None

    @property
    def is_open(self) -> bool:
        """Tells whether there are pilots to wait for."""
        return self.chosen is None and None in self.tried.values()


def pilots(config: RunConfig, key: str, value: float, number: int) -> list[RunConfig]:
    """Returns the configs of the runs that try a value of a row's setting."""
    tried = with_value(config, key, value)
    seeds = range(FIRST_PILOT, FIRST_PILOT + number)
    return [tried.model_copy(update={"seed": seed}) for seed in seeds]


def with_value(config: RunConfig, key: str, value: float) -> RunConfig:
    """Returns a config with another value of a dotted key."""
    data = config.model_dump(mode="json")
    set_key(data, key, value)
    return parse(RunConfig, data, "tune")


def resume(study: "StudyDesign", results: Path) -> "StudyDesign":
    """Returns a study with its grid's place, and what its file says that was tried, and chosen.

    A row whose pilots would be other runs today, or whose bracket has values that were not tried,
    begins anew.
    """
    study = replace(study, grid_file=place_of(study.source, results))
    path = results / "studies" / f"{study.name}.json"
    if not study.tuned or not path.exists():
        return study
    before = read_study(path).tune
    if before is None or before.key != study.tuned_key:
        return study
    old = {row: Tuning(dict(one.tried), one.chosen) for row, one in before.rows.items()}
    known = replace(study, tuned=study.tuned | {k: v for k, v in old.items() if k in study.tuned})
    kept = {
        cell.label: known.tuned[cell.label]
        for cell in study.cells
        if cell.label in old
        and set(study.tuned[cell.label].tried) <= set(old[cell.label].tried)
        and set(_names(known.pilots_of([cell]))) == set(before.rows[cell.label].runs)
    }
    return replace(study, tuned=study.tuned | kept)


def advance(study: "StudyDesign", results: Path) -> "StudyDesign":
    """Returns a study with all that its pilots have shown: other values to try, or the best."""
    while (further := _advance(study, results)) != study:
        study = further
    return study


def _advance(study: "StudyDesign", results: Path) -> "StudyDesign":
    """Returns a study with what the pilots of its open rows have shown."""
    tuned = dict(study.tuned)
    for cell in study.untuned:
        read = {
            value: _held_out_error(
                pilots(cell.config, study.tuned_key, value, study.grid.pilots), results
            )
            for value in tuned[cell.label].tried
        }
        tuned[cell.label] = decide(
            read,
            study.grid.tune[study.tuned_key],
            fits=lambda value, config=cell.config: _fits(config, study.tuned_key, value),
        )
    return replace(study, tuned=tuned)


def decide(
    errors: Mapping[float, float | None],
    bracket: tuple[float, ...],
    fits: Callable[[float], bool] = lambda value: True,
) -> Tuning:
    """Chooses the best value, or another one to try where the best stands at an end.

    Where all diverged, smaller ones are tried, and none is chosen if these diverge, too.

    Args:
        errors: value -> error in %, infinity where a pilot diverged; None before it is known.
        bracket: the values that were tried at first.
        fits: tells whether a value beyond them may be tried: a momentum of 1 may not.
    """
    tried = dict(sorted(errors.items()))
    known = {value: error for value, error in tried.items() if error is not None}
    if len(known) < len(tried):
        return Tuning(tried)
    values = list(known)
    best = min(values, key=known.__getitem__)  # of a tie the smaller one
    further = None
    if best == values[0] and sum(value < bracket[0] for value in values) < WIDEST:
        further = beyond(values[1], best)
    elif best == values[-1] and sum(value > bracket[-1] for value in values) < WIDEST:
        further = beyond(values[-2], best)
    if further is not None and further not in tried and fits(further):
        return Tuning(dict(sorted({**tried, further: None}.items())))
    return Tuning(tried, None if math.isinf(known[best]) else best)


def _fits(config: RunConfig, key: str, value: float) -> bool:
    try:
        with_value(config, key, value)
    except ConfigError:
        return False
    return True


def beyond(inner: float, end: float) -> float:
    """Returns the next value in the direction from `inner` to `end`, by the same factor."""
    return float(f"{end * end / inner:.2g}")


def _held_out_error(runs: list[RunConfig], results: Path) -> float | None:
    """Averages the error of some runs on held-out images, in %.

    Infinity where one diverged; None where one is not done.
    """
    errors = []
    for record in (Record(results, config) for config in runs):
        if record.state not in FINISHED:
            return None
        error = record.summary()["val_error"]
        errors.append(math.inf if record.state == State.DIVERGED or error is None else error)
    return fmean(errors)


def news(before: Mapping[str, Tuning], now: Mapping[str, Tuning]) -> list[str]:
    """Says what was chosen, or is tried next, a sentence a row."""
    sentences = []
    for row, tuning in now.items():
        if tuning == before[row]:
            continue
        errors = [(v, e) for v, e in tuning.tried.items() if e is not None]
        known = ", ".join(
            f"{value:g}: {'diverged' if math.isinf(error) else f'{error:.2f} %'}"
            for value, error in errors
        )
        if more := [f"{value:g}" for value, error in tuning.tried.items() if error is None]:
            then = f"tries {', '.join(more)} next"
        elif tuning.chosen is None:
            then = "is left out"
        else:
            then = f"takes {tuning.chosen:g}"
        sentences.append(f"{row} {then} (held-out images that are wrong: {known})")
    return sentences


def to_json(study: "StudyDesign") -> dict[str, Any]:
    """Returns what a study's file says of pilots: one that diverged has no error."""
    rows = {}
    for cell in study.cells:
        tuning = study.tuned[cell.label]
        rows[cell.label] = {
            "tried": [
                [value, None if error is None or math.isinf(error) else round(error, 4)]
                for value, error in tuning.tried.items()
            ],
            "chosen": tuning.chosen,
            "runs": _names(study.pilots_of([cell])),
        }
    return {"key": study.tuned_key, "rows": rows}


def _names(runs: "Runs") -> list[str]:
    return [f"{config.cell}/seed{config.seed}" for _, config in runs]
