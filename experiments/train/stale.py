"""Runs that the code of today would not train to the same numbers. No torch here."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.records.config import ConfigError
from experiments.records.files import read_sealed, unused
from experiments.records.lock import hold
from experiments.records.record import Record, Result, read_result

# How far apart the losses of one arithmetic lie where it is rounded in another way, relatively: the
# first one hardly differs, and the steps after it blow the difference up (to 4 % in 21 networks).
TOLERANCES = (1e-4, 0.2, 0.2)

Fingerprint = dict[str, Any]  # what `fingerprint` returns
Answer = tuple[Fingerprint, str] | str  # and that of the data; or why there is none


@dataclass(frozen=True)
class Finding:
    """What is wrong with a finished run.

    kind  stale: its arithmetic has changed; damaged: its record has; unknown: it cannot be told
    """

    path: Path
    kind: str
    reason: str
    seen: Fingerprint | None = None  # that of the record, where it is stale


def same(ours: Fingerprint, theirs: Fingerprint) -> bool:
    """Whether two fingerprints are of the same arithmetic.

    To the last bit where they were computed by the same kind of processor and the same software,
    within TOLERANCES where they were not.
    """
    a, b = ours["losses"], theirs["losses"]
    if ours["on"] == theirs["on"] or len(a) != len(b):
        return a == b
    return all(
        x == y or (None not in (x, y) and math.isclose(x, y, rel_tol=tolerance))
        for x, y, tolerance in zip(a, b, TOLERANCES, strict=False)
    )


def by_cell(runs: Iterable[Path]) -> list[list[Path]]:
    """The finished ones of these run folders, each once, cell by cell."""
    cells: dict[Path, list[Path]] = {}
    for path in dict.fromkeys(runs):
        if (path / "summary.json").exists():
            cells.setdefault(path.parent, []).append(path)
    return list(cells.values())


def verify(cell: list[Path], data_dir: Path) -> Iterator[Finding]:
    """What is wrong with the finished runs of one cell.

    Recomputes their fingerprint with the present code, once, in a process of its own.
    """
    from experiments.processes.fork_server import ask

    answer = None
    for path in cell:
        try:
            result = read_result(path)
        except ConfigError as error:
            yield Finding(path, "damaged", str(error))
            continue
        answer = answer or ask(recompute, Record(path.parents[2], result.config), data_dir)
        if (finding := compare(path, result, answer)) is not None:
            yield finding


def recompute(record: Record, data_dir: Path) -> Answer:
    """The fingerprints of a run and its data with the present code."""
    from experiments.data.datasets import load
    from experiments.train.fingerprint import fingerprint
    from senet.custom import load_own

    try:
        arrays = load(record.config.dataset, data_dir)
        if record.config.code:
            load_own(record.code_path)
        return fingerprint(record.config, arrays), arrays.fingerprint
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def compare(path: Path, result: Result, answer: Answer | None) -> Finding | None:
    """A run against what `recompute` found; None where all is well."""
    if not isinstance(answer, tuple):
        return Finding(path, "unknown", answer or "the process that recomputes it has ended")
    (present, data), env = answer, result.env
    if data != env["data"]:
        return Finding(path, "unknown", f"trained on data {env['data']}, and here are {data}")
    if not same(present, env["fingerprint"]):
        then, now = show(env["fingerprint"]), show(present)
        reason = f"its first losses were {then}, and are {now} now"
        return Finding(path, "stale", reason, env["fingerprint"])
    return None


def show(fingerprint: Fingerprint) -> str:
    losses = fingerprint["losses"]
    return ", ".join("not finite" if loss is None else f"{loss:.7g}" for loss in losses)


def is_still(finding: Finding) -> bool:
    """Whether a run is as it was when it was found stale: another runner may have been quicker."""
    with suppress(ConfigError):
        return read_sealed(finding.path / "env.json").get("fingerprint") == finding.seen
    return False


def set_aside(path: Path, is_still: Callable[[], object]) -> Path | None:
    """Moves a finished run to RESULTS/stale, where no table reads it; returns its new place.

    None where another runner was quicker: it trains the run, or has already trained it anew.

    Args:
        is_still: whether there is still a reason for it, once nobody else may change the run.
    """
    folder = path.parents[2] / "stale" / path.parent.name
    with suppress(FileNotFoundError), hold(path) as lock:
        if lock is None or not (path / "summary.json").exists() or not is_still():
            return None
        folder.mkdir(parents=True, exist_ok=True)
        place = unused(folder, path.name)
        path.rename(place)
        (place / "lock").unlink()
        return place
    return None
