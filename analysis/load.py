"""Records -> tidy data frames: one row a run, one row an epoch."""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import yaml

from analysis.statistics.calibration import measure_calibration
from analysis.statistics.pool import Pool
from experiments.records.gates import Gates, unpack
from experiments.records.parsing import ConfigError
from experiments.records.results import read_result, read_timings
from experiments.records.states import State, failure, state
from experiments.records.study_file import Group, StudyFile, read_studies, seeds_of_cells
from experiments.study.grid import CONSTANT, PLAIN

PUBLISHED = Path(__file__).parent / "published.yaml"
PAPER = ["top1", "top5", "gflops", "mparams"]
OUTCOMES = ("test_error", "test_loss", "ece", "test_brier")  # the primary one, and those behind it
FIRST = ("budget", "control")  # the grids that the answer begins with


@dataclass(frozen=True)
class Study:
    """One grid on one data set, network and recipe, as it was asked for and as it stands.

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
        """What its rows are compared by: all cells of its data set, network and recipe."""
        return self.pool_in("test_error")

    def pool_in(self, outcome: str) -> Pool:
        """The same of another outcome: a row of OUTCOMES."""
        return self.shared[outcome] if self.shared else pool_of([self], values_of(outcome))

    @property
    def is_watched(self) -> bool:
        """Whether seeds of its rows were chosen by looking at their results."""
        return not self.pool.watched.isdisjoint(self.cells.values())

    @property
    def cells(self) -> dict[str, str]:
        """Row -> its cell: the name of the config, which several studies may share."""
        return {row.label: row.cell for row in self.asked.rows}

    @cached_property
    def digest(self) -> str:
        """Changes with everything that a table or a figure of the study is made of."""
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
        """Row -> the row that it is compared with, for those that are compared."""
        pairs = {row.label: row.reference for row in self.asked.rows}
        return {row: other for row, other in pairs.items() if other and other != row}

    @property
    def reference(self) -> str | None:
        """The one row that all others are compared with, if there is one."""
        found = set(self.references.values())
        return found.pop() if len(found) == 1 else None

    @property
    def references_in_words(self) -> str:
        """What the rows are compared with, where they have several references."""
        references = self.references
        has_own = len(set(references.values())) == len(references)
        return "its plain network" if has_own else "its reference"

    @property
    def levels(self) -> dict[str, dict[str, str]]:
        """Row -> what is varied, and its value there."""
        return {row.label: row.levels for row in self.asked.rows}

    @property
    def varied(self) -> list[str]:
        """The rows that are no controls."""
        return [row for row in self.rows if row not in (PLAIN, CONSTANT)]

    @property
    def damaged(self) -> list[str]:
        """What is wrong with the records that cannot be trusted, and are left out."""
        return list(self.runs[self.runs.state == State.DAMAGED].reason)

    @property
    def done(self) -> pd.DataFrame:
        return self.runs[self.runs.state == State.DONE]

    @property
    def is_of_one_machine(self) -> bool:
        """Whether the times of its runs can be compared."""
        return len(self.done[["env.processor", "env.device", "env.step"]].drop_duplicates()) == 1

    def states(self, row: str) -> list[str]:
        """The states of a row's runs."""
        return list(self.runs[self.runs.row == row].state)

    def lost(self, row: str) -> int:
        """Counts the runs of a row without a number: a mean over the others may flatter it."""
        return sum(state != State.DONE for state in self.states(row))

    def precisions(self, *rows: str) -> set[str]:
        """What the runs of some rows were computed in."""
        return set(self.done[self.done.row.isin(rows)]["env.precision"].dropna())

    def of(self, row: str) -> pd.DataFrame:
        """The runs of a row that ended in a result that can be averaged."""
        return self.done[self.done.row == row]

    def errors(self, row: str) -> list[float]:
        """Test errors in %, a run each."""
        return list(self.of(row).test_error)

    def gates(self, row: str) -> dict[int, Gates]:
        """Seed -> what the gates of that run did; {} for a network without SE blocks."""
        paths = {run.seed: run.path / "gates.npz" for run in self.of(row).itertuples()}
        return {seed: unpack(path) for seed, path in paths.items() if path.exists()}

    def plain_of(self, row: str) -> str | None:
        """The row of the same network without SE; None where there is none."""
        return PLAIN if PLAIN in self.rows else self.references.get(row, row)


def by_group(studies: Iterable[Study]) -> dict[Group, list[Study]]:
    """(data set, network, recipe) -> its studies. Those with changed settings are left out."""
    groups: dict[Group, list[Study]] = {}
    for study in sorted(studies, key=in_the_papers_order):
        if not study.asked.settings:
            groups.setdefault(study.asked.group, []).append(study)
    return dict(sorted(groups.items()))


def in_the_papers_order(study: Study) -> tuple[float, str]:
    """What SE is judged against comes first, then by the table's number, then what has none."""
    grid = study.asked.grid
    first = FIRST.index(grid) - len(FIRST) if grid in FIRST else math.inf
    return float(study.asked.table or first), study.name


Measure = Callable[[Study, str], list[float]]


def values_of(outcome: str) -> Measure:
    """(study, row) -> a number a run."""
    return lambda study, row: [x for x in study.of(row).get(outcome, []) if not pd.isna(x)]


def pool_of(studies: Iterable[Study], measure: Measure) -> Pool:
    """All distinct cells of some studies, of one group, with a number a run."""
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


def with_pools(studies: Sequence[Study]) -> list[Study]:
    """The same, each with the pool of its data set, network, recipe and settings."""
    members: dict[str, list[Study]] = {}
    for study in studies:
        members.setdefault(group_key(study), []).append(study)
    pools = {
        key: {outcome: pool_of(some, values_of(outcome)) for outcome in OUTCOMES}
        for key, some in members.items()
    }
    return [replace(study, shared=pools[group_key(study)]) for study in studies]


def group_key(study: Study) -> str:
    return json.dumps([*study.asked.group, study.asked.settings], sort_keys=True)


def find_studies(results: Path | str, names: Sequence[str] = ()) -> list[Study]:
    """The studies of these names, or of these grids; all of them where there is no name.

    Raises ConfigError where a name fits none, or a file cannot be read.
    """
    results = Path(results)
    asked = read_studies(results)
    if not asked:
        raise ConfigError(f"{results} holds no study: begin with `python -m experiments run ratio`")
    for name in names:
        if not any(name in (study.name, study.grid) for study in asked):
            grids = ", ".join(dict.fromkeys(study.grid for study in asked))
            raise ConfigError(f"no study {name!r} in {results}: there are studies of {grids}")
    runs: dict[Path, dict[str, Any]] = {}  # read once, though several studies share them
    seeds = seeds_of_cells(asked)
    found = with_pools([load(results, study, runs, seeds) for study in asked])
    return [s for s in found if not names or s.name in names or s.asked.grid in names]


def load(
    results: Path,
    asked: StudyFile,
    known: dict[Path, dict[str, Any]] | None = None,
    seeds: dict[str, int] | None = None,
) -> Study:
    """A study with all of its runs, of which those that are `known` are not read again.

    Args:
        seeds: cell -> how many it has, where other studies share it: from `seeds_of_cells`.
    """
    known = {} if known is None else known
    seeds = seeds_of_cells([asked]) if seeds is None else seeds
    runs, curves = [], []
    for row in asked.rows:
        for seed in range(seeds[row.cell]):
            path = results / "runs" / row.cell / f"seed{seed}"
            who = {"row": row.label, "seed": seed}
            if path not in known:
                known[path] = read_run(path)
            run = known[path]
            runs.append(who | {key: value for key, value in run.items() if key != "metrics"})
            curves += [who | epoch for epoch in run.get("metrics", [])]
    columns = ["row", "seed", "state", "test_error", "parameters", "multiply_adds", "hidden"]
    columns += ["reason", "interventions", "pace", "delay", "test_images"]
    columns += [f"env.{key}" for key in ("data", "processor", "device", "precision", "step")]
    frame = pd.DataFrame(runs)
    frame = frame.reindex(columns=[*columns, *(c for c in frame if c not in columns)])
    of_data = frame[frame.state == State.DONE]["env.data"].value_counts()
    if len(of_data) > 1:
        most = of_data.index[0]
        is_other = (frame.state == State.DONE) & (frame["env.data"] != most)
        frame.loc[is_other, "state"] = State.OTHER_DATA
    curve_frame = pd.DataFrame(curves, columns=None if curves else ["row", "seed", "epoch"])
    return Study(asked, frame, curve_frame, *published(asked))


def read_run(path: Path) -> dict[str, Any]:
    """What the folder of a run says: the columns of `Study.runs`, and its metrics."""
    try:
        is_over = (path / "summary.json").exists()
    except OSError as error:  # another user's folder: no reason to show nothing of the others
        return {"state": State.DAMAGED, "reason": f"{path}: {error.strerror}", "path": path}
    if not is_over:
        is_failed = state(path) == State.FAILED
        reason = failure(path) if is_failed else ""
        now = State.FAILED if is_failed else State.MISSING
        return {"state": now, "reason": reason, "path": path}
    try:
        result = read_result(path)
        summary = result.summary
        timings = read_timings(path)
        if (path / "gates.npz").exists():
            unpack(path / "gates.npz")
        if summary["state"] == State.DONE and not math.isfinite(summary["test_error"]):
            raise ConfigError(f"{path / 'summary.json'}: done, and its test error is no number")
    except ConfigError as error:
        return {"state": State.DAMAGED, "reason": str(error), "path": path}
    # No table or figure is of the gates by epoch, which would be most of the memory.
    metrics = [{k: v for k, v in line.items() if k != "gates"} for line in result.metrics]
    run = {"path": path, "metrics": metrics} | summary
    run["hidden"] = hidden_text(summary["hidden"])
    paces = [line["seconds"] / line["images"] for line in timings]
    run["ece"] = measure_calibration(path / "predictions.npz")
    run["pace"] = min(paces) if paces else None
    run["delay"] = median(paces) / min(paces) if paces else None
    run |= {f"config.{key}": value for key, value in flat(result.config.model_dump(mode="json"))}
    env = {"step": "plain"} | result.env  # as it was for all in older versions
    return run | {f"env.{key}": value for key, value in env.items()}


def published(asked: StudyFile) -> tuple[pd.DataFrame, str]:
    """The paper's rows for this study, in the study's order, and what they were measured on."""
    table = yaml.safe_load(PUBLISHED.read_bytes()).get(asked.table, {"of": "", "rows": {}})
    rows = {row.label: table["rows"].get(row.label, {}) for row in asked.rows}
    frame = pd.DataFrame.from_dict(rows, orient="index")
    return frame.reindex(columns=PAPER, index=list(rows)), table["of"]


def flat(data: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested keys as dotted ones."""
    pairs = []
    for key, value in data.items():
        is_dict = isinstance(value, dict)
        pairs += flat(value, f"{prefix}{key}.") if is_dict else [(prefix + key, value)]
    return pairs


def hidden_text(hidden: dict[str, list[int]]) -> str:
    """Hidden widths by stage: `4 / 8 / 16`; `1-4 / 4-8 / 8-16` where a stage has several."""
    return " / ".join("-".join(map(str, widths)) for widths in hidden.values())
