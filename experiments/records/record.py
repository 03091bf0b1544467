"""Says where the files of a run are, and writes them.

    RESULTS/runs/<label>-<id>/seed<k>/
        config.json        the complete config, written first
        env.json           the machine, the software, the data's and the arithmetic's fingerprints,
                           when and how long, and where it went on after an interruption
        metrics.jsonl      one line an epoch: losses, errors, learning rate, and how the gates of
                           each stage are distributed on held-out images; nothing of the clock
        timings.jsonl      one line a start, one an epoch: images and seconds
        predictions.npz    per test image: class, its probability; the true class, its probability
        gates.npz          of a network with SE blocks: what its gates did (gates.py); of the first
                           three seeds
        summary.json       written last, at once: the run is done (or diverged, which is a result);
                           since 2026-11-25 with its Brier score and the shares of its classes
        error.txt          instead of a summary: why the run ended
        checkpoint.pt      what a resume needs; of a finished run the weights (not committed)
        lock, log.txt      who trains it now; what its process printed, where it printed something

`summary.json` holds checksums of the files that it sums up, and like `env.json` one of itself: a
record that was edited or cut short is refused.

No torch here: `status` reads a thousand of these in a moment.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from experiments.records.config import RunConfig
from experiments.records.files import (
    append_line,
    delete_partials,
    digest_of_file,
    flush_to_disk,
    read_json,
    read_lines,
    read_sealed,
    write_atomically,
    write_bytes,
    write_json,
    write_lines,
    write_sealed,
    write_text,
)
from experiments.records.lock import confirm, hold
from experiments.records.parsing import ConfigError, parse
from experiments.records.states import State, state
from experiments.records.study_file import UNSETTLED, Arithmetic
from senet.config import digest_of, nearest

SEALED = ("config.json", "metrics.jsonl", "predictions.npz", "gates.npz")


@dataclass(frozen=True)
class Record:
    """Gives the files of one run, and holds the arithmetic that its study was begun with."""

    results: Path
    config: RunConfig
    arithmetic: Arithmetic = field(default=UNSETTLED, compare=False)

    @cached_property
    def path(self) -> Path:
        return self.results / "runs" / self.config.cell / f"seed{self.config.seed}"

    @property
    def name(self) -> str:
        """Returns the run's full name: `<label>-<id>/seed<k>`."""
        return f"{self.path.parent.name}/{self.path.name}"

    @property
    def finished(self) -> bool:
        """Tells whether the run has a result; a run that diverged has one."""
        return (self.path / "summary.json").exists()

    @property
    def failed(self) -> bool:
        """Tells whether the run ended by its own fault; `run` skips it until `retry` is used."""
        return self.state == State.FAILED

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.pt"

    @property
    def code_path(self) -> Path:
        """Returns where the config's own code is kept. It has some."""
        assert self.config.code is not None
        return self.results / "code" / f"{self.config.code.digest}.py"

    @property
    def state(self) -> State:
        return state(self.path)

    def summary(self) -> dict[str, Any]:
        return read_sealed(self.path / "summary.json", "state")

    def begin(self) -> None:
        """Makes the folder and writes the config; what an earlier try left stays for a resume."""
        if self.finished:
            raise ConfigError(f"{self.path} holds a finished run, which is never trained again")
        confirm(self.path)
        self.path.mkdir(parents=True, exist_ok=True)
        delete_partials(self.path)
        (self.path / "error.txt").unlink(missing_ok=True)
        write_json(self.path / "config.json", self.config.model_dump(mode="json"))

    def note_start(self, environment: dict[str, Any], step: int) -> dict[str, Any]:
        """Writes env.json at the beginning of a try, and a line to timings.jsonl.

        `step` is where the try goes on; 0 for a run that starts anew. Returns what belongs into
        env.json: of a resumed run the environment of its first try, and under `resumed` what was
        different in the others.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        lines = read_lines(self.path / "timings.jsonl", cut_short=True)
        write_lines(self.path / "timings.jsonl", [*lines, {"started": now, "step": step}])
        environment = environment | {"started": now}
        if step:
            try:
                first = read_sealed(self.path / "env.json")
            except ConfigError as error:  # that costs provenance, and no training
                first = environment | {"lost": f"of the steps before {step}: {error}"}
            changed = {k: v for k, v in environment.items() if first.get(k) != v}
            environment = first | {"resumed": [*first.get("resumed", []), {"step": step} | changed]}
        self.write_environment(environment)
        return environment

    def write_environment(self, environment: dict[str, Any]) -> None:
        write_sealed(self.path / "env.json", environment)

    def append(self, file: str, row: dict[str, Any]) -> None:
        """Appends a line to metrics.jsonl or timings.jsonl."""
        append_line(self.path / file, row)

    def write_metrics(self, rows: list[dict[str, Any]]) -> None:
        """Writes metrics.jsonl anew: what came after a checkpoint is no longer part of the run."""
        write_lines(self.path / "metrics.jsonl", rows)

    def write_predictions(self, **arrays: Any) -> None:
        import numpy as np  # `status` does without it

        write_atomically(
            self.path / "predictions.npz", lambda file: np.savez_compressed(file, **arrays)
        )

    def write_gates(self, content: bytes) -> None:
        """Writes gates.npz, whose content `gates.pack` made."""
        write_bytes(self.path / "gates.npz", content)

    def finish(self, summary: dict[str, Any]) -> None:
        """Writes the summary, with checksums of what it sums up: the run is done."""
        paths = [path for name in SEALED if (path := self.path / name).exists()]
        files = {path.name: digest_of_file(path) for path in paths}
        self.seal(lambda path: write_sealed(path, summary | {"files": files}))

    def seal(self, write: Callable[[Path], None]) -> None:
        """Syncs the run's files to the disk, has `write` make summary.json, and syncs that.

        All of the run is on the disk before it, and it is when this returns: no summary ever stands
        beside files that are not whole.
        """
        names = (*SEALED, "env.json", "timings.jsonl", "checkpoint.pt")
        for path in (*(self.path / name for name in names), self.path, *self.path.parents[:3]):
            if path.exists():
                flush_to_disk(path)
        write(self.path / "summary.json")
        flush_to_disk(self.path)

    def fail(self, kind: str, reason: str, details: str = "") -> None:
        """Writes error.txt; failures with one cause share a `kind`, as an exception's name."""
        text = f"{kind}: {reason}\n" + (f"\n{details.strip()}\n" if details.strip() else "")
        write_text(self.path / "error.txt", text)


def load_record(path: Path) -> Record:
    """Reads the record in a folder `.../runs/<label>-<id>/seed<k>`.

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


def find_run(results: Path, name: str) -> Path:
    """Returns the folder of the run with this full name. Raises ConfigError where there is none."""
    runs = results / "runs"
    names = [f"{path.parent.name}/{path.name}" for path in sorted(runs.glob("*/seed*"))]
    if name not in names:
        hint = f": did you mean {near!r}?" if (near := nearest(name, names)) else ""
        raise ConfigError(f"no run {name!r} in {runs}{hint}")
    return runs / name


def delete(path: Path) -> None:
    """Deletes a run. Raises ConfigError where it is being trained."""
    with hold(path) as lock:
        if lock is None:
            raise ConfigError(f"{path} is being trained: stop that first")
        shutil.rmtree(path)


def keep_code(results: Path, code: Path) -> None:
    """Copies a grid's own code to where its runs, and a reader in a year, find it."""
    path = results / "code" / f"{digest_of(code)}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    source = code.read_bytes()
    write_bytes(path, source)
