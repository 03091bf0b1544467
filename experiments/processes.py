"""Processes from the fork server, which has imported torch: begun, asked, and how they ended."""

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from experiments.config import ConfigError


def warm_up() -> None:
    """Starts the fork server, which imports in the background what every run needs.

    `torch._dynamo` is among it as counting operations needs it: five seconds, but only once.
    """
    multiprocessing.set_forkserver_preload(["experiments.train", "torch._dynamo"])
    # Inherited: what a terminal or a batch system sends to all of us is the runner's to answer.
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        forkserver.ensure_running()
    except OSError as error:
        if "AF_UNIX" not in str(error):
            raise
        folder = tempfile.gettempdir()
        raise ConfigError(
            f"TMPDIR {folder}: {len(folder)} characters are too many for the socket of the fork "
            "server: allowed are about 70"
        ) from error
    finally:
        for number, action in before.items():
            signal.signal(number, action)


def spawn(function: Callable, *args: Any) -> tuple[multiprocessing.Process, Connection]:
    """A process from the fork server that calls function(*args, pipe), and our end of the pipe."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    try:
        return begin(function, *args, theirs), ours
    finally:
        theirs.close()


def begin(function: Callable, *args: Any) -> multiprocessing.Process:
    """A process from the fork server that calls function(*args)."""
    for is_last in (False, False, True):
        context = multiprocessing.get_context("forkserver")
        process = context.Process(target=function, args=args, daemon=True)
        try:
            process.start()
            return process
        except (ConnectionError, EOFError):  # the fork server has just been killed: a new one
            if is_last:
                raise


def ask(function: Callable, *args: Any, patience: float = 120.0) -> Any:
    """What a function returns in a process of its own, or None where that fails, dies or hangs.

    For code that we do not know: somebody's own block may end the process that tries it.
    """
    warm_up()
    process, pipe = spawn(answer, function, *args)
    try:
        return pipe.recv() if pipe.poll(patience) else None
    except EOFError:
        return None
    finally:
        process.kill()
        process.join()


def answer(function: Callable, *args: Any) -> None:
    """Calls function(*args) but for the last of them, a pipe, which gets what it returns."""
    import torch

    *args, pipe = args
    torch.set_num_threads(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # its traceback, if any, is not the user's
    pipe.send(function(*args))


def was_told(process: multiprocessing.Process) -> bool:
    """Whether a process was ended by SIGTERM, before it could listen to it."""
    return process.exitcode == -signal.SIGTERM


def kills_for_memory() -> int:
    """How many processes the kernel has ended for want of memory, where it says so."""
    kills = 0
    for path in ("/proc/vmstat", "/sys/fs/cgroup/memory.events"):
        try:
            words = Path(path).read_text().split()
        except OSError:
            continue
        facts = dict(zip(words[::2], words[1::2], strict=False))
        kills += int(facts.get("oom_kill", 0))
    return kills
