"""Says a record in W&B's words: how runs there are named, grouped and compared. No W&B here."""

from pathlib import Path
from typing import Any

from experiments.records.config import RunConfig, variant
from experiments.records.files import read_sealed
from experiments.records.parsing import ConfigError

# A column of metrics.jsonl -> what W&B calls it; a slash makes a section of panels.
METRICS = {
    "train_loss": "train/loss",
    "train_error": "train/error",
    "val_loss": "val/loss",
    "val_error": "val/error",
    "lr": "learning_rate",
}
SUMMARY = {"test_error": "test/error", "test_loss": "test/loss"}
SUMMARY |= {key: key for key in ("parameters", "multiply_adds", "state", "reason")}
MACHINE = ("processor", "device", "precision", "step", "torch", "commit", "data")


def settings_of(config: RunConfig) -> dict[str, Any]:
    """Flattens a config to keys such as se_ratio: W&B takes a dot for a level of its own."""
    from analysis.read import flat

    settings = {key.replace(".", "_"): v for key, v in flat(config.model_dump(mode="json"))}
    if config.se is None:
        settings["se"] = "none"
    settings = {key: value for key, value in settings.items() if value is not None}
    texts = {key: ", ".join(map(str, v)) for key, v in settings.items() if isinstance(v, list)}
    return settings | texts | {"cell": config.cell, "variant": variant(config.se)}


def machine_of(path: Path) -> dict[str, Any]:
    """Returns what a run's env.json says of its machine; nothing where that cannot be read."""
    try:
        env = read_sealed(path / "env.json")
    except ConfigError:
        return {}
    return {f"env_{key}": env[key] for key in MACHINE if key in env}


def summary_of(path: Path) -> dict[str, Any]:
    """Returns what the runs are compared by."""
    summary = read_sealed(path / "summary.json", "state")
    told = {name: summary[key] for key, name in SUMMARY.items() if summary.get(key) is not None}
    told["seconds"] = read_sealed(path / "env.json", "seconds")["seconds"]
    replaced = summary.get("interventions") or {"all": {}}
    return told | {f"intervention/{how}": error for how, error in replaced["all"].items()}
