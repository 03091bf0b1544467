"""W&B's own folders, records to tell it of, and what it was told."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb
from command_line import analyse, call
from conftest import RECORDS

from senet.fast import kernels


@pytest.fixture
def home(tmp_path) -> Iterator[dict[str, str]]:
    """W&B's own folders, away from the user's, with no key in any of them."""
    names, built = ("WANDB_CONFIG_DIR", "HOME"), kernels.cache_folder()
    built.mkdir(parents=True, exist_ok=True)
    (tmp_path / "home" / ".cache").mkdir(parents=True)
    (tmp_path / "home" / ".cache" / "senet").symlink_to(built)  # kernels are compiled once
    yield {name: str(tmp_path / "home") for name in names} | {"NETRC": str(tmp_path / "netrc")}
    wandb.teardown()  # it would remember this test's server


@pytest.fixture
def no_key(home, monkeypatch):
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name, value in home.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def some_records(tmp_path) -> Path:
    """Two finished runs of the kept records, and one study of them with its tables."""
    results = tmp_path / "results"
    [source] = (RECORDS / "studies").glob("ratio-*")
    study = json.loads(source.read_text())
    study["rows"] = [row for row in study["rows"] if row["label"] in ("no SE", "r = 16")]
    (results / "studies").mkdir(parents=True)
    (results / "studies" / source.name).write_text(json.dumps(study))
    for row in study["rows"]:
        target = results / "runs" / row["cell"] / "seed0"
        shutil.copytree(RECORDS / "runs" / row["cell"] / "seed0", target)
    assert analyse("tables", "--results", str(results)).returncode == 0
    return results


def inspect(folder: Path) -> list[dict]:
    """What W&B's own reader finds in the folder of a run."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def history(records: list[dict]) -> list[dict]:
    return [record["history"]["item"] for record in records if record["type"] == "history"]


def merged(records: list[dict], kind: str) -> dict:
    found = {}
    for record in records:
        if record["type"] == kind:
            found |= record[kind].get("update", {})
    return found


def run_of(records: list[dict]) -> dict:
    return next(record["run"] for record in records if record["type"] == "run")


def folders(results: Path, kind: str = "*-seed*") -> list[Path]:
    return sorted((results / "wandb").glob(f"offline-run-{kind}"))


def sync(results: Path, home: dict[str, str], *words: str, status=0, **environment: str) -> str:
    done = call("wandb-sync", "--results", str(results), *words, **home, **environment)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout
