"""Shows how far a grid is, in a first section of the report, which is written again and again."""

import json
import math
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from analysis.groups import with_pools
from analysis.page import captions, explore, report
from analysis.read import load_study, mark_other_data
from analysis.study import Study
from analysis.write import Known, Table, tables_of
from experiments.records.files import read_lines
from experiments.records.lock import holder
from experiments.records.parsing import ConfigError
from experiments.records.signs import Signs
from experiments.records.states import BEGUN, FINISHED, LEFT, State, how_it_was_left, state
from experiments.records.studies import read_study
from experiments.records.study_file import runs_of, seeds_of_cells

THERE = (*FINISHED, State.OTHER_DATA)  # states with a result
EMPTY = {"command": "", "rows": [], "curves": []}  # of a study that cannot be shown


@dataclass(frozen=True)
class Run:
    """Holds a run as it stands on the page.

    share  of its training that is done, while it is under way
    lines  what there is to say beside the state
    """

    state: State
    share: float | None
    lines: list[str]


@dataclass(frozen=True)
class Progress:
    """Holds a study of the command that is under way, and how far it is."""

    name: str
    title: str
    seeds: int
    rows: dict[str, list[Run]]
    chart: dict[str, Any]
    seen: str
    by_epoch: pd.DataFrame
    table: Table | None

    @property
    def total(self) -> int:
        return sum(map(len, self.rows.values()))

    @property
    def there(self) -> int:
        return sum(run.state in THERE for runs in self.rows.values() for run in runs)


@dataclass(frozen=True)
class UnderWay:
    """Holds the page's first section while a grid runs; a run that studies share counts once."""

    is_over: bool
    clock: str
    counts: dict[str, int]
    studies: list[Progress]
    troubles: list[str]

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def there(self) -> int:
        return sum(self.counts.get(name, 0) for name in THERE)

    @property
    def charts(self) -> dict[str, dict[str, Any]]:
        """Maps names in the page to what its charts of the runs so far show."""
        return {f"so-far-{study.name}": study.chart for study in self.studies}


class Page:
    """Writes the page, and keeps what it has read of finished runs, which do not change.

    `names` are the studies of the command.
    """

    def __init__(self, results: Path, names: Sequence[str], say: Callable[[str], Any]) -> None:
        self.results, self.names, self.say = results, names, say
        self.path = results / report.NAME
        self.runs: dict[Path, dict[str, Any]] = {}
        self.stamps: dict[Path, int] = {}  # when the summary was written of each of `runs`
        self.tables: Known = {}
        self.keys: dict[str, str] = {}  # study -> what its `tables` were made of
        self.is_training = False  # as it was at the last write
        self.troubles: list[str] = []  # of this write
        self.said: set[str] = set()

    def write(self, what: Literal["under way", "over", "whole"]) -> None:
        """Writes the page of a grid that is under way, of one that is over, or the report alone."""
        self.troubles = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `analysis show` warns, and not while bars are drawn
            self.attempt(self.try_to_write, what)

    def try_to_write(self, what: str) -> None:
        studies = self.read()
        of_command = [s for name in self.names for s in studies if s.name == name]
        runs = {path: run_of(path, *facts) for s in of_command for path, *facts in _facts_of(s)}
        progress = [self.attempt(self.progress, study, runs) for study in of_command]
        usable = [s for s in studies if self.attempt(tables_of, s, self.tables) is not None]
        under_way = UnderWay(
            is_over=what != "under way",
            clock=time.strftime("%H:%M:%S"),
            counts=dict(sorted(Counter(run.state for run in runs.values()).items())),
            studies=[item for item in progress if item],
            troubles=self.troubles,
        )
        self.is_training = State.RUNNING in under_way.counts
        figures = report.figures_there(usable, self.results)
        above = None if what == "whole" else under_way
        report.write(usable, self.results, figures, self.tables, above)

    def attempt(self, function: Callable, *arguments: Any) -> Any:
        """Calls a function and returns its result; on an error notes a sentence, returns None."""
        try:
            return function(*arguments)
        except Exception as error:
            first = (str(error).strip() or "no message").splitlines()[0]
            known = isinstance(error, ConfigError)
            sentence = first if known else f"{type(error).__name__}: {first}"
        if sentence not in self.troubles:
            self.troubles.append(sentence)
        if sentence not in self.said:
            self.said.add(sentence)
            with suppress(OSError):  # the process that reads this has ended
                self.say(f"report.html, while the grid runs: {sentence}")
        return None

    def read(self) -> list[Study]:
        """Reads all studies in RESULTS; a finished run is read once, and checked once."""
        paths = sorted((self.results / "studies").glob("*.json"))
        asked = [found for path in paths if (found := self.attempt(read_study, path))]
        stamps = {
            path: when
            for study in asked
            for path in runs_of(study, self.results)
            if (when := written(path / "summary.json"))
        }
        known = {p: r for p, r in self.runs.items() if stamps.get(p) == self.stamps[p]}
        seeds = seeds_of_cells(asked)
        loaded = [self.attempt(load_study, self.results, of, known, seeds) for of in asked]
        studies = with_pools(mark_other_data([study for study in loaded if study]))
        is_whole = {path: run["state"] in THERE for path, run in known.items()}
        self.runs = {path: known[path] for path in stamps if is_whole.get(path)}
        self.stamps = {path: stamps[path] for path in self.runs}
        keys = {study.name: self.key(study) for study in studies}
        same = [name for name in self.tables if keys.get(name) == self.keys[name]]
        self.tables, self.keys = {name: self.tables[name] for name in same}, keys
        return studies

    def key(self, study: Study) -> str:
        """Returns a text of what the tables of a study are made of: it changes when they do."""
        stamps = [self.stamps.get(path) for path in study.runs.path]
        states = study.runs[["state", "reason"]].values.tolist()
        return json.dumps([study.asked.plain(), stamps, sorted(study.pool.values.items()), *states])

    def progress(self, study: Study, runs: dict[Path, Run]) -> Progress:
        tables = self.attempt(tables_of, study, self.tables) or {}
        of_row, so_far = study.runs.groupby("row").path, with_curves_so_far(study)
        return Progress(
            name=study.name,
            title=study.asked.title,
            seeds=int(of_row.size().max()),
            rows={row: [runs[path] for path in of_row.get_group(row)] for row in study.rows},
            chart=self.attempt(explore.chart, so_far) or EMPTY,
            seen=self.attempt(captions.seen_curves, so_far) or "",
            by_epoch=explore.by_epoch(so_far),
            table=tables.get(study.name),
        )


def with_curves_so_far(study: Study) -> Study:
    """Returns the study with the curves of unfinished runs added, which its tables leave out."""
    unfinished = study.runs[study.runs.state == State.MISSING][["row", "seed", "path"]]
    lines = [
        {"row": row, "seed": seed} | line
        for row, seed, path in unfinished.values.tolist()
        if state(path) in BEGUN
        for line in read_lines(path / "metrics.jsonl", cut_short=True)
    ]
    columns = ["row", "seed", "epoch", "train_error", "val_error"]
    parts = [study.curves.reindex(columns=columns), pd.DataFrame(lines, columns=columns)]
    filled = [part for part in parts if len(part)]
    return replace(study, curves=pd.concat(filled or parts[:1], ignore_index=True))


def _facts_of(study: Study) -> list[list]:
    """Returns what the tables know of each run: path, state, test error, reason."""
    return study.runs[["path", "state", "test_error", "reason"]].values.tolist()


def run_of(path: Path, now: str, error: float | None, reason: str | None) -> Run:
    now = state(path) if now == State.MISSING else now
    if now == State.RUNNING:
        signs = holder(path) or Signs()
        return Run(now, signs.share, signs.words)
    if now in LEFT:
        return Run(now, None, how_it_was_left(path))
    has_error = isinstance(error, float) and math.isfinite(error) and now != State.DIVERGED
    lines = [f"{error:.2f} % test error"] if has_error else []
    return Run(now, None, lines + ([reason] if isinstance(reason, str) and reason else []))


def written(path: Path) -> int | None:
    """Returns when a file was written, or None where it is not there."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
