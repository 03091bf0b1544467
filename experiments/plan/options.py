"""Defines the options of the command line: a command takes the fields of a dataclass."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from experiments.data.datasets import DATASETS
from experiments.records.recipes import recipes
from experiments.records.study_file import MOST_SEEDS
from experiments.study.grid import list_grids
from experiments.study.study import FEWEST

MOST_DECIDED = 30  # seeds of a row
UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def _parse_duration(text: str | float) -> float:
    """Reads `8h`, `1.5h`, `30m` or `90s` as seconds. A number, as a default is, has that unit."""
    if not isinstance(text, str):
        return text
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|min|h|d)", text)
    if not match:
        raise typer.BadParameter(f"{text!r} is not a duration, such as 90s, 30m, 8h or 1.5d")
    return float(match[1]) * UNITS[match[2]]


def _some_seconds(text: str | float) -> float:
    """Reads a duration; raises BadParameter for 0."""
    if not (value := _parse_duration(text)):
        raise typer.BadParameter(f"{text!r} is no time at all")
    return value


def option(text: str, variable: str | None = None, **more: Any) -> Any:
    """Makes an option that `--help` explains, and that a variable of the environment may set."""
    return typer.Option(help=text, envvar=variable, **more)


# Those that several commands have.
Dataset = Annotated[str, option(f"auto or one of {', '.join(DATASETS)}", "DATASET")]
RecipeName = Annotated[str, option(f"auto or one of {', '.join(recipes())}", "RECIPE")]
Device = Annotated[str, option("auto, cuda (all GPUs), cuda:0 and so on, mps or cpu", "DEVICE")]
DataDir = Annotated[Path, option("where the data sets lie", "DATA_DIR")]
Results = Annotated[Path, option("the folder of records, tables and figures", "RESULTS")]
Json = Annotated[
    bool, typer.Option("--json", help="one object for programs: experiments/records/schema.py")
]
NOTHING: Any = ()  # typer passes a list


@dataclass(frozen=True)
class PlanOptions:
    """Says what to train, with what, where."""

    grids: Annotated[
        list[str], typer.Argument(help=f"one or more of {', '.join(list_grids())}, or YAML files")
    ]
    dataset: Dataset = "auto"
    network: Annotated[
        str,
        option(
            "a network's name, as resnet20; auto is resnet29b, or all that a grid varies", "NETWORK"
        ),
    ] = "auto"
    recipe: RecipeName = "auto"
    seeds: Annotated[
        int | None, option("trains the seeds 0 to N - 1 of every row", "SEEDS", metavar="N")
    ] = None
    device: Device = "auto"
    workers: Annotated[
        int | None,
        option(
            "runs at a time (slurm: in a job): one a core, one on each GPU", "WORKERS", metavar="N"
        ),
    ] = None
    launcher: Annotated[
        str, option("where runs are trained: local, on this machine; slurm; ray", "LAUNCHER")
    ] = "local"
    cluster: Annotated[
        Path | None,
        option(
            "what to ask slurm or ray for: a YAML file; experiments/clusters/LAUNCHER.yaml unless "
            "given",
            "CLUSTER",
            metavar="FILE",
        ),
    ] = None
    data_dir: DataDir = Path("data")
    results: Results = Path("results/local")
    settings: Annotated[
        list[str],
        typer.Option(
            "--set", metavar="KEY=VALUE", help="what the grid leaves open: recipe.epochs=2"
        ),
    ] = NOTHING


@dataclass(frozen=True)
class ForecastOptions(PlanOptions):
    """Says what to train, and on what it would be trained, here or not."""

    workers: Annotated[
        int | None,
        option(
            "workers to simulate, each like one here; as many as `run` takes unless given",
            "WORKERS",
            metavar="N",
            min=1,
            max=100_000,
        ),
    ] = None
    failures: Annotated[
        float, option("average failures of one worker", metavar="PER_HOUR", min=0, max=1_000_000)
    ] = 0.0
    price: Annotated[
        float, option("price of one worker", metavar="PER_HOUR", min=0, max=1_000_000)
    ] = 0.0
    as_json: Json = False


@dataclass(frozen=True)
class RunOptions(PlanOptions):
    """Says what to train, and when to stop."""

    budget: Annotated[
        float | None,
        option(
            "stops in time, with checkpoints: 8h, 30m",
            "BUDGET",
            parser=_some_seconds,
            metavar="TIME",
        ),
    ] = None
    until: Annotated[
        float | None,
        option(
            "adds seeds until each row's 95 % interval is the mean ± this or less",
            "UNTIL",
            metavar="POINTS",
            min=0.001,
            max=100,
        ),
    ] = None
    decide: Annotated[
        bool,
        option(
            "adds seeds to the rows of declared comparisons until each is decided, by an interval "
            "that holds however often one looks",
            "DECIDE",
        ),
    ] = False
    most_seeds: Annotated[
        int | None,
        option(
            f"most seeds of a row, with --decide; {MOST_DECIDED} unless given",
            "MOST_SEEDS",
            metavar="N",
            min=FEWEST,
            max=MOST_SEEDS,
        ),
    ] = None
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="go on also if the first three runs fail alike")
    ] = False
    patience: Annotated[
        float,
        option(
            "ends a run that shows no progress for so long",
            parser=_some_seconds,
            metavar="TIME",
            show_default="10m",
        ),
    ] = 600.0
    checkpoint_every: Annotated[
        float,
        option(
            "between two checkpoints of a run, at least",
            parser=_parse_duration,
            metavar="TIME",
            show_default="60s",
        ),
    ] = 60.0
    track: Annotated[
        str,
        option(
            "W&B: auto (online where there is a key, else offline, or what WANDB_MODE says), "
            "online, offline or off",
            "TRACK",
        ),
    ] = "auto"

    reuse: Annotated[
        Path | None,
        typer.Option(
            help="copies finished runs from there, as results/published, where code and data are "
            "the same",
            metavar="FOLDER",
        ),
    ] = None

    only: Annotated[
        str | None,
        typer.Option(
            help="trains this run alone, by its full name, as the agent of a sweep does",
            metavar="LABEL-ID/seed0",
        ),
    ] = None

    @property
    def adds_seeds(self) -> bool:
        """Tells whether rounds of seeds follow the first ones."""
        return self.decide or self.until is not None


@dataclass(frozen=True)
class RetryOptions(RunOptions):
    """Says what to train, when to stop, and what to forget first."""

    stale: Annotated[
        bool, typer.Option("--stale", help="also finished runs whose arithmetic has changed since")
    ] = False


def takes(options: type) -> Callable[[Callable], Callable]:
    """Makes a function of one dataclass into a command with its fields as parameters."""

    def decorate(command: Callable) -> Callable:
        def parsed(**given: Any) -> Any:
            return command(options(**given))

        made: Any = parsed
        made.__name__, made.__doc__ = command.__name__, command.__doc__
        made.__signature__ = inspect.signature(options)
        return made

    return decorate
