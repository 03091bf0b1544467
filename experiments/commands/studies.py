"""Makes studies and their runs of the options of `run` and `plan`."""

from collections.abc import Callable
from pathlib import Path

from experiments.data.datasets import check_trainable
from experiments.launch.choose import pick_launcher
from experiments.plan.options import PlanOptions
from experiments.plan.settle import settle as settle_arithmetic
from experiments.records.parsing import checked
from experiments.records.record import Record
from experiments.study.clash import refuse_clashes
from experiments.study.grid import Grid, read_grid
from experiments.study.settings import parse_settings
from experiments.study.study import Runs, StudyDesign, make_study
from experiments.study.tuning import advance, resume
from senet.config import find_row

Grids = dict[str, tuple[Path, Grid]]  # what a grid was named by -> its file, and what that says


def slots_and_recipe(options: PlanOptions) -> tuple[list[str], str]:
    """Returns the devices of runs that go at a time, and the recipe.

    As a recipe `auto` is one for minutes on a CPU, and one for all of the data on anything faster.
    Raises ConfigError where a device or data set is not there.
    """
    slots = pick_launcher(options).slots(options)
    check_trainable(options.dataset)
    short = "demo" if slots[0] == "cpu" else "fast"
    return slots, short if options.recipe == "auto" else options.recipe


def read_grids(options: PlanOptions) -> Grids:
    """Reads each of the grid files once."""
    return {name: read_grid(name) for name in options.grids}


def make_studies(
    grids: Grids, options: PlanOptions, dataset: str, recipe: str
) -> list[StudyDesign]:
    """Makes the studies of all grids, with what their pilots have shown.

    `dataset` and `recipe` are what `auto` stands for; a grid may name the only data set that it is
    of, which then counts instead.
    """
    given = {"network": options.network, "recipe": recipe, "seeds": options.seeds}
    given["settings"] = parse_settings(options.settings)
    studies = []
    for name, (path, grid) in grids.items():
        own = grid.dataset if options.dataset == "auto" else None
        studies.append(make_study(name, path, grid, dataset=own or dataset, **given))
    refuse_clashes(studies, options.results)
    return [advance(resume(study, options.results), options.results) for study in studies]


def settle_open(
    studies: list[StudyDesign], options: PlanOptions, device: str, is_open: bool = False
) -> list[StudyDesign]:
    """Settles the arithmetic of the studies that lack runs, or of all where more may come."""
    results, is_here = options.results, options.launcher == "local"
    return [
        settle_arithmetic(study, results, device, is_here)
        if is_open or not all(Record(results, config).finished for _, config in study.runs())
        else study
        for study in studies
    ]


def label_runs(
    studies: list[StudyDesign],
    results: Path,
    runs_of: Callable[[StudyDesign], Runs] = StudyDesign.runs,
) -> dict[Record, str]:
    """Lists every run of the studies once, in whole rounds of seeds, with its row's label."""
    runs = [
        (Record(results, config, study.arithmetic), label)
        for study in studies
        for label, config in runs_of(study)
    ]
    labels: dict[Record, str] = {}
    for record, label in sorted(runs, key=lambda run: run[0].config.seed):
        labels.setdefault(record, label)
    return labels


def name_runs(
    studies: list[StudyDesign], results: Path, only: str | None = None
) -> dict[Record, str]:
    """Lists the runs of the studies, each once, with what it is called; with `only` that one.

    `only` is a full name, `<label>-<id>/seed<k>`; it may also be a pilot of a row that is tuned by
    now. Raises ConfigError where no run of the studies has this name.
    """
    labels = label_runs(studies, results)
    if only is not None:
        labels |= label_runs(studies, results, lambda study: study.pilots_of(study.tunable))
        named = {record.name: record for record in labels}
        record = checked(find_row, "run", only, named)
        labels = {record: labels[record]}
    return {record: f"{label}, seed {record.config.seed}" for record, label in labels.items()}
