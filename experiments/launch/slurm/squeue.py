"""Asks what Slurm knows of our runs: the jobs that were sent, and `squeue`.

RESULTS/slurm/
    se-<id>.json    a job array that was sent, written before it is: {"jobs": [[run, ...], ...]}
    se-<id>/        its submission script, and what its jobs were given and have printed

The array's name is its job name, too: whether it is in the queue, and under which number, is asked
of Slurm and kept nowhere. So nothing is lost where a driver dies between sending and noting.
"""

import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path

from experiments.data.download import Say
from experiments.processes.output import remark
from experiments.records.files import read_json
from experiments.records.parsing import ConfigError, Strict, parse
from experiments.records.study_file import RunName

NAME = re.compile(r"se-[0-9a-f]{12}")
FORMAT = "%F|%K|%T|%r|%j"  # array's number, index in it, state, reason, name
ENDED = {
    "COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL",
    "DEADLINE", "OUT_OF_MEMORY", "REVOKED",
}  # fmt: skip
Queue = dict[tuple[str, int], "Job"]  # (array's name, index in it) -> job


@dataclass(frozen=True)
class Job:
    """Says of a job what Slurm does.

    id      as `scancel` takes it: 12, or 12_3 in an array
    state   PENDING, RUNNING, ...; GONE is ours: Slurm does not know it any more
    reason  why it is pending
    """

    id: str
    state: str
    reason: str = ""

    @property
    def is_live(self) -> bool:
        return self.state != "GONE" and self.state not in ENDED

    @property
    def is_held(self) -> bool:
        """Tells whether Slurm will not start it before somebody says so.

        As its user or an administrator wanted (JobHeldUser), or as it could not start it before
        (launch failed requeued held, JobHoldMaxRequeue).
        """
        return self.state == "PENDING" and re.search("held|hold", self.reason, re.I) is not None

    @property
    def array(self) -> str:
        return self.id.partition("_")[0]


GONE = Job("", "GONE")


def ask() -> Queue | None:
    """Returns our jobs of the last minutes, or None where Slurm does not answer."""
    said = answer("--me", "--array", "--states=all", f"--format={FORMAT}")
    return None if said is None else read(said)


class Asker:
    """Asks Slurm, and tells the user where it falls silent, or answers again.

    does_answer  whether it did when it was asked last
    """

    def __init__(self, say: Say) -> None:
        self.say, self.does_answer, self.has_answered = say, True, False

    def ask(self) -> Queue | None:
        """Returns our jobs, and tells the user when Slurm falls silent or answers again.

        Raises ConfigError where Slurm has never answered.
        """
        queue, did_answer = ask(), self.does_answer
        self.does_answer = queue is not None
        self.has_answered |= self.does_answer
        if not self.has_answered:
            raise ConfigError("Slurm does not answer `squeue`: is this one of its hosts?")
        if self.does_answer != did_answer:
            silent = "Slurm does not answer `squeue`: waiting for it"
            self.say("Slurm answers again" if self.does_answer else silent, style="yellow")
        return queue


def answer(*words: str) -> str | None:
    """Returns what `squeue` prints, or None where Slurm does not answer."""
    command = ["squeue", "--noheader", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout


def read(text: str) -> Queue:
    """Reads what `squeue` printed. Jobs that are not ours, by their name, are left out."""
    queue: Queue = {}
    for line in text.splitlines():
        number, index, state, reason, name = (*line.split("|", 4), "", "", "", "")[:5]
        if NAME.fullmatch(name):
            is_array = index.isdecimal()
            job = Job(f"{number}_{index}" if is_array else number, state, reason)
            queue[name, int(index) if is_array else 0] = job
    return queue


def state_of(number: str) -> str:
    """Returns the state of a job, "" where Slurm does not answer."""
    return (answer("--job", number, "--format=%T") or "").strip()


def together(numbers: Iterable[str]) -> list[str]:
    """Writes the ids of jobs as `scancel` takes them: those of an array as 12_[0-3,5].

    The number of the array alone would mean all of its jobs, also those of another command.
    """
    arrays: dict[str, list[int]] = {}
    for number in sorted(set(numbers)):
        array, _, index = number.partition("_")
        arrays.setdefault(array, []).extend([int(index)] if index else [])
    found = []
    for array, indices in arrays.items():
        # Numbers that follow each other are as far from their places as their neighbours.
        runs = groupby(enumerate(sorted(indices)), lambda pair: pair[1] - pair[0])
        ends = [[index for _, index in some] for _, some in runs]
        parts = [f"{some[0]}-{some[-1]}" if len(some) > 1 else f"{some[0]}" for some in ends]
        several = len(indices) > 1
        text = ",".join(parts)
        found.append(array + (f"_[{text}]" if several else f"_{text}" if parts else ""))
    return found


def cancel(numbers: Sequence[str]) -> None:
    subprocess.run(["scancel", *numbers], capture_output=True)


def folder_of(results: Path) -> Path:
    return results.absolute() / "slurm"


class Sent(Strict):
    """Holds the note of an array: the names of the runs of each of its jobs."""

    jobs: list[list[RunName]]


def sent(results: Path) -> dict[str, list[list[str]]]:
    """Returns array's name -> the names of the runs of each of its jobs; the oldest array first.

    A note that cannot be read is told, once, and stops nothing: its runs are what their files say.
    """
    found = {}
    for file in folder_of(results).glob("se-*.json"):
        if not NAME.fullmatch(file.stem):
            continue
        try:
            note = parse(Sent, read_json(file, "jobs"), f"{file} was edited or damaged")
            found[file.stat().st_mtime_ns, file.stem] = note.jobs
        except (OSError, ConfigError) as error:
            if file.exists():  # else another driver has just deleted it, as all is done
                _tell(f"{error}: this note is passed over, and what Slurm does with its jobs")
    return {name: found[time, name] for time, name in sorted(found)}


@cache
def _tell(sentence: str) -> None:
    remark(sentence, style="yellow")


def jobs_of(results: Path, queue: Queue) -> dict[Path, Job]:
    """Returns run's folder -> the last job that it was in, or a live one if there is one."""
    jobs: dict[Path, Job] = {}
    for name, packs in sent(results).items():
        for index, pack in enumerate(packs):
            job = queue.get((name, index), GONE)
            for run in pack:
                path = results / "runs" / run
                if path not in jobs or job.is_live or not jobs[path].is_live:
                    jobs[path] = job
    return jobs


def view(results: Path) -> dict[Path, Job]:
    """Returns `jobs_of` now; nothing where no job was sent, or Slurm does not answer."""
    if not any(folder_of(results).glob("se-*.json")):
        return {}
    queue = ask()
    return {} if queue is None else jobs_of(results, queue)
