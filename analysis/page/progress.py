"""How far a grid is: the report with a section above all else, written again and again."""

import io
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

import matplotlib
import pandas as pd

from analysis.figures.study import is_readable
from analysis.figures.style import STYLE
from analysis.figures.training import COLUMNS, curves, has_curves
from analysis.load import Study, load, with_pools
from analysis.page import report
from analysis.page.report import Picture
from analysis.write import Known, Table, tables_of
from experiments.records.files import read_lines
from experiments.records.lock import holder
from experiments.records.parsing import ConfigError
from experiments.records.signs import Signs
from experiments.records.states import BEGUN, FINISHED, LEFT, State, how_it_was_left, state
from experiments.records.study_file import read_study, runs_of, seeds_of_cells

THERE = (*FINISHED, State.OTHER_DATA)  # states with a result


@dataclass(frozen=True)
class Run:
    """A run as it stands on the page.

    share  of its training that is done, while it is under way
    lines  what there is to say beside the state
    """

    state: State
    share: float | None
    lines: list[str]


@dataclass(frozen=True)
class Progress:
    """A study of the command that is under way, and how far it is."""

    name: str
    title: str
    seeds: int
    rows: dict[str, list[Run]]
    curves: Picture | None
    table: Table | None

    @property
    def total(self) -> int:
        return sum(map(len, self.rows.values()))

    @property
    def there(self) -> int:
        return sum(run.state in THERE for runs in self.rows.values() for run in runs)


@dataclass(frozen=True)
class UnderWay:
    """What stands above all else while a grid runs. A run that studies share counts once."""

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


class Page:
    """The page, and what it remembers from one write to the next: finished runs do not change.

    Args:
        results: RESULTS.
        names: the studies of the command.
        say: tells the user.
    """

    def __init__(self, results: Path, names: Sequence[str], say: Callable[[str], Any]) -> None:
        self.results, self.names, self.say = results, names, say
        self.path = results / report.NAME
        self.runs: dict[Path, dict[str, Any]] = {}
        self.stamps: dict[Path, int] = {}  # when the summary was written of each of `runs`
        self.tables: Known = {}
        self.keys: dict[str, str] = {}  # study -> what its `tables` were made of
        self.drawn: dict[str, tuple[str, Picture]] = {}  # study -> the same of its curves, and they
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
        runs = {path: run_of(path, *facts) for s in of_command for path, *facts in facts_of(s)}
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
        """What it returns; or None, and a sentence: what is broken does not cost the page."""
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
            with suppress(OSError):  # whoever listened is gone
                self.say(f"report.html, while the grid runs: {sentence}")
        return None

    def read(self) -> list[Study]:
        """All studies in RESULTS. A finished run is read once, and checked once."""
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
        loaded = [self.attempt(load, self.results, of, known, seeds) for of in asked]
        studies = with_pools([study for study in loaded if study])
        is_whole = {path: run["state"] in THERE for path, run in known.items()}
        self.runs = {path: known[path] for path in stamps if is_whole.get(path)}
        self.stamps = {path: stamps[path] for path in self.runs}
        keys = {study.name: self.key(study) for study in studies}
        same = [name for name in self.tables if keys.get(name) == self.keys[name]]
        self.tables, self.keys = {name: self.tables[name] for name in same}, keys
        return studies

    def key(self, study: Study) -> str:
        """What the tables of a study are made of: they change with it."""
        stamps = [self.stamps.get(path) for path in study.runs.path]
        states = study.runs[["state", "reason"]].values.tolist()
        return json.dumps([study.asked.plain(), stamps, sorted(study.pool.values.items()), *states])

    def progress(self, study: Study, runs: dict[Path, Run]) -> Progress:
        tables = self.attempt(tables_of, study, self.tables) or {}
        of_row = study.runs.groupby("row").path
        return Progress(
            name=study.name,
            title=study.asked.title,
            seeds=int(of_row.size().max()),
            rows={row: [runs[path] for path in of_row.get_group(row)] for row in study.rows},
            curves=self.attempt(self.curves, study),
            table=tables.get(study.name),
        )

    def curves(self, study: Study) -> Picture | None:
        """The curves so far, drawn anew where there is more of them."""
        study = with_curves_so_far(study)
        if not is_readable(study) or not has_curves(study):
            return None
        key = study.curves.to_csv()
        if self.drawn.get(study.name, ("",))[0] != key:
            self.drawn[study.name] = key, draw(study)
        return self.drawn[study.name][1]


def with_curves_so_far(study: Study) -> Study:
    """The study with the curves of runs that are not finished, which no table knows of."""
    unfinished = study.runs[study.runs.state == State.MISSING][["row", "seed", "path"]]
    lines = [
        {"row": row, "seed": seed} | line
        for row, seed, path in unfinished.values.tolist()
        if state(path) in BEGUN
        for line in read_lines(path / "metrics.jsonl", cut_short=True)
    ]
    columns = ["row", "seed", "epoch", *COLUMNS]
    parts = [study.curves.reindex(columns=columns), pd.DataFrame(lines, columns=columns)]
    filled = [part for part in parts if len(part)]
    return replace(study, curves=pd.concat(filled or parts[:1], ignore_index=True))


def draw(study: Study) -> Picture:
    with matplotlib.rc_context(STYLE), io.BytesIO() as file:
        figure = curves(study)
        figure.supxlabel("also of runs that are under way; bands: range over seeds", fontsize=8)
        figure.savefig(file, format="png")
        return report.picture("curves so far", file.getvalue())


def facts_of(study: Study) -> list[list]:
    """What the tables know of each run: path, state, test error, reason."""
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
    """When a file was written, or None where it is not there."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
