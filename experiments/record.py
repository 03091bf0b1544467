"""A run on disk: where its files are, what state they say it is in, and how they are written.

    RESULTS/runs/<label>-<id>/seed<k>/
        config.json        the complete config, written first
        env.json           the machine, the software, the data's fingerprint, when and how long
        metrics.jsonl      one line an epoch: losses, errors, learning rate; nothing of the clock
        timings.jsonl      one line an epoch: images and seconds
        predictions.npz    per test image: class, its probability, the true class's probability
        summary.json       written last, at once: the run is done (or diverged, which is a result)
        error.txt          instead of a summary: why the run failed

No torch here: `status` reads a thousand of these in a moment.
"""

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.config import ConfigError, RunConfig, parse
from senet.config import digest_of


@dataclass(frozen=True)
class Record:
    """The files of one run."""

    results: Path
    config: RunConfig

    @property
    def path(self) -> Path:
        return self.results / "runs" / self.config.cell / f"seed{self.config.seed}"

    @property
    def finished(self) -> bool:
        """Whether there is a result; a run that diverged has one."""
        return (self.path / "summary.json").exists()

    @property
    def code_path(self) -> Path:
        """Where the config's own code is kept, if it has some."""
        return self.results / "code" / f"{self.config.code.digest}.py"

    @property
    def state(self) -> str:
        return state(self.path)

    def summary(self) -> dict[str, Any]:
        return read_json(self.path / "summary.json")

    def begin(self) -> None:
        """Clears what an earlier, unfinished try left, and writes the config."""
        if self.finished:
            raise ConfigError(f"{self.path} holds a finished run, which is never trained again")
        self.path.mkdir(parents=True, exist_ok=True)
        for name in ("error.txt", "metrics.jsonl", "timings.jsonl", "env.json", "predictions.npz"):
            (self.path / name).unlink(missing_ok=True)
        write_json(self.path / "config.json", self.config.model_dump(mode="json"))

    def append(self, file: str, row: dict[str, Any]) -> None:
        """A line of metrics.jsonl or timings.jsonl."""
        with (self.path / file).open("a") as lines:
            lines.write(json.dumps(row) + "\n")

    def write(self, file: str, data: dict[str, Any]) -> None:
        write_json(self.path / file, data)

    def write_predictions(self, **arrays: Any) -> None:
        import numpy as np  # `status` does without it

        write_atomically(
            self.path / "predictions.npz", lambda file: np.savez_compressed(file, **arrays)
        )

    def fail(self, reason: str) -> None:
        write_atomically(self.path / "error.txt", lambda file: file.write(reason.encode()))


def state(path: Path) -> str:
    """planned, interrupted, failed, diverged or done: what the files of a run say."""
    if (path / "summary.json").exists():
        return read_json(path / "summary.json", "state")["state"]
    if (path / "error.txt").exists():
        return "failed"
    return "interrupted" if (path / "config.json").exists() else "planned"


def read_studies(results: Path) -> list[dict[str, Any]]:
    """What was asked for in RESULTS, by name."""
    keys = ("name", "grid", "title", "dataset", "network", "recipe", "seeds", "rows")
    return [read_json(path, *keys) for path in sorted((results / "studies").glob("*.json"))]


def write_study(results: Path, study: dict[str, Any]) -> None:
    """What was asked, beside the runs: RESULTS/studies/<name>.json. More seeds are kept."""
    path = results / "studies" / f"{study['name']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        study = study | {"seeds": max(study["seeds"], read_json(path)["seeds"])}
    write_json(path, study)


def load(path: Path) -> Record:
    """The record in a folder `.../runs/<label>-<id>/seed<k>`.

    Raises ConfigError where its config.json is damaged, or belongs to another folder.
    """
    config = parse(RunConfig, read_json(path / "config.json"), str(path / "config.json"))
    record = Record(path.parents[2], config)
    if record.path != path:
        raise ConfigError(
            f"{path / 'config.json'} describes {config.cell}/seed{config.seed}: "
            "it was edited, or its folder was renamed"
        )
    return record


def read_json(path: Path, *keys: str) -> dict[str, Any]:
    """A file that holds an object with these keys, or a ConfigError that names it."""
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError:
        raise ConfigError(f"{path} is not there") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    if not isinstance(data, dict) or not set(keys) <= set(data):
        raise ConfigError(f"{path} is damaged: it lacks {', '.join(keys) or 'its keys'}")
    return data


def write_json(path: Path, data: dict[str, Any]) -> None:
    text = json.dumps(data, indent=1) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def write_atomically(path: Path, write: Callable) -> None:
    """The whole file or none of it, also where the machine stops in the middle."""
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, 0o644)
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def keep_code(results: Path, code: Path) -> None:
    """Copies a grid's own code to where its runs, and a reader in a year, find it."""
    path = results / "code" / f"{digest_of(code)}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    source = code.read_bytes()
    write_atomically(path, lambda file: file.write(source))


def check_writable(results: Path) -> None:
    """Raises ConfigError where RESULTS cannot be written, before anything is."""
    there = results.absolute()
    while not there.exists():
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"RESULTS {results} cannot be written: {there} is not a writable folder")
