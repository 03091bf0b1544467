"""A run on disk: where its files are, what state they say it is in, and how they are written.

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

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from experiments.records.config import ConfigError, RunConfig, parse
from experiments.records.files import (
    append_line,
    digest_of_file,
    read_json,
    read_lines,
    read_sealed,
    sweep,
    sync,
    write_atomically,
    write_json,
    write_lines,
    write_sealed,
)
from experiments.records.lock import hold, holder, wait_for
from experiments.records.study_file import UNSETTLED, Arithmetic, read_study
from senet.config import digest_of, nearest

SEALED = ("config.json", "metrics.jsonl", "predictions.npz", "gates.npz")
# Kinds of failure that are not the run's fault: it goes on as soon as it may.
KILLED, DISK_FULL, CANCELLED = "killed", "disk full", "cancelled"
UNFIT = "unfit machine"  # for the arithmetic of the study: another one can train it

MOST_IMAGES, MOST_SECONDS = 10**12, 10**9  # of an epoch: beyond, a file was damaged

MISSING = ("planned", "interrupted", "cancelled", "running")  # states of runs that `run` sees to


@dataclass(frozen=True)
class Record:
    """The files of one run, and the arithmetic that its study was begun with."""

    results: Path
    config: RunConfig
    arithmetic: Arithmetic = field(default=UNSETTLED, compare=False)

    @cached_property
    def path(self) -> Path:
        return self.results / "runs" / self.config.cell / f"seed{self.config.seed}"

    @property
    def name(self) -> str:
        """The run's full name: `<label>-<id>/seed<k>`."""
        return f"{self.path.parent.name}/{self.path.name}"

    @property
    def finished(self) -> bool:
        """Whether there is a result; a run that diverged has one."""
        return (self.path / "summary.json").exists()

    @property
    def failed(self) -> bool:
        """Whether it ended by its own fault: `run` leaves it alone until `retry` forgets that."""
        return state(self.path) == "failed"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.pt"

    @property
    def code_path(self) -> Path:
        """Where the config's own code is kept, if it has some."""
        return self.results / "code" / f"{self.config.code.digest}.py"

    @property
    def state(self) -> str:
        return state(self.path)

    def summary(self) -> dict[str, Any]:
        return read_sealed(self.path / "summary.json", "state")

    def begin(self) -> None:
        """Makes the folder and writes the config; what an earlier try left stays for a resume."""
        if self.finished:
            raise ConfigError(f"{self.path} holds a finished run, which is never trained again")
        self.path.mkdir(parents=True, exist_ok=True)
        sweep(self.path)
        (self.path / "error.txt").unlink(missing_ok=True)
        write_json(self.path / "config.json", self.config.model_dump(mode="json"))

    def note_start(self, environment: dict[str, Any], step: int) -> dict[str, Any]:
        """Writes env.json at the beginning of a try, and a line to timings.jsonl.

        Args:
            environment: of this try.
            step: where it goes on; 0 for a run that starts anew.

        Returns:
            What belongs into env.json: of a resumed run the environment of its first try, and
            under `resumed` what was different in the others.
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

    def seconds_spent(self) -> float:
        """On epochs so far, also on those that were lost."""
        return sum(line["seconds"] for line in read_timings(self.path))

    def append(self, file: str, row: dict[str, Any]) -> None:
        """A line of metrics.jsonl or timings.jsonl."""
        append_line(self.path / file, row)

    def write_metrics(self, rows: list[dict[str, Any]]) -> None:
        """All of metrics.jsonl: what came after a checkpoint is not part of the run any more."""
        write_lines(self.path / "metrics.jsonl", rows)

    def write_predictions(self, **arrays: Any) -> None:
        import numpy as np  # `status` does without it

        write_atomically(
            self.path / "predictions.npz", lambda file: np.savez_compressed(file, **arrays)
        )

    def write_gates(self, content: bytes) -> None:
        """What `gates.pack` made."""
        write_atomically(self.path / "gates.npz", lambda file: file.write(content))

    def finish(self, summary: dict[str, Any]) -> None:
        """Writes the summary, with checksums of what it sums up: the run is done.

        All of the run is on the disk before it, and it is when this returns: where the power fails,
        no summary stands beside files that are not whole.
        """
        paths = [path for name in SEALED if (path := self.path / name).exists()]
        files = {path.name: digest_of_file(path) for path in paths}
        beside = [self.path / name for name in ("env.json", "timings.jsonl", "checkpoint.pt")]
        for path in (*paths, *beside, self.path, *self.path.parents[:3]):
            if path.exists():
                sync(path)
        write_sealed(self.path / "summary.json", summary | {"files": files})
        sync(self.path)

    def fail(self, kind: str, reason: str, details: str = "") -> None:
        """Writes error.txt.

        Args:
            kind: two failures of one kind have one word here, such as an exception's name.
            reason: a sentence.
            details: the traceback, what the process printed.
        """
        text = f"{kind}: {reason}\n" + (f"\n{details.strip()}\n" if details.strip() else "")
        write_atomically(self.path / "error.txt", lambda file: file.write(text.encode()))


def state(path: Path) -> str:
    """What a run's files say: planned, running, interrupted, cancelled, failed, diverged, done or
    damaged."""
    try:
        is_over = (path / "summary.json").exists()
    except OSError:  # another user's folder
        return "damaged"
    if is_over:
        try:
            summary = read_sealed(path / "summary.json", "state", "files")
        except ConfigError:
            return "damaged"
        are_there = all(has_content(path / name) for name in summary["files"])
        return summary["state"] if are_there else "damaged"
    if holder(path) is not None:
        return "running"
    kind = failure(path).partition(":")[0]
    if kind == CANCELLED:
        return "cancelled"
    if kind and kind not in (KILLED, DISK_FULL, UNFIT):
        return "failed"
    return "interrupted" if (path / "config.json").exists() else "planned"


def has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def failure(path: Path) -> str:
    """The first line of a run's error.txt, `kind: reason`; "" where there is none."""
    try:
        with (path / "error.txt").open(errors="replace") as lines:
            return lines.readline().strip() or "unknown: error.txt is empty"
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"unknown: error.txt cannot be read: {error.strerror}"


@dataclass(frozen=True)
class Result:
    """A finished run as it was written: read by `read_result`."""

    config: RunConfig
    summary: dict[str, Any]
    env: dict[str, Any]
    metrics: list[dict[str, Any]]


def read_result(path: Path) -> Result:
    """A finished run, all of it or nothing.

    Raises ConfigError, which names the file, where one of them was edited, cut short, is lost, or
    belongs to another config than the folder's name says.
    """
    needed = ("test_error", "test_images", "parameters", "multiply_adds", "hidden", "files")
    summary = read_sealed(path / "summary.json", "state", *needed)
    env = check_files(path, summary)
    return Result(load(path).config, summary, env, read_lines(path / "metrics.jsonl"))


def check_files(path: Path, summary: dict[str, Any]) -> dict[str, Any]:
    """The env.json of a finished run. Raises ConfigError where one of its files is not whole."""
    for name, digest in summary["files"].items():
        if not (path / name).exists():
            raise ConfigError(f"{path / name} is not there")
        if digest_of_file(path / name) != digest:
            raise ConfigError(f"{path / name} is not what the run wrote: edited, or cut short")
    env = read_sealed(path / "env.json", "precision", "data")
    timings = path / "timings.jsonl"
    if "timings" in env and digest_of_file(timings) != env["timings"]:  # not in older versions
        raise ConfigError(f"{timings} is not what the run wrote: edited, or cut short")
    return env


def read_timings(path: Path) -> list[dict[str, Any]]:
    """epoch, images and seconds of each epoch; what is no such line is left out."""
    lines = read_lines(path / "timings.jsonl", cut_short=True)
    return [line for line in lines if is_timing(**{"epoch": 0, "images": 0, "seconds": 0} | line)]


def is_timing(epoch: Any, images: Any, seconds: Any, **_) -> bool:
    return (
        type(epoch) is int
        and type(images) is int
        and type(seconds) in (int, float)
        and 0 < images < MOST_IMAGES
        and 0 < seconds < MOST_SECONDS
    )


def what_is_lost(path: Path) -> str:
    """Why the files of a finished run are not what its summary sums up; "" where they are.

    A summary that cannot be read says nothing of them.
    """
    try:
        summary = read_sealed(path / "summary.json", "state", "files")
    except ConfigError:
        return ""
    try:
        check_files(path, summary)
    except ConfigError as error:
        return str(error)
    return ""


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


def runs_of(study: dict[str, Any], results: Path) -> list[Path]:
    """The folders of a study's runs, there or not, in whole rounds of seeds."""
    cells = seeds_of_cells([study])
    return [
        results / "runs" / cell / f"seed{seed}"
        for seed in range(max(cells.values()))
        for cell, seeds in cells.items()
        if seed < seeds
    ]


def pilots_of(study: dict[str, Any], results: Path) -> list[Path]:
    """The folders of the runs that tried settings for a study's rows: tuning.py."""
    rows = study.get("tune", {"rows": {}})["rows"].values()
    return [results / "runs" / name for row in rows for name in row["runs"]]


def seeds_of_cells(studies: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Cell -> how many seeds it was asked for: the most of all studies that share it."""
    found: dict[str, int] = {}
    for study in studies:
        for row in study["rows"]:
            seeds = max(study["seeds"], row.get("seeds", 0))  # those that --decide has added
            found[row["cell"]] = max(seeds, found.get(row["cell"], 0))
    return found


def find_run(results: Path, name: str) -> Path:
    """The folder of the run with this full name. Raises ConfigError where there is none."""
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


def write_study(results: Path, study: dict[str, Any]) -> None:
    """What was asked, beside the runs: RESULTS/studies/<name>.json. More seeds are kept.

    One process at a time reads what is there and writes: none loses what another has added.
    """
    path = results / "studies" / f"{study['name']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with wait_for(path.parent):
        if path.exists():
            study = merged(read_study(path), study, path)
        write_sealed(path, study)


def merged(before: dict[str, Any], study: dict[str, Any], path: Path) -> dict[str, Any]:
    """A study with the seeds, the looks and the arithmetic of the file that it replaces."""
    study = study | {"seeds": max(study["seeds"], before["seeds"])}
    more = {row["cell"]: row["seeds"] for row in before["rows"] if "seeds" in row}
    study["rows"] = [
        row | {"seeds": max(row.get("seeds", 0), more.get(row["cell"], 0))}
        if row["cell"] in more
        else row
        for row in study["rows"]
    ]
    if looks := before.get("looks", []):
        added = [look for look in study.get("looks", []) if look not in looks]
        study["looks"] = looks + added
    if first := before.get("arithmetic"):
        if study.get("arithmetic", first) != first:
            raise ConfigError(
                f"{path}: another machine has begun this study at the same moment, with "
                f"{' and '.join(first.values())}: the same command joins it"
            )
        study = study | {"arithmetic": first}
    return study


def keep_code(results: Path, code: Path) -> None:
    """Copies a grid's own code to where its runs, and a reader in a year, find it."""
    path = results / "code" / f"{digest_of(code)}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    source = code.read_bytes()
    write_atomically(path, lambda file: file.write(source))


def check_writable(results: Path) -> None:
    """Raises ConfigError where RESULTS cannot be written, before anything is."""
    for folder in (results / "runs", results / "studies", results / "code"):
        there = folder.absolute()
        while not there.exists():
            there = there.parent
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            raise ConfigError(
                f"RESULTS {results} cannot be written: {there} is not a writable folder"
            )
