"""Finds the runs that the code of today would not train to the same numbers. No torch here."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.records.files import read_sealed, unused
from experiments.records.lock import hold
from experiments.records.parsing import ConfigError
from experiments.records.record import Record
from experiments.records.results import Result, read_result
from experiments.records.study_file import Arithmetic
from experiments.train.devices import DEVICES

# How far apart the losses of one arithmetic lie where it is rounded in another way, relatively: the
# first one hardly differs (in bf16 by 0.14 %, in 24 networks), and the steps after it blow the
# difference up (to 4 % in 21 networks, in bf16 to 4 % in 24).
TOLERANCES = {"fp32": (1e-4, 0.2, 0.2), "bf16": (5e-3, 0.2, 0.2)}
MARKS = "fingerprint", "step_fingerprint"  # of the plain step, and of the one that trained

Fingerprint = dict[str, Any]  # what `fingerprint` and `step_fingerprint` return
Way = tuple[str, str, str]  # device, precision and step of a training


@dataclass(frozen=True)
class Recomputed:
    """Holds what the present code computes of a cell.

    plain  its fingerprint
    data   that of the data
    steps  those of the steps that trained it, or why there is none here
    """

    plain: Fingerprint
    data: str
    steps: dict[Way, Fingerprint | str]


@dataclass(frozen=True)
class Fault:
    """Says what is wrong with a finished run.

    kind  stale: its arithmetic has changed; damaged: its record has; unknown: it cannot be told;
          unchecked: the plain step is the same, and the one that trained it is not to be had here
    """

    path: Path
    kind: str
    reason: str
    seen: dict[str, Any] | None = None  # the fingerprints of the record, where it is stale

    @property
    def is_wrong(self) -> bool:
        return self.kind != "unchecked"


def same(ours: Fingerprint, theirs: Fingerprint) -> bool:
    """Tells whether two fingerprints are of the same arithmetic.

    To the last bit where they were computed by the same kind of processor and the same software,
    within TOLERANCES where they were not, or on a GPU, of which that has not been measured.
    """
    a, b = ours["losses"], theirs["losses"]
    is_on_cpu = ours.get("device", "cpu") == "cpu"
    if (is_on_cpu and ours["on"] == theirs["on"]) or len(a) != len(b):
        return a == b
    return all(
        x == y or (None not in (x, y) and math.isclose(x, y, rel_tol=tolerance))
        for x, y, tolerance in zip(a, b, TOLERANCES[ours.get("precision", "fp32")], strict=False)
    )


def by_cell(runs: Iterable[Path]) -> list[list[Path]]:
    """Sorts the finished ones of these run folders, each once, by cell."""
    cells: dict[Path, list[Path]] = {}
    for path in dict.fromkeys(runs):
        if (path / "summary.json").exists():
            cells.setdefault(path.parent, []).append(path)
    return list(cells.values())


def verify(cell: list[Path], data_dir: Path) -> Iterator[Fault]:
    """Yields what is wrong with the finished runs of one cell.

    Recomputes their fingerprints with the present code, once, in a process of its own.
    """
    from experiments.processes.fork_server import call_in_process

    results: dict[Path, Result] = {}
    for path in cell:
        try:
            results[path] = read_result(path)
        except ConfigError as error:
            yield Fault(path, "damaged", str(error))
    if not results:
        return
    path, first = next(iter(results.items()))
    ways = list(dict.fromkeys(filter(None, map(_way_of, results.values()))))
    answer = call_in_process(_recompute, Record(path.parents[2], first.config), ways, data_dir)
    for path, result in results.items():
        if (fault := compare(path, result, answer)) is not None:
            yield fault


def _way_of(result: Result) -> Way | None:
    """Tells how a run was trained; None in records of older versions, without it."""
    own = result.env.get("step_fingerprint")
    return own and (own["device"], own["precision"], own["step"])


def _recompute(record: Record, ways: list[Way], data_dir: Path) -> Recomputed | str:
    """Computes the fingerprints of a run and its data, or says why there are none."""
    from experiments.data.datasets import load_data
    from experiments.train.fingerprint import fingerprint
    from senet.custom import load_own

    try:
        arrays = load_data(record.config.dataset, data_dir)
        if record.config.code:
            load_own(record.code_path)
        plain = fingerprint(record.config, arrays)
        steps = {way: _recompute_step(record, arrays, *way) for way in ways}
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return Recomputed(plain, arrays.fingerprint, steps)


def _recompute_step(
    record: Record, arrays: Any, device: str, precision: str, step: str
) -> Fingerprint | str:
    """Computes the fingerprint of a step, or says why it is not to be had here."""
    from experiments.train.fingerprint import step_fingerprint
    from senet.fast import kernels

    if not DEVICES[device]():
        return f"no {device} is here"
    if step == "fused" and kernels.library() is None:
        return kernels.built()[1]
    how = Arithmetic.model_validate({"precision": precision, "step": step})
    return step_fingerprint(record.config, arrays, device, how)


def compare(path: Path, result: Result, answer: Recomputed | str | None) -> Fault | None:
    """Compares a run with what `_recompute` found; None where all is well."""
    if not isinstance(answer, Recomputed):
        return Fault(path, "unknown", answer or "the process that recomputes it has ended")
    env, way = result.env, _way_of(result)
    if answer.data != env["data"]:
        reason = f"trained on data {env['data']}, and here are {answer.data}"
        return Fault(path, "unknown", reason)
    own, of_way = (answer.steps.get(way), f" by the {way[2]} step") if way else (None, "")
    for mark, present, of in zip(MARKS, (answer.plain, own), ("", of_way), strict=True):
        if isinstance(present, dict) and not same(present, env[mark]):
            reason = f"its first losses{of} were {show(env[mark])}, and are {show(present)} now"
            return Fault(path, "stale", reason, seen_in(env))
    if way and isinstance(own, str):
        reason = f"the {way[2]} step, which trained it, cannot be computed here: {own}"
        return Fault(path, "unchecked", reason)
    return None


def seen_in(env: dict[str, Any]) -> dict[str, Any]:
    return {mark: env[mark] for mark in MARKS if mark in env}


def show(fingerprint: Fingerprint) -> str:
    losses = fingerprint["losses"]
    return ", ".join("not finite" if loss is None else f"{loss:.7g}" for loss in losses)


def is_still(fault: Fault) -> bool:
    """Tells whether a run is still as it was found: another driver may have been quicker."""
    with suppress(ConfigError):
        return seen_in(read_sealed(fault.path / "env.json")) == fault.seen
    return False


def set_aside(path: Path, is_still: Callable[[], object]) -> Path | None:
    """Moves a finished run to RESULTS/stale, where no table reads it; returns its new place.

    None where another driver was quicker: it trains the run, or has already trained it anew.
    `is_still` tells, once nobody else may change the run, whether there is still a reason for it.
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
