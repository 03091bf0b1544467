"""Writes every run as a row of RESULTS/runs.csv, and in runs.md what each column holds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.study import Study
from analysis.tables.study import DIGITS, csv, markdown
from experiments.records.files import write_text
from senet.config import SEConfig


@dataclass(frozen=True)
class Column:
    """Describes a column: its name, what it holds, and its place in a row of `Study.runs`.

    kind  of its values: text, whole (numbers), number or flag
    key   in `Study.runs`; None where it is the name
    """

    name: str
    what: str
    kind: str = "text"
    key: str | None = None


SE = {
    "squeeze": "how the pixels of a channel become one number",
    "excitation": "how these numbers become a logit a channel",
    "gate": "how a logit becomes a weight",
    "ratio": "r: the hidden width is channels // r",
    "position": "the place in the residual unit",
    "stages": "all, or the paper's numbers of the stages that have a block",
    "bias": "which of the gate's two layers have one",
    "block": "se, or the block of others that stands in its place",
}
KINDS = {"ratio": "whole"}

COLUMNS = (
    Column("run", "the run's folder under `runs/`"),
    Column("label", "what the config is, in words; the folder's name without the id"),
    Column("id", "hash of the config without its seed: runs of one id differ by the seed alone"),
    Column("seed", "of the weights, the order of the images, the crops and flips", "whole"),
    Column("rows", "the studies that the run is in, each with its row there: `study: row`"),
    Column("state", "done, diverged, failed, missing, damaged, or other data (than most runs of "
           "its study)"),
    Column("reason", "why it has no result, where it has none"),
    Column("dataset", "the data set's name", key="config.dataset"),
    Column("data", "fingerprint of the images and labels", key="env.data"),
    Column("network", "the trunk's name in `senet.list_networks()`", key="config.network"),
    Column("width", "multiplies every channel count", "number", "config.width"),
    Column("shortcut", "where a unit changes shape; empty is the family's own",
           key="config.shortcut"),
    Column("stride_on", "the convolution of a bottleneck that has the stride",
           key="config.stride_on"),
    *(
        Column(f"se_{field.name}", f"{SE[field.name]}; empty without SE",
               KINDS.get(field.name, "text"), f"config.se.{field.name}")
        for field in fields(SEConfig)
    ),
    Column("code", "digest of the study's own code, if it has some", key="config.code.digest"),
    Column("recipe", "how it was trained: a row of experiments/recipes.yaml",
           key="config.recipe.name"),
    Column("epochs", "how many were trained", "whole"),
    Column("steps", "updates of the weights", "whole"),
    Column("train_images", "images that were trained on", "whole"),
    Column("batch_size", "images a step", "whole", "config.recipe.batch_size"),
    Column("test_images", "images of the test set that were read, once, after the last epoch",
           "whole"),
    Column("test_error", "wrong among these, %", "number"),
    Column("test_loss", "their mean cross-entropy, nats", "number"),
    Column("ece", "their expected calibration error in 15 bins, points; from predictions.npz",
           "number"),
    Column("brier", "their Brier score, 0 to 2; empty for runs of before 2026-11-25", "number",
           "test_brier"),
    Column("val_error", "wrong among the held-out images after the last epoch, %", "number"),
    Column("train_error", "wrong in the last epoch of training, with crops and flips, %", "number"),
    Column("parameters", "trainable numbers of the network", "whole"),
    Column("se_parameters", "those of its SE blocks", "whole"),
    Column("multiply_adds", "for one image", "whole"),
    Column("se_multiply_adds", "those of its SE blocks", "whole"),
    Column("se_elementwise", "operations of pooling and scaling on top", "whole"),
    Column("hidden", "hidden units of the gates, by stage from 2 on"),
    Column("seconds", "that it took, evaluation and what an interruption lost with it", "number",
           "env.seconds"),
    Column("pace", "seconds of a training image in the fastest epoch", "number"),
    Column("delay", "how many times as long it took in the median epoch", "number"),
    Column("started", "when, UTC", key="env.started"),
    Column("device", "cpu, or the GPU's name", key="env.device"),
    Column("processor", "its name", key="env.processor"),
    Column("threads", "that it computed with", "whole", "env.threads"),
    Column("precision", "bf16 or fp32", key="env.precision"),
    Column("step", "how a step was computed: plain, fused or captured", key="env.step"),
    Column("commit", "of this repository", key="env.commit"),
    Column("clean", "whether the files were those of the commit", "flag", "env.clean"),
    Column("python", "version", key="env.python"),
    Column("torch", "version", key="env.torch"),
    Column("torchvision", "version", key="env.torchvision"),
    Column("numpy", "version", key="env.numpy"),
    Column("platform", "the operating system", key="env.platform"),
)  # fmt: skip


DTYPES = {"text": "object", "whole": "Int64", "number": "float64", "flag": "boolean"}


def frame(studies: Sequence[Study]) -> pd.DataFrame:
    """Lists every run once, there or not, sorted by its name.

    The columns are COLUMNS with the dtypes of DTYPES; what is not known is missing.
    """
    runs: dict[str, dict[str, Any]] = {}
    for study in studies:
        for run in study.runs.to_dict("records"):
            cell, seed = run["path"].parts[-2:]
            label, _, digest = cell.rpartition("-")
            names = {"run": f"{cell}/{seed}", "label": label, "id": digest, "rows": []}
            known = runs.setdefault(names["run"], run | names)
            known["rows"].append(f"{study.name}: {run['row']}")
    ordered = [run | {"rows": "; ".join(sorted(run["rows"]))} for _, run in sorted(runs.items())]
    return pd.DataFrame({c.name: _column_of(ordered, c) for c in COLUMNS})


def _column_of(runs: Sequence[dict[str, Any]], column: Column) -> pd.Series:
    """Returns the values of a column, a run each."""
    values = [run.get(column.key or column.name) for run in runs]
    known = [None if is_nothing(value) else value for value in values]
    if column.kind == "text":
        known = [None if value is None else text_of(value) for value in known]
    return pd.Series(known, dtype=DTYPES[column.kind])


def is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def text_of(value: Any) -> str:
    """Returns a value as text; of stages `2 3`."""
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _csv_text(value: Any) -> Any:
    """Returns a value as it stands in the CSV; "" where there is none."""
    if pd.isna(value):
        return ""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    return str(value) if isinstance(value, bool) else value


def dictionary() -> pd.DataFrame:
    """Returns a row for each column of `frame`, with what it holds."""
    rows = [(f"`{c.name}`", c.kind, c.what) for c in COLUMNS]
    return pd.DataFrame(rows, columns=["column", "kind", "what it holds"])


NOTES = [
    "A row is a run that was asked for, there or not; what is not known is empty. Made by "
    "`make paper` from the records under `runs/`, of which it is a digest.",
]


def write(studies: Sequence[Study], results: Path) -> list[Path]:
    contents = {
        "runs.csv": csv(frame(studies).astype(object).map(_csv_text).astype(object)),
        "runs.md": markdown("The columns of runs.csv", dictionary(), NOTES),
    }
    for name, content in contents.items():
        write_text(results / name, content)
    return [results / name for name in contents]
