"""Finds out whether W&B is here and whose account it is, and tells it where to write.

W&B's library is imported where it is needed alone: it takes a second.
"""

import importlib.util
import os
from pathlib import Path

from experiments.launch.failures import first_line
from experiments.records.parsing import ConfigError
from tracking.sent import folder_of

INSTALL = "W&B is not installed: `pip install wandb`, or go on without it (`--track off`)"
CONNECT = 15  # seconds for the service to answer in, and to take the rest of a run at its end


def is_installed() -> bool:
    return importlib.util.find_spec("wandb") is not None


def has_key() -> bool:
    """Tells whether W&B knows an account here. It is never asked for.

    Raises ConfigError where W&B's own settings are wrong.
    """
    os.environ.pop("WANDB_MODE", None)  # `pick_mode` has seen it; offline there is no key for W&B
    # Else it says who is logged in, and asks its server for that: seconds without a network, and a
    # service that is cut off in it may never end.
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    try:
        return wandb.login(prompt=False, verify=False)
    except Exception as error:
        raise ConfigError(f"W&B: {first_line(error)}") from None


def usual_mode() -> str:
    """Returns online, offline or off, as W&B's own settings files say."""
    import wandb

    return {"offline": "offline", "disabled": "off"}.get(wandb.setup().settings.mode, "online")


def require_key() -> None:
    """Raises ConfigError where W&B is not installed, or has no key here."""
    if not is_installed():
        raise ConfigError(INSTALL)
    if not has_key():
        raise ConfigError("W&B has no key here: `.venv/bin/wandb login`, or set WANDB_API_KEY")


def project() -> str:
    """Returns the project on W&B: that of WANDB_PROJECT, or ours."""
    return os.environ.get("WANDB_PROJECT") or "se-ablation"


def account() -> tuple[str, str]:
    """Returns (entity, project) on W&B; the entity is WANDB_ENTITY, or the account's own.

    Raises ConfigError where W&B is not installed, has no key here, or does not answer.
    """
    require_key()
    import wandb

    try:
        entity = os.environ.get("WANDB_ENTITY") or wandb.Api(timeout=CONNECT).default_entity
    except Exception as error:  # its transport raises errors of many libraries
        raise ConfigError(f"W&B is not to be reached: {first_line(error)}") from None
    return entity or "", project()


def prepare(results: Path) -> Path:
    """Makes the folder for what W&B writes, and tells it so; to be called before all else."""
    folder = folder_of(results)
    (folder / "told").mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("WANDB_DATA_DIR", str(folder / "data"))
    os.environ.setdefault("WANDB_CACHE_DIR", str(folder / "cache"))
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # to its makers, about our users
    return folder
