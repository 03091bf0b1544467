"""Makes the JSON that the page's charts, tips and records are drawn from."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.figures.compared import Ends, Line, beyond, ends_of, lines, reach
from analysis.figures.looks import Style, looks
from analysis.statistics.comparisons import MARGINS, difference_text
from analysis.study import Study
from analysis.tables.runs import is_nothing
from analysis.tables.study import difference_and_verdict, error_text, numbers
from experiments.records.states import State

Json = dict[str, Any]
SHAPES = {  # marks of matplotlib, as Vega calls them
    "o": "circle", "s": "square", "D": "diamond", "^": "triangle-up", "v": "triangle-down",
    "P": "cross", "<": "triangle-left", ">": "triangle-right",
}  # fmt: skip
MILLION = 1e6


def chart(study: Study, table: pd.DataFrame | None = None) -> Json:
    """Returns all that the charts of a study show: one entry per row of its table, and its curves.

    The numbers are those of `table` where they were computed before.
    """
    seen, table = looks(study), numbers(study) if table is None else table
    return {
        "command": study.asked.command,
        "rows": [row(study, of, seen[of.row]) for of in table.itertuples()],
        "curves": curves(study, seen),
    }


def row(study: Study, of: Any, look: Style) -> Json:
    half = 0.0 if math.isnan(of.half_width) else of.half_width
    return {
        **drawn(look),
        "row": of.row,
        "cell": study.cells[of.row],
        "mean": number(of.test_error),
        "low": number(of.test_error - half),
        "high": number(of.test_error + half),
        "seeds": [number(error) for error in study.errors(of.row)],
        "error": error_text(of),
        "difference": difference_and_verdict(of) if of.row in study.references else "",
        "reference": study.references.get(of.row, ""),
        "parameters": number(None if pd.isna(of.parameters) else of.parameters / MILLION),
        "ratio": study.ratios.get(of.row),
    }


def drawn(look: Style) -> Json:
    """Translates a look into the words of Vega and of the page's style sheet."""
    return {
        "color": f"var(--{look.key})",
        "shape": SHAPES[look.marker],
        "dash": list(look.dashes) or [1, 0],
    }


def curves(study: Study, seen: dict[str, Style]) -> list[Json]:
    """Returns by row and epoch the mean over seeds of the error on held-out and training images."""
    names = [name for name in ("val_error", "train_error") if name in study.curves]
    frame = study.sound_curves.dropna(subset=names, how="all")
    if not names or frame.empty:
        return []
    means = (
        frame.groupby(["row", "epoch"])[names].mean().reindex(columns=["val_error", "train_error"])
    )
    return [
        {**drawn(seen[label]), "row": label, "epoch": int(epoch), "held": number(held),
         "train": number(train)}
        for label in study.rows if label in means.index
        for epoch, (held, train) in means.loc[label].iterrows()
    ]  # fmt: skip


def by_epoch(study: Study) -> pd.DataFrame:
    """Writes a table of the held-out error after each epoch, or after some of many, as text."""
    if "val_error" not in study.curves or study.curves.val_error.isna().all():
        return pd.DataFrame()
    wide = study.sound_curves.pivot_table(index="row", columns="epoch", values="val_error")
    wide = wide.reindex([label for label in study.rows if label in wide.index])
    kept = (
        wide.columns
        if len(wide.columns) <= 10
        else wide.columns[[*range(0, len(wide.columns) - 1, math.ceil(len(wide.columns) / 9)), -1]]
    )
    shown = pd.DataFrame({"network": wide.index})
    for epoch in kept:
        texts = ["–" if math.isnan(x) else f"{x:.1f}" for x in wide[epoch]]
        shown[f"epoch {int(epoch)}"] = texts
    return shown


def forest(studies: Sequence[Study]) -> Json:
    """Returns the forest plot of every row against its reference, with a heading per study."""
    blocks = lines(studies)
    every = [one for some in blocks.values() for one in some]
    ends = reach(x for one in every for x in (*ends_of(one.found), one.paper))
    rows: list[Json] = []
    for name, some in blocks.items():
        rows.append({"key": f"{name}|", "head": True})
        rows += [place(one, f"{name}|{one.label}", ends) for one in some]
    low, high = (round(end, 3) for end in ends)
    margin = MARGINS.get(studies[0].asked.dataset, 0.0)
    return {"rows": rows, "low": low, "high": high, "margin": margin}


def place(one: Line, key: str, ends: Ends) -> Json:
    """Returns a line of the forest plot; what lies beyond the axis is put at its end.

    There an arrow stands for it, with its numbers beside it, which end where its interval begins.
    """
    found, is_known = one.found, not math.isnan(one.found.estimate)
    low, high = (end if not math.isnan(end) else found.estimate for end in (found.low, found.high))
    side = beyond(found.estimate, ends)
    low, at, high = (min(max(x, ends[0]), ends[1]) for x in (low, found.estimate, high))
    numbers = difference_text(found) if is_known else ""
    return {
        "key": key,
        "head": False,
        "row": one.label,
        "study": one.study.name,
        "cell": one.study.cells[one.label],
        "at": number(at),
        "low": number(low),
        "high": number(high),
        "shape": {1: "triangle-right", -1: "triangle-left"}.get(side, "diamond"),
        "side": side,
        "beside": numbers if side else "",
        "inner": number(low if side > 0 else high),
        "paper": None if beyond(one.paper, ends) else number(one.paper),
        "difference": one.verdict if side else f"{numbers} {one.verdict}".strip(),
    }


def records(studies: Sequence[Study]) -> dict[str, Json]:
    """Maps each cell to its config and its runs: what a click on a row shows."""
    found: dict[str, Json] = {}
    for study in studies:
        for label, cell in study.cells.items():
            if cell not in found:
                of_row = study.runs[study.runs.row == label]
                found[cell] = {
                    "label": label,
                    "command": study.asked.command,
                    "config": config(of_row),
                    "runs": [_run_facts(run, cell) for run in of_row.to_dict("records")],
                }
    return found


def config(runs: pd.DataFrame) -> Json:
    """Returns the config of a cell, without its seed; {} where no run has ended."""
    names = [name for name in runs if name.startswith("config.") and name != "config.seed"]
    there = runs[runs.state.isin([State.DONE, State.DIVERGED])]
    if there.empty:
        return {}
    first = there.iloc[0]
    return {
        name.removeprefix("config."): plain(first[name])
        for name in names
        if not is_nothing(first[name])
    }


def _run_facts(run: Json, cell: str) -> Json:
    names = ("commit", "processor", "device", "precision", "step", "torch", "data")
    env = {name: run.get(f"env.{name}") for name in names}
    return {
        "seed": int(run["seed"]),
        "state": str(run["state"]),
        "error": number(run.get("test_error")),
        "path": f"runs/{cell}/seed{run['seed']}",
        **{name: value for name, value in env.items() if not is_nothing(value)},
    }


def plain(value: Any) -> Any:
    """Turns a number of numpy into one of Python; returns other values as they are."""
    return value.item() if hasattr(value, "item") else value


def number(value: float | None) -> float | None:
    """Rounds a number to six digits; returns None for what JSON has no number for."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.6g}")
