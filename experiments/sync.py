"""Sends W&B what it lacks: what was kept without a network, and what the records hold."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from experiments import tracking
from experiments.config import ConfigError
from experiments.datasets import Say
from experiments.record import load, read_studies, runs_of, state
from experiments.told import (
    digest_of_run,
    digest_of_study,
    folder_of,
    look_up,
    run_id,
    state_of,
    study_id,
)
from experiments.worker import first_line

AT_ONCE = 8  # runs that are sent at a time
IN_A_CALL = 500  # folders that one command line holds
PIECES = 4  # that the work of each process is cut into


@dataclass(frozen=True)
class Item:
    """A run of W&B, and how much of it is there.

    what   the folder of a run, or the name of a study
    id     on W&B
    state  sent; kept: it lies in RESULTS/wandb, to be sent; missing: the record holds it
    """

    what: Path | str
    id: str
    state: str


def items(results: Path) -> Iterator[Item]:
    """All that W&B should have: the finished runs of all studies, and what is drawn of these."""
    folder, studies = folder_of(results), read_studies(results)
    if not studies:
        raise ConfigError(f"{results} holds no study: begin with `run`")
    for path in dict.fromkeys(path for study in studies for path in runs_of(study, results)):
        if state(path) in ("done", "diverged"):
            name = run_id(load(path).config)
            yield Item(path, name, state_of(folder, name, digest_of_run(path, studies)))
    for study in studies:
        name = study_id(study["name"])
        if list((results / "tables").glob(f"{study['name']}.*")):
            yield Item(study["name"], name, state_of(folder, name, digest_of_study(results, study)))


def sync(results: Path, dry_run: bool, say: Say) -> int:
    """Sends what is missing, and returns the exit status: 1 where not all of it arrived.

    What lies in RESULTS/wandb is sent as it is. What does not is first told to W&B's library
    without a network, from the records, and then sent like the rest. Nothing is sent twice, and
    what is sent again all the same takes the place of what was there.
    """
    if not tracking.is_installed():
        raise ConfigError(tracking.INSTALL)
    found = list(items(results))
    states = Counter(item.state for item in found)
    words = ", ".join(f"{n} {state}" for state, n in sorted(states.items()))
    say(f"{len(found)} runs for W&B: {words or 'none is finished'}")
    missing = [item for item in found if item.state != "sent"]
    if dry_run:
        for item in missing:
            say(f"  {item.state:8} {item.id}  {name_of(item.what)}")
        return 0
    if not missing:
        return 0
    folder = tracking.prepare(results)
    tracking.require_key()
    failed = replay(results, [item.what for item in missing if item.state == "missing"])
    for what, reason in failed.items():
        say(f"{name_of(what)} cannot be told: {reason}", style="red")
    notes = [look_up(folder, item.id) for item in missing if item.what not in failed]
    send(results, [folder / note.folder for note in notes if note])
    left = sum(item.state != "sent" for item in items(results))
    say(f"{len(found) - left} of {len(found)} runs are on W&B")
    return int(left > 0)


def name_of(what: Path | str) -> str:
    return what if isinstance(what, str) else f"{what.parent.name}/{what.name}"


def replay(results: Path, what: Sequence[Path | str]) -> dict[Path | str, str]:
    """Tells W&B's library of runs and studies without a network; on all cores.

    Returns:
        The reasons of those that cannot be told.
    """
    if not what:
        return {}
    cores = min(os.cpu_count() or 1, len(what))
    size = max(1, len(what) // (PIECES * cores))
    with ProcessPoolExecutor(cores, get_context("spawn")) as pool:
        parts = [what[i : i + size] for i in range(0, len(what), size)]
        jobs = [pool.submit(replay_some, results, part) for part in parts]
        return {key: reason for job in jobs for key, reason in job.result().items()}


def replay_some(results: Path, what: Sequence[Path | str]) -> dict[Path | str, str]:
    tracking.prepare(results)
    failed = {}
    for one in what:
        try:
            if isinstance(one, str):
                tracking.tell_study(results, one, "offline")
            else:
                tracking.Mirror(one, "offline").conclude()
        except Exception as error:  # the others are sent all the same
            failed[one] = first_line(error)
    return failed


def send(results: Path, folders: list[Path]) -> None:
    """Hands folders to W&B's own command, which says what it does and marks what has arrived."""
    for start in range(0, len(folders), IN_A_CALL):
        some = map(str, folders[start : start + IN_A_CALL])
        command = [sys.executable, "-m", "wandb", "sync", "-n", str(AT_ONCE), *some]
        subprocess.run(command, cwd=results, stdin=subprocess.DEVNULL)  # its log goes there
