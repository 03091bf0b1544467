"""Makes artifacts of W&B of a finished run: its record, the fingerprint of its data, weights."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.records.files import read_sealed
from experiments.records.origin import origin
from experiments.records.record import SEALED, load
from tracking.sent import run_id

if TYPE_CHECKING:
    import wandb

BESIDE = ("env.json", "timings.jsonl", "summary.json")  # of a record, beside what that seals


def log_artifacts(run: "wandb.Run", path: Path) -> None:
    """Logs what belongs to the finished run in a folder.

    Files are referred to where they lie, and copied by W&B when they are sent.
    """
    for artifact, aliases in _artifacts(path):
        run.log_artifact(artifact, aliases=["latest", *aliases])


def _artifacts(path: Path) -> Iterator[tuple["wandb.Artifact", list[str]]]:
    """Gives the artifacts of a finished run, each with its aliases: state, data, precision."""
    config, env = load(path).config, read_sealed(path / "env.json", "data")
    summary = read_sealed(path / "summary.json", "state")
    seed = f"seed{config.seed}"
    about = {"cell": config.cell, "seed": config.seed, "test_error": summary.get("test_error")}
    record = _artifact(f"record-{run_id(config)}", "record", about)
    for name in (*SEALED, *BESIDE):
        if (path / name).exists():
            _add(record, path / name)
    yield record, [summary["state"], seed]

    known = {"fingerprint": env["data"], "origin": origin(config.dataset, env["data"])}
    data = _artifact(f"data-{config.dataset}", "dataset", known)
    with data.new_file("fingerprint.json") as file:
        file.write(json.dumps(known, indent=1))
    yield data, [env["data"]]

    folder = path.parents[2] / "weights" / config.cell
    if _seed_of(folder / "model.safetensors") == config.seed:
        weights = _artifact(f"weights-{run_id(config)}", "model", about)
        for file in sorted(folder.iterdir()):
            _add(weights, file)
        yield weights, ["float16", seed]


def _seed_of(weights: Path) -> int | None:
    """Reads which seed exported weights are of; None where there are none (senet/weights.py)."""
    from safetensors import safe_open

    if not weights.exists():
        return None
    with safe_open(weights, "numpy") as file:
        return json.loads(file.metadata()["about"])["config"]["seed"]


def _artifact(name: str, kind: str, about: dict[str, Any]) -> "wandb.Artifact":
    import wandb

    return wandb.Artifact(name, kind, metadata=about)


def _add(artifact: "wandb.Artifact", file: Path) -> None:
    artifact.add_file(str(file), policy="immutable", skip_cache=True)
