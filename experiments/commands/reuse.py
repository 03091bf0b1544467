"""Copies finished runs of another RESULTS where code and data are the same: `run --reuse`."""

import shutil
from pathlib import Path

from experiments.processes.output import say
from experiments.records.files import flush_to_disk, write_bytes
from experiments.records.lock import hold
from experiments.records.parsing import ConfigError
from experiments.records.record import Record
from experiments.records.results import read_result
from experiments.records.studies import read_study
from experiments.records.study_file import UNSETTLED, Arithmetic
from experiments.study.study import StudyDesign
from experiments.study.tuning import advance
from experiments.train import stale

# What is not copied with the rest: summary.json comes last, as a run with that file is finished.
LEFT = shutil.ignore_patterns("checkpoint*", "lock", "log.txt", "summary.json")


def refuse_source(source: Path | None, results: Path) -> None:
    """Raises ConfigError where there is nothing to be taken from a folder that was named."""
    if source is None:
        return
    if not (source / "runs").is_dir():
        raise ConfigError(f"--reuse {source}: it holds no runs; results/published is such a folder")
    if source.resolve() == results.resolve():
        raise ConfigError(f"--reuse {source}: that is RESULTS itself")


def reuse(
    studies: list[StudyDesign], source: Path | None, results: Path, data_dir: Path
) -> list[StudyDesign]:
    """Copies the runs of some studies that are finished in `source`, and not in `results`.

    A run is taken where its seals hold, and where the code and the data of today have its
    fingerprints (experiments/train/stale.py). Of the others it says why they are not. Returns the
    studies with what the copied pilots have shown: the runs that follow from them are copied, too.
    """
    if source is None:
        return studies
    taken, refused = 0, set()
    while True:
        taken += _copy_all(studies, source, results, data_dir, refused)
        further = [advance(study, results) for study in studies]
        if further == studies:
            break
        studies = further
    say(f"{taken} finished runs are copies of those in {source}")
    return studies


def _copy_all(
    studies: list[StudyDesign], source: Path, results: Path, data_dir: Path, refused: set[Path]
) -> int:
    """Copies the runs that the studies list now; returns how many. Adds others to `refused`."""
    wanted: dict[Path, tuple[Record, Arithmetic]] = {}
    for study in studies:
        path = results / "studies" / f"{study.name}.json"
        begun = (read_study(path).arithmetic if path.exists() else None) or UNSETTLED
        for _, config in study.runs():
            record = Record(results, config)
            path = source / record.path.relative_to(results)
            if not record.finished and path not in refused:
                wanted.setdefault(path, (record, begun))
    taken = 0
    for cell in stale.by_cell(wanted):
        found = {one.path: one for one in stale.verify(cell, data_dir) if one.is_wrong}
        for path in cell:
            record, begun = wanted[path]
            fault = found.get(path)
            reason = f"{fault.kind}: {fault.reason}" if fault else _unlike(path, begun)
            if reason:
                refused.add(path)
                say(f"not reused {record.name}: {reason}", style="yellow")
            else:
                taken += _copy(path, record)
    return taken


def _unlike(path: Path, begun: Arithmetic) -> str:
    """Says why a run is not of the arithmetic that a study was begun with; "" where it is."""
    env = read_result(path).env
    for key, value in begun:
        if value != "auto" and env.get(key, "plain") != value:
            return f"its {key} is {env.get(key, 'plain')}, and the study was begun with {value}"
    return ""


def _copy(source: Path, record: Record) -> bool:
    """Copies a finished run, its summary last; whether nobody else has the run here."""
    record.path.mkdir(parents=True, exist_ok=True)
    with hold(record.path) as lock:
        if lock is None or record.finished:
            return False
        shutil.copytree(source, record.path, dirs_exist_ok=True, ignore=LEFT)
        for name in ("error.txt", "checkpoint.pt"):
            (record.path / name).unlink(missing_ok=True)
        for path in (*record.path.iterdir(), record.path):
            flush_to_disk(path)
        summary = (source / "summary.json").read_bytes()
        write_bytes(record.path / "summary.json", summary)
    return True
