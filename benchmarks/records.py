"""Makes a results folder of thousands of finished runs: copies of a few that were trained."""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from shutil import copyfile

from experiments.records.config import RunConfig
from experiments.records.recipes import recipe_row
from experiments.records.record import Record
from experiments.records.studies import write_study
from experiments.study.study import StudyDesign, expand

ASKED = {"dataset": "cifar10_mini", "network": "resnet29b", "recipe": "fast"}
GRID = "factorial"
COPIED = ("env.json", "metrics.jsonl", "timings.jsonl", "predictions.npz", "gates.npz")


def study_of(seeds: int) -> StudyDesign:
    return expand(GRID, **ASKED, seeds=seeds)


def kind(config: RunConfig) -> str:
    """Returns what a run's files mostly depend on: no SE, SE, or one of its controls."""
    return "plain" if config.se is None else config.se.excitation


def train_models(folder: Path, data_dir: Path) -> dict[str, Record]:
    """Trains a run of each kind for some seconds, on the CPU; the copies are made of these.

    It leaves what a run of the recipe leaves: as many epochs, all test images.
    """
    import torch

    from experiments.train.train import train

    torch.set_num_threads(1)  # as in a run: with more it waits for busy cores
    long = recipe_row(ASKED["recipe"]).recipe
    changes = dict.fromkeys(("train_images", "curve_images", "intervention_images"), 32)
    changes |= {"epochs": long.epochs, "test_images": long.test_images}
    recipe = recipe_row("smoke").recipe.model_copy(update=changes)
    trained: dict[str, Record] = {}
    for cell in study_of(1).cells:
        config = cell.config.model_copy(update={"recipe": recipe})
        if kind(config) not in trained:
            trained[kind(config)] = record = Record(folder, config)
            train(config, record, data_dir)
    return trained


def grow(results: Path, seeds: int, trained: dict[str, Record]) -> Iterator[None]:
    """Writes the runs of so many seeds that are not there, sealed, and the study; yields at each.

    Only the test error differs between copies: it is drawn.
    """
    study = study_of(seeds)
    summaries = {name: record.summary() for name, record in trained.items()}
    for _, config in study.runs():
        record, model = Record(results, config), trained[kind(config)]
        if record.finished:
            continue
        record.begin()
        for path in (model.path / name for name in COPIED):
            if path.exists():
                copyfile(path, record.path / path.name)
        error = round(Random(record.name).gauss(8.0, 0.3), 2)
        record.finish(summaries[kind(config)] | {"test_error": error})
        yield
    write_study(results, study.record())
