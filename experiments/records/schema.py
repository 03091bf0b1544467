"""Describes what `--json` prints: an object a command, from which its tables are drawn, too.

`version` grows where a key goes or changes its meaning; keys may be added without that. Numbers are
not rounded: errors are in %, times in seconds, parameters and multiply-adds are counts.
"""

from typing import Literal

from experiments.records.parsing import Strict


class Printed(Strict):
    """Holds what a command has found."""

    version: Literal[1] = 1


class SeenRun(Strict):
    """Tells how far a run is.

    name        `<label>-<id>/seed<k>`
    state       a word of docs/architecture.md; pending, where Slurm has it
    test_error  of one that is done
    share       of its training that is over, while it is running
    about       why it is not done, or how far it is; ""
    finding     of `--verify`: stale, damaged, unknown or unchecked; ""
    """

    name: str
    seed: int
    state: str
    test_error: float | None = None
    share: float | None = None
    about: str = ""
    finding: str = ""


class SeenRow(Strict):
    """Holds the runs of a row, or the pilots of a study."""

    label: str
    cell: str
    runs: tuple[SeenRun, ...]


class SeenStudy(Strict):
    """Holds a study that was asked for; pilots try the values of a setting that is tuned."""

    name: str
    title: str
    grid: str
    dataset: str
    network: str
    recipe: str
    rows: tuple[SeenRow, ...]
    pilots: tuple[SeenRun, ...] = ()


class Status(Printed):
    """Holds what `status` prints; `lines` are its sentences."""

    results: str
    studies: tuple[SeenStudy, ...]
    lines: tuple[str, ...]


class PlannedRow(Strict):
    """Tells what a row costs, and how many of its runs are there.

    hidden  stage, numbered as in the paper -> the hidden units of each of its blocks
    """

    label: str
    cell: str
    parameters: int
    multiply_adds: int
    hidden: dict[str, tuple[int, ...]]
    seeds: int
    finished: int


class PlannedStudy(Strict):
    """Holds a study as it would be trained."""

    name: str
    title: str
    about: str
    expected: str
    cost: str
    rows: tuple[PlannedRow, ...]


class Simulated(Strict):
    """Holds a quantity of simulated schedules: its median, and where 90 % of them lie."""

    median: float
    low: float
    high: float


class Forecast(Strict):
    """Tells what the missing runs take.

    figures  makespan, work, tail and lost (seconds), utilisation (a share), speedup, restarts, cost
    lines    how run times were drawn, what ends last, what no number of workers can do
    """

    device: str
    workers: int
    figures: dict[str, Simulated]
    lines: tuple[str, ...]


class PlannedRuns(Printed):
    """Holds what `plan` prints; `states` counts the runs by state."""

    states: dict[str, int]
    missing: int
    forecast: Forecast | None
    studies: tuple[PlannedStudy, ...]


class Data(Printed):
    """Holds what `data` prints of a data set that is ready."""

    dataset: str
    path: str
    train_images: int
    test_images: int
    classes: tuple[str, ...]
    fingerprint: str
    origin: str
