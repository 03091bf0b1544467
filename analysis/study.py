"""Defines a study for the analysis: its rows, its runs as data frames, and its comparisons."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.statistics.pool import Pool
from experiments.records.gates import Gates, unpack
from experiments.records.states import REFUSED, State
from experiments.records.study_file import StudyFile
from experiments.study.grid import CONSTANT, PLAIN

OUTCOMES = ("test_error", "test_loss", "ece", "test_brier")  # the primary one, and those behind it


@dataclass(frozen=True)
class Study:
    """Holds one grid on one data set, network and recipe: what was asked for, and its runs.

    asked     what `experiments run` wrote of it
    runs      one row a run: row, seed, state, reason, path; of those that are done test_error and
              the rest of the summary, `config.*`, `env.*`, and `pace`: seconds that an image
              takes in training, in the fastest epoch, as what else the machine does can only make
              one longer; `delay`: how many times as long it takes in the median epoch. What was
              trained on other data than most of them is in the state OTHER_DATA, and in no mean
    curves    one row an epoch: row, seed, epoch, train_error, val_error, ...
    paper     the published row of each row that has one: top1, top5, gflops, mparams
    paper_of  what the published rows were measured on
    shared    outcome -> that of all cells of its group (`with_pools`); None takes its own alone
    """

    asked: StudyFile
    runs: pd.DataFrame
    curves: pd.DataFrame
    paper: pd.DataFrame
    paper_of: str
    shared: Mapping[str, Pool] | None = None

    @cached_property
    def pool(self) -> Pool:
        """Returns all cells of its data set, network and recipe, by which its rows are compared."""
        return self.pool_in("test_error")

    def pool_in(self, outcome: str) -> Pool:
        """Returns the pool of an outcome, one of OUTCOMES."""
        return self.shared[outcome] if self.shared else pool_of([self], values_of(outcome))

    @property
    def is_watched(self) -> bool:
        """Tells whether seeds of its rows were chosen by looking at their results."""
        return not self.pool.watched.isdisjoint(self.cells.values())

    @property
    def cells(self) -> dict[str, str]:
        """Returns row -> its cell: the name of the config, which several studies may share."""
        return {row.label: row.cell for row in self.asked.rows}

    @cached_property
    def digest(self) -> str:
        """Returns a hash of everything that a table or a figure of the study is made of."""
        pools = [self.pool_in(outcome) for outcome in OUTCOMES]
        pooled = json.dumps([[sorted(p.values.items()), sorted(p.watched)] for p in pools])
        asked, paper = json.dumps(self.asked.plain(), sort_keys=True), self.paper.to_csv()
        runs = self.runs.drop(columns="path").to_csv()
        text = "\n".join([asked, runs, self.curves.to_csv(), paper, self.paper_of, pooled])
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def name(self) -> str:
        return self.asked.name

    @property
    def rows(self) -> list[str]:
        return [row.label for row in self.asked.rows]

    @property
    def references(self) -> dict[str, str]:
        """Returns row -> the row that it is compared with, for those that are compared."""
        pairs = {row.label: row.reference for row in self.asked.rows}
        return {row: other for row, other in pairs.items() if other and other != row}

    @property
    def reference(self) -> str | None:
        """Returns the one row that all others are compared with, if there is one."""
        found = set(self.references.values())
        return found.pop() if len(found) == 1 else None

    @property
    def references_in_words(self) -> str:
        """Says what the rows are compared with, where they have several references."""
        references = self.references
        has_own = len(set(references.values())) == len(references)
        return "its plain network" if has_own else "its reference"

    @property
    def levels(self) -> dict[str, dict[str, str]]:
        """Returns row -> what is varied, and its value there."""
        return {row.label: row.levels for row in self.asked.rows}

    @property
    def ratios(self) -> dict[str, int]:
        """Maps each row in which the reduction ratio alone is varied to it."""
        levels = self.levels.items()
        return {row: int(of["ratio"]) for row, of in levels if of.keys() == {"ratio"}}

    @property
    def varied(self) -> list[str]:
        """Lists the rows that are no controls."""
        return [row for row in self.rows if row not in (PLAIN, CONSTANT)]

    @property
    def damaged(self) -> list[str]:
        """Lists what is wrong with the records that cannot be trusted, and are left out."""
        return list(self.runs[self.runs.state == State.DAMAGED].reason)

    @cached_property
    def done(self) -> pd.DataFrame:
        return self.runs.loc[self.runs.state == State.DONE]

    @cached_property
    def _done_of_rows(self) -> dict[Any, pd.DataFrame]:
        return dict(iter(self.done.groupby("row", sort=False)))

    @property
    def sound_curves(self) -> pd.DataFrame:
        """Returns the curves without those of runs that may be in no mean."""
        left_out = self.runs[self.runs.state.isin((State.DIVERGED, *REFUSED))]
        keys = set(zip(left_out.row, left_out.seed, strict=True))
        pairs = zip(self.curves.row, self.curves.seed, strict=True)
        return self.curves.loc[[both not in keys for both in pairs]]

    def states(self, row: str) -> list[str]:
        return list(self.runs[self.runs.row == row].state)

    def lost(self, row: str) -> int:
        """Counts the runs of a row without a number: a mean over the others may flatter it."""
        return sum(state != State.DONE for state in self.states(row))

    def precisions(self, *rows: str) -> set[str]:
        return {x for row in rows for x in self.column(row, "env.precision") if not pd.isna(x)}

    def of(self, row: str) -> pd.DataFrame:
        """Returns the runs of a row that ended in a result that can be averaged."""
        rows = self._done_of_rows
        return rows[row] if row in rows else self.done.iloc[:0]

    def column(self, row: str, name: str) -> list[Any]:
        """Lists a column of the runs that `of` gives; [] where there is no such column."""
        runs = self.of(row)
        return runs[name].tolist() if name in runs else []

    def errors(self, row: str) -> list[float]:
        """Lists test errors in %, a run each."""
        return self.column(row, "test_error")

    def gate(self, row: str) -> str | None:
        """Returns which function the gate of a row is; None where its config says none."""
        return next(iter(self.column(row, "config.se.gate")), None)

    def gate_files(self, row: str) -> dict[int, Path]:
        """Maps seed to gates.npz, for the runs of a row that have one."""
        runs = zip(self.column(row, "seed"), self.column(row, "path"), strict=True)
        return {seed: file for seed, path in runs if (file := path / "gates.npz").exists()}

    def gates(self, row: str) -> dict[int, Gates]:
        """Reads seed -> what the gates of that run did; {} for a network without SE blocks."""
        return {seed: unpack(file) for seed, file in self.gate_files(row).items()}


Measure = Callable[[Study, str], list[float]]


def values_of(outcome: str) -> Measure:
    """Returns (study, row) -> a number a run, from a column of `Study.runs`."""
    return lambda study, row: [float(x) for x in study.column(row, outcome) if not pd.isna(x)]


def pool_of(studies: Iterable[Study], measure: Measure) -> Pool:
    """Makes a pool of all distinct cells of some studies, of one group, with a number a run."""
    values: dict[str, tuple[float, ...]] = {}
    steps: dict[str, int] = {}
    watched: set[str] = set()
    for study in studies:
        for row, cell in study.cells.items():
            if cell not in values:
                values[cell] = tuple(map(float, measure(study, row)))
                if len(runs := study.of(row)) and "steps" in runs:
                    steps[cell] = int(runs.steps.iloc[0])
        rows = {
            row for look in study.asked.looks for row in look.rows
        }  # also some that the grid had once
        watched |= {cell for row, cell in study.cells.items() if row in rows}
    return Pool(values, frozenset(watched), steps)
