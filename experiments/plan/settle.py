"""Settles how a study is computed, in which precision and by which step, on every machine."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from experiments.plan.torch_process import answered
from experiments.records.config import RunConfig
from experiments.records.files import read_sealed
from experiments.records.parsing import ConfigError
from experiments.records.studies import read_study
from experiments.records.study_file import UNSETTLED, Arithmetic, StudyFile
from experiments.study.study import StudyDesign
from experiments.train.arithmetic import Unfit, begin_arithmetic


def settle(study: StudyDesign, results: Path, device: str, is_here: bool = True) -> StudyDesign:
    """Gives a study the precision and the step that it was begun with, or begins with here.

    Where it `is_here`, this machine trains it; else the nodes see whether they can. Raises
    ConfigError where this machine is to train it and cannot do so in this arithmetic, or where it
    is new and shares runs with studies that are computed in different ways.
    """
    configs = {config.cell: config for _, config in study.runs()}
    asked: dict[str, StudyFile] = {}
    for path in (results / "studies").glob("*.json"):
        with suppress(ConfigError):  # a damaged one of another grid is no reason to stop
            asked[path.stem] = read_study(path)
    own = asked[study.name].arithmetic if study.name in asked else None
    known = (
        dict(own)
        if own
        else {
            key: value
            for key in Arithmetic.model_fields
            if (value := _known_of(key, configs, asked.values(), results))
        }
    )
    recipes = list({config.recipe: None for config in configs.values()})
    for key, value in known.items():
        is_open = any(getattr(recipe, key) == "auto" for recipe in recipes)
        if is_open and value == "auto" and study.name not in asked:
            raise ConfigError(
                f"study {study.name}: it shares runs with studies that differ in their {key}; as a "
                f"study of its own it can be trained with --set recipe.{key}=..."
            )
    try:
        words = "settle precision and step", begin_arithmetic, recipes
        found = answered(*words, known if is_here else {}, device)
    except Unfit as error:
        raise ConfigError(f"study {study.name}: {error}") from None
    return replace(study, arithmetic=Arithmetic.model_validate(found | known))


def _known_of(
    key: str, configs: dict[str, RunConfig], asked: Iterable[StudyFile], results: Path
) -> str | None:
    """Finds the `precision` or `step` of a study; None where it has still to be settled.

    It is what all of its recipes say, else what the finished runs of its cells have, else what
    other studies were begun with that share a cell with it. Where these differ it is "auto".
    """
    cells = [cell for cell, config in configs.items() if getattr(config.recipe, key) == "auto"]
    if not cells:
        values = {getattr(config.recipe, key) for config in configs.values()}
    else:
        shared = (other for other in asked if {row.cell for row in other.rows} & set(cells))
        begun = (getattr(other.arithmetic or UNSETTLED, key) for other in shared)
        values = set(trained(key, cells, results)) or set(begun) - {"auto"}
    return next(iter(values)) if len(values) == 1 else "auto" if values else None


def trained(key: str, cells: Iterable[str], results: Path) -> Iterator[str]:
    """Yields the `precision` or `step` of each finished run of these cells."""
    for cell in cells:
        for path in (results / "runs" / cell).glob("seed*/summary.json"):
            try:
                yield read_sealed(path.with_name("env.json"), "precision").get(key, "plain")
            except ConfigError:  # which `status` tells of
                continue
