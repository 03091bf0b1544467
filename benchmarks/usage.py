"""Measures what a command takes, as `time` does, and when it printed what (on Linux).

    python benchmarks/usage.py UNTIL COMMAND...

is a process of its own, and a small one: Linux begins to count the memory of a command with that of
the process that starts it.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

TICKS = os.sysconf("SC_CLK_TCK")  # in a second of /proc/*/stat


@dataclass(frozen=True)
class Usage:
    """Holds what a command took, with the processes that it waited for.

    cpu     processor seconds
    wall    seconds
    memory  MB, the most that one of them had
    lines   what it printed: (text, processor seconds and seconds until then)
    """

    cpu: float
    wall: float
    memory: float
    lines: list[tuple[str, float, float]]

    @property
    def text(self) -> str:
        return "".join(text for text, *_ in self.lines)


def usage(*command: str, until: str = "", environment: dict[str, str] | None = None) -> Usage:
    """Runs a command to its end, or kills it when it has printed what it is run for.

    `until` is a regular expression for that, "" for the end; `environment` comes beside ours.
    Raises SystemExit, with what it printed, where the command failed or ended before it printed
    that.
    """
    done = subprocess.run(
        [sys.executable, __file__, until, *command],
        env=os.environ | (environment or {}), stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    *lines, (status, *numbers) = map(json.loads, done.stdout.splitlines())
    found = Usage(*numbers, lines)
    if bool(until) != (status == -signal.SIGKILL) or status > 0:
        raise SystemExit(f"{' '.join(command)} ended with {status}:\n{found.text}")
    return found


def spent(pid: int) -> float:
    """Returns processor seconds of a process so far, and of its children that have ended."""
    with open(f"/proc/{pid}/stat") as file:
        numbers = file.read().rpartition(")")[2].split()[11:15]
    return sum(map(int, numbers)) / TICKS


def main(until: str, *command: str) -> None:
    """Prints a JSON list a line of the command's, and one of status, cpu, wall, memory."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    began, text, is_over = time.perf_counter(), "", False
    process = subprocess.Popen(command, **pipes, start_new_session=True)
    try:
        for line in process.stdout:
            print(json.dumps([line, spent(process.pid), time.perf_counter() - began]))
            text += line
            if until and re.search(until, text, re.S):
                break
        else:
            is_over = True
    finally:
        if not is_over:  # with its children
            os.killpg(process.pid, signal.SIGKILL)
    _, status, used = os.wait4(process.pid, 0)
    numbers = (
        used.ru_utime + used.ru_stime,
        time.perf_counter() - began,
        used.ru_maxrss * 1024 / 1e6,
    )
    print(json.dumps([os.waitstatus_to_exitcode(status), *numbers]))


if __name__ == "__main__":
    main(*sys.argv[1:])
