"""Trains finished runs, picked at random, again from their config.json: the command `repeat`."""

import math
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from experiments.launch.events import Ended, Noted, Outcome, Progressed, Started
from experiments.launch.local import Local
from experiments.plan.options import DataDir, Device, Results
from experiments.processes.output import say, waiting_for_nobody
from experiments.processes.scratch import scratch
from experiments.records.parsing import ConfigError
from experiments.records.record import Record
from experiments.records.results import Result, read_result
from experiments.records.states import UNFIT
from experiments.records.states import state as state_of
from experiments.records.study_file import Arithmetic
from experiments.study.tuning import FIRST_PILOT
from experiments.train.devices import pick_devices
from experiments.train.environment import use


@dataclass(frozen=True)
class Repeated:
    """Compares a run with its repetition.

    errors    test errors in % of all finished runs of its cell, its own among them
    low, high the prediction interval of one more, %; NaN where the cell has less than two
    """

    first: Result
    second: Result
    errors: list[float]
    low: float
    high: float

    @property
    def is_inside(self) -> bool:
        return self.low <= self.second.summary["test_error"] <= self.high

    @property
    def is_same(self) -> bool:
        """Tells whether both have the same bits: metrics, predictions, gates and summary.

        A run of an older version is asked for what it has: later ones may have measured more.
        """
        return self.first.summary.items() <= self.second.summary.items()

    @property
    def should_be_same(self) -> bool:
        """Tells whether both were computed by one kind of processor and software."""
        kernels = {run.env.get("kernels") for run in (self.first, self.second)} - {None}
        same = _arithmetic_of(self.first) == _arithmetic_of(self.second)
        return same and len(kernels) < 2  # older versions do not say which

    @property
    def is_fine(self) -> bool:
        return self.is_same or (self.is_inside and not self.should_be_same)

    def sentence(self) -> str:
        error, again = (r.summary["test_error"] for r in (self.first, self.second))
        text = f"{error:.2f} % before, {again:.2f} % now, "
        if self.is_same:
            text += "the same bits"
        elif self.should_be_same:
            text += "OTHER BITS, on the same kind of processor with the same software"
        else:
            text += "on another kind of processor or with other software"
        if math.isnan(self.low):
            return f"{text}; no prediction interval, n = {len(self.errors)}"
        where = "inside" if self.is_inside else "OUTSIDE"
        return (
            f"{text}; {where} the 95 % prediction interval of its cell, {self.low:.2f} to "
            f"{self.high:.2f} % (n = {len(self.errors)})"
        )


def _arithmetic_of(result: Result) -> tuple[Any, ...]:
    """Returns what decides the bits of a run."""
    env, names = result.env, ("device", "precision", "threads", "data", "torch", "numpy")
    changed = {key for again in env.get("resumed", []) for key in again}  # as it went on elsewhere
    return (
        env["fingerprint"]["on"],
        env.get("step", "plain"),
        *(env[name] for name in names),
        *sorted(changed & {"fingerprint", *names}),
    )


@waiting_for_nobody()
def repeat(
    number: Annotated[int, typer.Option(help="of runs")] = 1,
    pick: Annotated[int | None, typer.Option(help="seeds the choice of the runs")] = None,
    device: Device = "auto",
    data_dir: DataDir = Path("data"),
    results: Results = Path("results/published"),
) -> int:
    """Returns the exit status: 0 where each run and its repetition, in another folder, agree.

    They agree where they have the same bits or, on another kind of machine, where the repetition
    falls within the prediction interval of its cell. Raises ConfigError where there are not so many
    finished runs.
    """
    device = pick_devices(device)[0]
    use()
    found = {path: read_result(path) for path in chosen(results, number, pick)}
    with scratch() as folder:
        if (results / "code").is_dir():
            shutil.copytree(results / "code", folder / "code")
        records = {
            Record(folder, result.config, computed(result)): path for path, result in found.items()
        }
        outcomes = train(list(records), device, data_dir)
        if unfit := [record for record, end in outcomes.items() if end.kind == UNFIT]:
            for record in unfit:
                how = "{precision} by the {step} step".format(**dict(record.arithmetic))
                say(f"{record.name}: cannot be computed in {how} here: this machine's way is taken")
            again = [Record(folder, record.config) for record in unfit]
            outcomes |= train(again, device, data_dir)
        fine = [
            compare(path, found[path], record, outcomes.get(record))
            for record, path in records.items()
        ]
    return int(not all(fine))


def computed(result: Result) -> Arithmetic:
    """Returns how a run was computed; older versions say nothing of the step."""
    env = result.env
    return Arithmetic(precision=env["precision"], step=env.get("step", "plain"))


def _done_in(paths: Sequence[Path]) -> list[Path]:
    """Picks the finished runs; pilots, whose test errors nobody is to see, are left out."""
    seeds = {path: path.name.removeprefix("seed") for path in paths}
    results = [path for path, seed in seeds.items() if seed.isdecimal() and int(seed) < FIRST_PILOT]
    return [path for path in results if state_of(path) == "done"]


def chosen(results: Path, number: int, pick: int | None) -> list[Path]:
    """Picks so many finished runs at random: first one of each cell, then more of them."""
    done = _done_in(sorted((results / "runs").glob("*/seed*")))
    if not 1 <= number <= len(done):
        raise ConfigError(f"number {number}: {results} has {len(done)} finished runs, from 1 on")
    choice = random.Random(pick)
    choice.shuffle(done)
    cells: dict[Path, int] = {}
    rounds = []
    for path in done:
        rounds.append(cells.setdefault(path.parent, 0))
        cells[path.parent] += 1
    order = sorted(range(len(done)), key=lambda i: rounds[i])  # stable: at random within a round
    return [done[i] for i in order[:number]]


def train(records: Sequence[Record], device: str, data_dir: Path) -> dict[Record, Outcome]:
    """Trains the runs one after the other; returns how each ended."""
    outcomes = {}
    with Local([device], data_dir) as local:
        for event in local.train(records):
            match event:
                case Started(record):
                    say(f"training {record.name} again")
                case Ended(record, outcome):
                    outcomes[record] = outcome
                case Noted(record, sentence):
                    say(f"note {record.name}: {sentence}")
                case Progressed(record, step, steps, row=dict()):
                    say(f"{record.name}: {step:,} of {steps:,} steps")
    return outcomes


def compare(path: Path, first: Result, record: Record, outcome: Outcome | None) -> bool:
    """Says how a run compares with its repetition; returns whether all is well."""
    from analysis.statistics.stats import prediction  # the same statistics as in the tables

    if record.state != "done":
        why = outcome.reason if outcome else ""
        say(f"FAILED {record.name}: {record.state}{': ' + why if why else ''}", style="bold red")
        return False
    siblings = _done_in(sorted(path.parent.glob("seed*")))
    errors = [read_result(p).summary["test_error"] for p in siblings]
    repeated = Repeated(first, read_result(record.path), errors, *prediction(errors))
    say(f"{record.name}: {repeated.sentence()}", style=None if repeated.is_fine else "bold red")
    return repeated.is_fine
