"""The options of the command line, each once: a command takes the fields of a dataclass."""

import inspect
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from experiments.data.datasets import DATASETS
from experiments.records.recipes import recipes
from experiments.records.study_file import MOST_SEEDS
from experiments.study.grid import list_grids
from experiments.study.study import FEWEST

MOST_DECIDED = 30  # seeds of a row
MOST_SIMULATED = 100_000
MOST_PER_HOUR = 1_000_000
UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a whole number") from None


def seconds(text: str) -> float:
    """`8h`, `1.5h`, `30m`, `90s` in seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|min|h|d)", text)
    if not match:
        raise typer.BadParameter(f"{text!r} is not a duration, such as 90s, 30m, 8h or 1.5d")
    return float(match[1]) * UNITS[match[2]]


def some_seconds(text: str) -> float:
    if not (value := seconds(text)):
        raise typer.BadParameter(f"{text!r} is no time at all")
    return value


def points(text: str) -> float:
    try:
        width = float(text)
    except ValueError:
        width = 0.0
    if not 0 < width < 100:
        raise typer.BadParameter(f"{text!r} is not a number of points between 0 and 100")
    return width


def simulated(text: str) -> int:
    """Workers that need not be here."""
    if not 1 <= (count := whole(text)) <= MOST_SIMULATED:
        raise typer.BadParameter(f"workers {count:,}: from 1 to {MOST_SIMULATED:,} are simulated")
    return count


def per_hour(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < MOST_PER_HOUR:
        raise typer.BadParameter(f"{text!r} is not a number from 0 to {MOST_PER_HOUR:,}")
    return value


def most_seeds(text: str) -> int:
    if not FEWEST <= (count := whole(text)) <= MOST_SEEDS:
        raise typer.BadParameter(
            f"most seeds {count:,}: from {FEWEST} to {MOST_SEEDS:,} are allowed"
        )
    return count


def option(text: str, variable: str | None = None, **more):
    return typer.Option(help=text, envvar=variable, **more)


Grids = Annotated[
    list[str], typer.Argument(help=f"one or more of {', '.join(list_grids())}, or YAML files")
]
Dataset = Annotated[str, option(f"auto or one of {', '.join(DATASETS)}", "DATASET")]
Network = Annotated[
    str,
    option(
        "a network's name, as resnet20; auto is resnet29b, or all that a grid varies", "NETWORK"
    ),
]
RecipeName = Annotated[str, option(f"auto or one of {', '.join(recipes())}", "RECIPE")]
Seeds = Annotated[
    int | None,
    option("trains the seeds 0 to N - 1 of every row", "SEEDS", parser=whole, metavar="N"),
]
Device = Annotated[str, option("auto, cuda (all GPUs), cuda:0 and so on, mps or cpu", "DEVICE")]
Workers = Annotated[
    int | None,
    option(
        "runs at a time (slurm: in a job): one a core, one on each GPU",
        "WORKERS",
        parser=whole,
        metavar="N",
    ),
]
LauncherName = Annotated[
    str, option("where runs are trained: local, on this machine; slurm; ray", "LAUNCHER")
]
Cluster = Annotated[
    Path | None,
    option(
        "what to ask slurm or ray for: a file like experiments/clusters/slurm.yaml, which is the "
        "default",
        "CLUSTER",
        metavar="FILE",
    ),
]
DataDir = Annotated[Path, option("where the data sets lie", "DATA_DIR")]
Results = Annotated[Path, option("where everything is written", "RESULTS")]
Settings = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="what the grid leaves open: recipe.epochs=2"),
]
Budget = Annotated[
    float | None,
    option(
        "stops in time, with checkpoints: 8h, 30m", "BUDGET", parser=some_seconds, metavar="TIME"
    ),
]
Until = Annotated[
    float | None,
    option(
        "adds seeds until each row's 95 % interval is the mean ± this or less",
        "UNTIL",
        parser=points,
        metavar="POINTS",
    ),
]
Decide = Annotated[
    bool,
    option(
        "adds seeds to the rows of declared comparisons until each is decided, by an interval that "
        "holds however often one looks",
        "DECIDE",
    ),
]
MostSeeds = Annotated[
    int | None,
    option(
        f"of a row, with --decide; {MOST_DECIDED} unless given",
        "MOST_SEEDS",
        parser=most_seeds,
        metavar="N",
    ),
]
KeepGoing = Annotated[
    bool, typer.Option("--keep-going", help="also where the first three runs fail in one way")
]
Patience = Annotated[
    float,
    option("ends a run that shows no progress for so long", parser=some_seconds, metavar="TIME"),
]
CheckpointEvery = Annotated[
    float, option("between two checkpoints of a run, at least", parser=seconds, metavar="TIME")
]

Track = Annotated[
    str,
    option(
        "W&B: auto (online where there is a key, else offline, or what WANDB_MODE says), online, "
        "offline or off",
        "TRACK",
    ),
]


@dataclass(frozen=True)
class PlanOptions:
    """What to train, with what, where."""

    grids: Grids
    dataset: Dataset = "auto"
    network: Network = "auto"
    recipe: RecipeName = "auto"
    seeds: Seeds = None
    device: Device = "auto"
    workers: Workers = None
    launcher: LauncherName = "local"
    cluster: Cluster = None
    data_dir: DataDir = Path("data")
    results: Results = Path("results/local")
    settings: Settings = ()


@dataclass(frozen=True)
class ForecastOptions(PlanOptions):
    """... and on what it would be trained, here or not."""

    workers: Annotated[
        int | None,
        option(
            "simulates so many like one of this machine; what `run` takes here unless given",
            "WORKERS",
            parser=simulated,
            metavar="N",
        ),
    ] = None
    failures: Annotated[
        float, option("of one worker, on the average", parser=per_hour, metavar="PER_HOUR")
    ] = "0"
    price: Annotated[
        float, option("of one worker, in any currency", parser=per_hour, metavar="PER_HOUR")
    ] = "0"


@dataclass(frozen=True)
class RunOptions(PlanOptions):
    """... and when to stop."""

    budget: Budget = None
    until: Until = None
    decide: Decide = False
    most_seeds: MostSeeds = None
    keep_going: KeepGoing = False
    patience: Patience = "10m"
    checkpoint_every: CheckpointEvery = "60s"
    track: Track = "auto"

    @property
    def adds_seeds(self) -> bool:
        """Whether rounds of seeds follow the first ones."""
        return self.decide or self.until is not None


@dataclass(frozen=True)
class RetryOptions(RunOptions):
    """... and what to forget first."""

    stale: Annotated[
        bool, typer.Option("--stale", help="also finished runs whose arithmetic has changed since")
    ] = False


def takes(options: type) -> Callable[[Callable], Callable]:
    """Makes a function of one dataclass into a command with its fields as parameters."""

    def decorate(command: Callable) -> Callable:
        def parsed(**given):
            return command(options(**given))

        parsed.__name__, parsed.__doc__ = command.__name__, command.__doc__
        parsed.__signature__ = inspect.signature(options)
        return parsed

    return decorate
