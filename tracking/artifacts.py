"""Makes artifacts of W&B of a finished run: its record, the fingerprint of its data, weights."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.data.datasets import origin
from experiments.records.files import read_sealed
from experiments.records.record import SEALED, load_record
from tracking.sent import run_id

if TYPE_CHECKING:
    import wandb

BESIDE = ("env.json", "timings.jsonl", "summary.json")  # of a record, beside what that seals


def log_artifacts(run: "wandb.Run", path: Path) -> None:
    """Logs what belongs to the finished run in a folder, with its state, data and seed as aliases.

    Files are referred to where they lie, and copied by W&B when they are sent.
    """
    import wandb

    config, env = load_record(path).config, read_sealed(path / "env.json", "data")
    summary = read_sealed(path / "summary.json", "state")
    seed = f"seed{config.seed}"
    about = {"cell": config.cell, "seed": config.seed, "test_error": summary.get("test_error")}
    record = wandb.Artifact(f"record-{run_id(config)}", "record", metadata=about)
    for name in (*SEALED, *BESIDE):
        if (path / name).exists():
            _add(record, path / name)
    run.log_artifact(record, aliases=["latest", summary["state"], seed])

    known = {"fingerprint": env["data"], "origin": origin(config.dataset, env["data"])}
    data = wandb.Artifact(f"data-{config.dataset}", "dataset", metadata=known)
    with data.new_file("fingerprint.json") as file:
        file.write(json.dumps(known, indent=1))
    run.log_artifact(data, aliases=["latest", env["data"]])

    folder = path.parents[2] / "weights" / config.cell
    if _seed_of(folder / "model.safetensors") == config.seed:
        weights = wandb.Artifact(f"weights-{run_id(config)}", "model", metadata=about)
        for file in sorted(folder.iterdir()):
            _add(weights, file)
        run.log_artifact(weights, aliases=["latest", "float16", seed])


def _seed_of(weights: Path) -> int | None:
    """Reads which seed exported weights are of; None where there are none (senet/weights.py)."""
    from safetensors import safe_open

    if not weights.exists():
        return None
    with safe_open(weights, "numpy") as file:
        return json.loads(file.metadata()["about"])["config"]["seed"]


def _add(artifact: "wandb.Artifact", file: Path) -> None:
    artifact.add_file(str(file), policy="immutable", skip_cache=True)
