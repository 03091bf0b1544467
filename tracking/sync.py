"""Sends W&B what it lacks: what was kept without a network, and what the records hold."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track

from experiments.data.download import Say
from experiments.launch.failures import first_line
from experiments.processes.pool import in_processes
from experiments.processes.scratch import scratch
from experiments.records.parsing import ConfigError
from experiments.records.record import load_record
from experiments.records.results import read_result
from experiments.records.states import FINISHED, State, state
from experiments.records.studies import read_studies
from experiments.records.study_file import all_runs_of
from tracking.account import INSTALL, is_installed, prepare, require_key
from tracking.mirror import Mirror
from tracking.sent import (
    digest_of_run,
    digest_of_study,
    folder_of,
    look_up,
    run_id,
    state_of,
    study_id,
)
from tracking.study import tell_study

# Runs that are sent at a time; also what a service began to refuse while it was told live.
OPTIONS = ("-n", "8", "--no-skip-online")
IN_A_CALL = 32  # folders of one call of its command


@dataclass(frozen=True)
class Item:
    """Says of a run of W&B how much of it is there.

    what    the folder of a run, or the name of a study
    id      on W&B
    state   sent; kept: it lies in RESULTS/wandb, to be sent; missing: the record holds it; damaged
    reason  why it cannot be told
    """

    what: Path | str
    id: str
    state: str
    reason: str = ""


def items(results: Path) -> Iterator[Item]:
    """Lists all that W&B should have: finished runs of all studies, and what is drawn of them."""
    folder, studies = folder_of(results), read_studies(results, lost := [])
    if not studies:
        raise ConfigError(f"{results} holds no study: begin with `run`")
    yield from (Item("a study", "-", "damaged", reason) for reason in lost)
    paths = (path for study in studies for path in all_runs_of(study, results))
    for path in dict.fromkeys(paths):
        if state(path) not in (*FINISHED, State.DAMAGED):
            continue
        try:
            load_record(path).summary()
            name = run_id(load_record(path).config)
        except ConfigError as error:
            yield Item(path, "-", "damaged", str(error))
        else:
            yield Item(path, name, state_of(folder, name, digest_of_run(path, studies)))
    for study in studies:
        name = study_id(study.name)
        if list((results / "tables").glob(f"{study.name}.*")):
            yield Item(study.name, name, state_of(folder, name, digest_of_study(results, study)))


def sync(results: Path, dry_run: bool, say: Say, console: Console) -> int:
    """Sends what is missing, and returns the exit status: 1 where not all of it arrived.

    What lies in RESULTS/wandb is sent as it is. What does not is first told to W&B's library
    without a network, from the records, and then sent like the rest. Nothing is sent twice, and
    what is sent again all the same takes the place of what was there.
    """
    if not is_installed():
        raise ConfigError(INSTALL)
    found = list(items(results))
    states = Counter(item.state for item in found)
    words = ", ".join(f"{n} {state}" for state, n in sorted(states.items()))
    say(f"{_number(found)} for W&B" + (f": {words}" if words else ""))
    missing = [item for item in found if item.state in ("kept", "missing")]
    for item in missing if dry_run else ():
        say(f"  {item.state:8} {item.id}  {_name_of(item.what)}")
    for item in found:
        if item.state == "damaged":
            say(f"{_name_of(item.what)} cannot be told: {item.reason}", style="red")
    if dry_run or not missing:
        return int("damaged" in states)
    folder = prepare(results)
    require_key()
    untold = [item.what for item in missing if item.state == "missing"]
    with scratch():
        failed = replay(results, untold, console)
        for what, reason in failed.items():
            say(f"{_name_of(what)} cannot be told: {reason}", style="red")
        notes = [look_up(folder, item.id) for item in missing if item.what not in failed]
        send(results, [folder / note.folder for note in notes if note], console)
    there = [item for item in items(results) if item.state == "sent"]
    say(f"on W&B: {_number(there)}, of {_number(found)}")
    left = len(found) - len(there)
    if left:
        say(f"what W&B's library said is in {folder / 'log-*.txt'}; call it again to send the rest")
    return int(left > 0)


def _number(found: Sequence[Item]) -> str:
    """Says how many finished runs, and how many studies with what is drawn of them."""
    runs = sum(isinstance(item.what, Path) for item in found)
    studies = len(found) - runs
    of_studies = "1 study" if studies == 1 else f"{studies:,} studies"
    return f"{runs:,} finished run{'s' * (runs != 1)} and {of_studies}"


def _name_of(what: Path | str) -> str:
    return what if isinstance(what, str) else f"{what.parent.name}/{what.name}"


def replay(results: Path, what: Sequence[Path | str], console: Console) -> dict[Path | str, str]:
    """Tells W&B's library of runs and studies without a network; on all cores.

    Returns the reasons of those that cannot be told.
    """
    if not what:
        return {}
    cores = min(os.cpu_count() or 1, len(what))
    with in_processes([(_replay_one, results, one) for one in what], cores) as jobs:
        done = track(jobs, "telling", console=console, transient=True)
        reasons = {one: job.result() for one, job in zip(what, done, strict=True)}
    return {one: reason for one, reason in reasons.items() if reason}


def _replay_one(results: Path, what: Path | str) -> str:
    """Tells W&B's library of one; returns why it cannot, or ""."""
    prepare(results)
    try:
        if isinstance(what, str):
            tell_study(results, what, "offline")
        else:
            read_result(what)  # before it is begun
            Mirror(what, "offline").conclude()
    except Exception as error:  # the others are sent all the same
        return first_line(error) or type(error).__name__
    return ""


def send(results: Path, folders: list[Path], console: Console) -> None:
    """Hands folders to W&B's own command, which marks what has arrived. What it says is kept."""
    starts = range(0, len(folders), IN_A_CALL)
    with (folder_of(results) / f"log-{os.getpid()}.txt").open("ab") as log:
        for start in track(starts, "sending", console=console, transient=True):
            some = map(str, folders[start : start + IN_A_CALL])
            command = [sys.executable, "-m", "wandb", "sync", *OPTIONS, *some]
            subprocess.run(command, cwd=results, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
