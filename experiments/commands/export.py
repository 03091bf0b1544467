"""`export`: the weights of one seed a cell, float16, under 1 MB each, for `senet.weights`."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.data.datasets import DATASETS, Say
from experiments.records.config import ConfigError, RunConfig, checked
from experiments.records.files import write_atomically, write_json
from experiments.records.record import read_result, runs_of
from experiments.records.record import state as state_of
from experiments.records.study_file import read_studies
from experiments.train import checkpoint
from senet.weights import INDEX, PUBLISHED, pack

GRIDS = ("ratio", "control")  # the headline: what r does, and what SE is judged against
LARGEST = 1_000_000  # bytes


def export(results: Path, grids: Sequence[str], into: Path | None, say: Say) -> int:
    """Writes the weights of the first finished seed of every row of some studies.

    Args:
        results: where their records are, with checkpoints.
        grids: whose studies.
        into: the folder; RESULTS/weights unless it is given.
        say: takes lines for the user.

    Returns:
        0, or 1 where a row has no finished run with a checkpoint. A network whose file is larger
        than LARGEST, or that has code of its own, is left out and named.

    Raises:
        ConfigError: there is no such study, or no checkpoint; nothing is written.
    """
    studies = [s for s in read_studies(results) if s["grid"] in grids]
    if not studies:
        raise ConfigError(f"{results} holds no study of {' or '.join(grids)}")
    folder, status = into or results / PUBLISHED.name, 0
    rows: dict[str, dict[str, None]] = {}  # of a cell: a study may share it with others
    first: dict[str, Path] = {}
    for study in studies:
        labels = {row["cell"]: row["label"] for row in study["rows"]}
        for path in runs_of(study, results):
            cell = path.parent.name
            rows.setdefault(cell, {})[labels[cell]] = None
            if (path / "checkpoint.pt").exists() and state_of(path) == "done":
                first.setdefault(cell, path)
    if not first:
        raise ConfigError(f"{results}: no finished run of {' or '.join(grids)} has a checkpoint")
    folder.mkdir(parents=True, exist_ok=True)
    index: dict[str, Any] = {}
    for cell, names in rows.items():
        if cell not in first:
            say(f"{cell}: no finished run has a checkpoint", style="yellow")
            status = 1
            continue
        result = read_result(first[cell])
        if result.config.code:
            say(f"{cell}: left out, as it has code of its own")
            continue
        state = checkpoint.load(first[cell] / "checkpoint.pt", "cpu")
        if state["data"] != result.env["data"] or state["optimizer"] is not None:
            raise ConfigError(f"{first[cell] / 'checkpoint.pt'} is not of the finished run")
        content = checked(pack, state["model"])
        if len(content) > LARGEST:
            say(f"{cell}: left out, as it takes {len(content):,} bytes of {LARGEST:,}")
            continue
        name = f"{cell}.npz"
        write_atomically(folder / name, lambda file, content=content: file.write(content))
        index[cell] = {
            "rows": list(names),
            "seed": result.config.seed,
            "test_error": result.summary["test_error"],  # of the float32 weights
            "file": name,
            "sha256": hashlib.sha256(content).hexdigest(),
            **how_to_build(result.config),
        }
        say(f"{name}: {len(content):,} bytes, {', '.join(names)}")
    write_json(folder / INDEX, index)
    say(f"wrote {folder / INDEX}: {len(index)} of {len(rows)} networks")
    return status


def how_to_build(config: RunConfig) -> dict[str, Any]:
    """The arguments of `senet.build`, and how pixels are normalised."""
    source = DATASETS[config.dataset]
    data = config.model_dump(mode="json")
    options = {key: data[key] for key in ("width", "shortcut", "stride_on", "se")}
    return {
        "dataset": config.dataset,
        "build": {"name": config.network, "classes": source.classes, **options},
        "mean": source.mean,
        "std": source.std,
    }
