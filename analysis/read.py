"""Reads records into studies: one row a run, one row an epoch."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import yaml

from analysis.groups import group_key, with_pools
from analysis.statistics.calibration import measure_calibration
from analysis.study import Study
from experiments.records.gates import unpack
from experiments.records.parsing import ConfigError
from experiments.records.results import read_result, read_timings
from experiments.records.states import State, failure, state
from experiments.records.studies import read_studies
from experiments.records.study_file import StudyFile, seeds_of_cells

PUBLISHED = Path(__file__).parent / "published.yaml"
PAPER = ["top1", "top5", "gflops", "mparams"]


def find_studies(
    results: Path | str, names: Sequence[str] = (), lost: list[str] | None = None
) -> list[Study]:
    """Finds the studies of these names, or of these grids; all of them where there is no name.

    Raises ConfigError where a name fits none, or a study's file cannot be read. With `lost` such a
    file is left out, and its sentence comes there.
    """
    return divide_studies(results, names, lost)[0]


def divide_studies(
    results: Path | str, names: Sequence[str] = (), lost: list[str] | None = None
) -> tuple[list[Study], list[Study]]:
    """Returns what `find_studies` does, and all other studies in RESULTS."""
    results = Path(results)
    asked = read_studies(results, lost)
    if not asked:
        raise ConfigError(f"{results} holds no study: begin with `python -m experiments run ratio`")
    for name in names:
        if not any(name in (study.name, study.grid) for study in asked):
            grids = ", ".join(dict.fromkeys(study.grid for study in asked))
            found = f"no study {name!r} in {results}: there are studies of {grids}"
            raise ConfigError("; ".join([found, *(lost or [])]))
    runs: dict[Path, dict[str, Any]] = {}  # read once, though several studies share them
    seeds = seeds_of_cells(asked)
    loaded = [load_study(results, study, runs, seeds) for study in asked]
    every = with_pools(mark_other_data(loaded))
    parts: tuple[list[Study], list[Study]] = [], []
    for study in every:
        is_named = not names or study.name in names or study.asked.grid in names
        parts[not is_named].append(study)
    return parts


def load_study(
    results: Path,
    asked: StudyFile,
    known: dict[Path, dict[str, Any]] | None = None,
    seeds: dict[str, int] | None = None,
) -> Study:
    """Reads a study with all of its runs, of which those that are `known` are not read again.

    Those on other data than most of its group's are not marked yet: see `mark_other_data`.

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
    curve_frame = pd.DataFrame(curves, columns=None if curves else ["row", "seed", "epoch"])
    return Study(asked, frame, curve_frame, *published(asked))


def mark_other_data(studies: Sequence[Study]) -> list[Study]:
    """Marks the runs that were trained on other data than most of their group's.

    It is decided for a group, so that a run that several studies share has one state in all.
    """
    groups: dict[str, list[Study]] = {}
    for study in studies:
        groups.setdefault(group_key(study), []).append(study)
    most = {}
    for key, some in groups.items():
        runs = pd.concat([study.done for study in some])
        data = runs.drop_duplicates("path")["env.data"].value_counts()
        most[key] = data.index[0] if len(data) else None
    found = []
    for study in studies:
        runs, data = study.runs.copy(), study.runs["env.data"]
        is_other = data.notna() & (data != most[group_key(study)])
        runs.loc[is_other & (runs.state == State.DONE), "state"] = State.OTHER_DATA
        found.append(replace(study, runs=runs))
    return found


def read_run(path: Path) -> dict[str, Any]:
    """Reads the folder of a run: the columns of `Study.runs`, and its metrics."""
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
    except ConfigError as error:
        return {"state": State.DAMAGED, "reason": str(error), "path": path}
    # No table or figure is of the gates by epoch, which would be most of the memory.
    metrics = [{k: v for k, v in line.items() if k != "gates"} for line in result.metrics]
    run = {"path": path, "metrics": metrics} | summary
    run["hidden"] = _hidden_text(summary["hidden"])
    paces = [line["seconds"] / line["images"] for line in timings]
    run["ece"] = measure_calibration(path / "predictions.npz")
    run["pace"] = min(paces) if paces else None
    run["delay"] = median(paces) / min(paces) if paces else None
    run |= {f"config.{key}": value for key, value in flat(result.config.model_dump(mode="json"))}
    env = {"step": "plain"} | result.env  # as it was for all in older versions
    return run | {f"env.{key}": value for key, value in env.items()}


def published(asked: StudyFile) -> tuple[pd.DataFrame, str]:
    """Returns the paper's rows for this study, in its order, and what they were measured on."""
    table = _published_tables().get(asked.table, {"of": "", "rows": {}})
    rows = {row.label: table["rows"].get(row.label, {}) for row in asked.rows}
    frame = pd.DataFrame.from_dict(rows, orient="index")
    return frame.reindex(columns=PAPER, index=list(rows)), table["of"]


@cache
def _published_tables() -> dict[str | None, Any]:
    return yaml.safe_load(PUBLISHED.read_bytes())


def flat(data: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Turns nested keys into dotted ones."""
    pairs = []
    for key, value in data.items():
        is_dict = isinstance(value, dict)
        pairs += flat(value, f"{prefix}{key}.") if is_dict else [(prefix + key, value)]
    return pairs


def _hidden_text(hidden: dict[str, list[int]]) -> str:
    """Returns hidden widths by stage: `4 / 8 / 16`; `1-4 / 4-8` where a stage has several."""
    return " / ".join("-".join(map(str, widths)) for widths in hidden.values())
