"""Turns records into tables, figures and verdicts. Needs neither torch, nor a GPU, nor the data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd  # which takes a second to import


def load(results: str | Path = "results/published") -> pd.DataFrame:
    """Reads all records of a results folder into one data frame, a row a run.

    Args:
        results: the folder that holds `studies` and `runs`.

    Returns:
        Each run once, sorted by its name, there or not; a value that is not known is missing. The
        columns and their dtypes, of which `results/published/runs.md` lists all:

        run, label, id      text: its folder, what its config is in words, the config's hash
        seed                Int64
        rows                text: the studies that it is in, each with its row there
        state, reason       text: done, diverged, failed, missing, damaged or other data, and why
        dataset, network    text, as in its config; so are recipe, shortcut, stride_on, width, ...
        se_*                the block: text, but se_ratio, Int64; missing without SE
        epochs, steps, ...  Int64: how long it was trained, on how many images
        test_error          float64: % of the test set that is wrong, after the last epoch
        test_loss, brier    float64: mean cross-entropy in nats, Brier score of 0 to 2
        ece                 float64: expected calibration error in points
        parameters, ...     Int64: what the network costs
        seconds, pace       float64: of the run, of a training image in the fastest epoch
        device, commit      text: where it was computed, and by what; clean is boolean

    Raises:
        ConfigError: the folder holds no study, or a study's file cannot be read.
    """
    from analysis.read import find_studies
    from analysis.tables.runs import frame

    return frame(find_studies(results))
