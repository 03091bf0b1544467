"""Starts processes of the fork server, which has imported torch, and asks them questions."""

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from experiments.processes.signals import children_ignore_stops, uninterrupted
from experiments.records.parsing import ConfigError

ROOT = Path(__file__).parents[2]

# What the fork server imports, whoever starts it.
multiprocessing.set_forkserver_preload(["experiments.processes.orphans", "experiments.train.train"])


def warm_up() -> None:
    """Starts the fork server, which imports in the background what every run needs.

    Once for each process that has one: while signals are ignored for its sake, ours are lost.
    """
    try:
        _start(os.getpid())
    except OSError as error:
        if "AF_UNIX" not in str(error):
            raise
        folder = tempfile.gettempdir()
        raise ConfigError(
            f"TMPDIR {folder}: {len(folder)} characters are too many for the socket of the fork "
            "server: allowed are about 70"
        ) from error


@cache
def _start(pid: int) -> None:
    with children_ignore_stops(), _findable():
        forkserver.ensure_running()


@contextmanager
def _findable() -> Iterator[None]:
    """Lets processes that are started meanwhile find our modules from any working folder.

    Python before 3.14 tells the fork server our `sys.path`, which that does not use.
    """
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [before])])
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def wait_until_ready() -> None:
    """Waits until the fork server has imported what it needs, so long as nobody stops that.

    It answers no request before. The process that is asked for here is told nothing, and ends.
    """
    warm_up()
    with suppress(ConnectionError, EOFError):  # it has just been killed: the request tells
        ends = forkserver.connect_to_new_process([])
        try:
            wait(ends[:1])
        finally:
            for end in ends:
                os.close(end)


def spawn(function: Callable, *args: Any) -> tuple[BaseProcess, Connection]:
    """Starts a process that calls function(*args, pipe); returns it and our end of the pipe."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    try:
        return start_process(function, *args, theirs), ours
    finally:
        theirs.close()


def start_process(function: Callable, *args: Any) -> BaseProcess:
    """Starts a process of the fork server, which calls function(*args)."""
    wait_until_ready()  # where Ctrl-C ends it: a request to the fork server is not to be broken off
    context, tries = multiprocessing.get_context("forkserver"), 3
    while True:
        tries -= 1
        process = context.Process(target=function, args=args, daemon=True)
        try:
            with uninterrupted():
                process.start()
            return process
        except (ConnectionError, EOFError):  # the fork server has just been killed: a new one
            if not tries:
                raise


def call_in_process(
    function: Callable, *args: Any, patience: float = 600.0, quiet: bool = True
) -> Any:
    """Returns what a function returns in a process of its own; None where it fails, dies or hangs.

    For what needs torch, which the driver does without, and for code that we do not know:
    somebody's own block may end the process that tries it. Raises ConfigError where the function
    does.

    Args:
        function: a function of a module, called as function(*args), which can be pickled.
        patience: seconds until it hangs.
        quiet: keeps what it prints on standard error, such as a traceback, from the user.
    """
    warm_up()
    process, pipe = spawn(_answer, function, args, quiet)
    try:
        value, error = pipe.recv() if pipe.poll(patience) else (None, None)
    except EOFError:
        return None
    finally:
        process.kill()
        process.join()
    if error is not None:
        raise error
    return value


def _answer(function: Callable, args: tuple, quiet: bool, pipe: Connection) -> None:
    """Calls function(*args) and sends (what it returns, the ConfigError that it raises)."""
    import torch

    torch.set_num_threads(1)
    if quiet:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        found = function(*args), None
    except ConfigError as error:
        found = None, error
    with suppress(OSError):  # the process that asked has ended
        pipe.send(found)


def was_terminated(process: BaseProcess) -> bool:
    """Tells whether SIGTERM has ended a process, before it could handle that."""
    return process.exitcode == -signal.SIGTERM


def kills_for_memory() -> int:
    """Counts the processes that the kernel has ended for want of memory, where it says so."""
    kills = 0
    for path in ("/proc/vmstat", "/sys/fs/cgroup/memory.events"):
        try:
            words = Path(path).read_text().split()
        except OSError:
            continue
        facts = dict(zip(words[::2], words[1::2], strict=False))
        kills += int(facts.get("oom_kill", 0))
    return kills
