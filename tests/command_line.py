"""The command lines as users call them: in this process, or in one of their own."""

import io
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from unittest import mock

import pytest

from analysis import __main__ as analysis
from analysis import write
from experiments import __main__ as cli
from experiments.processes.fork_server import warm_up
from experiments.records.lock import holder

ROOT = Path(__file__).parents[1]
VARIABLES = ("DATASET", "NETWORK", "RECIPE", "SEEDS", "DEVICE", "WORKERS", "DATA_DIR", "RESULTS",
             "BUDGET", "UNTIL", "DECIDE", "MOST_SEEDS", "TRACK", "LAUNCHER", "CLUSTER")  # fmt: skip


def bare() -> dict[str, str]:
    """The environment without what the command line reads from it, and without W&B."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in VARIABLES and not name.startswith("WANDB_")
    }
    return kept | {"TRACK": "off"}


def call(
    *words: str, main=cli.main, draws: bool = False, **environment: str
) -> subprocess.CompletedProcess:
    """`python -m experiments` as a user calls it, but in this process, whose fork server is warm.

    What it prints is caught at the file descriptors: what its processes print is in it, too. Only
    this process sees the environment: its fork server is started before.

    Args:
        main: of another command line.
        draws: whether figures are drawn, too, which takes seconds.
    """
    warm_up()
    before, inside, old = os.environ.copy(), bare() | environment, sys.argv
    sys.argv = ["-m", *words]
    os.environ.clear()
    os.environ.update(inside)
    try:
        with caught(1, "stdout") as output, caught(2, "stderr") as errors:
            try:
                with nullcontext() if draws else mock.patch.object(write, "figures", no_figures):
                    status = main()
            except SystemExit as ended:
                status = ended.code
        return subprocess.CompletedProcess(words, status or 0, output.getvalue(), errors.getvalue())
    finally:
        sys.argv = old
        os.environ.clear()
        os.environ.update(before)


def no_figures(*_: object) -> list[Path]:
    return []


@contextmanager
def caught(descriptor: int, name: str) -> Iterator[io.StringIO]:
    """Gives what is written to a file descriptor and to its stream of Python's, once it is over."""
    text, stream, there = io.StringIO(), getattr(sys, name), os.dup(descriptor)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), descriptor)
        setattr(sys, name, os.fdopen(descriptor, "w", buffering=1, closefd=False))
        try:
            yield text
        finally:
            getattr(sys, name).flush()
            setattr(sys, name, stream)
            os.dup2(there, descriptor)
            os.close(there)
            file.seek(0)
            text.write(file.read().decode())


def call_apart(*words: str, **environment: str) -> subprocess.CompletedProcess:
    """`python -m experiments` in a process of its own, for what its processes read from the
    environment, and for what ends or changes a process."""
    command = [sys.executable, "-m", "experiments", *words]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=bare() | environment
    )


def analyse(*words: str, **environment: str) -> subprocess.CompletedProcess:
    """`python -m analysis`, as `call`."""
    return call(*words, main=analysis.main, draws=True, **environment)


PATIENT = ["-c", "from experiments import __main__; from experiments.launch import background as b;"
           "b.HURRY = b.PATIENCE = 600.0; __main__.main()"]  # fmt: skip


def start(
    *words: str,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
    patient: bool = False,
    **environment: str,
) -> subprocess.Popen:
    """A runner with a session of its own, as a terminal gives it.

    Args:
        patient: whether it waits at its end for the processes beside it, however long that takes.
    """
    return subprocess.Popen(
        [sys.executable, *(PATIENT if patient else ["-m", "experiments"]), *words],
        cwd=ROOT,
        stdout=stdout,
        stderr=stderr,
        text=True,
        env=bare() | environment,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def table_of(results: Path, suffix: str) -> Path:
    """The main table of the only study there is: others have longer names."""
    [study] = (results / "studies").glob("*.json")
    return results / "tables" / f"{study.stem}{suffix}"


def workers(results: Path, steps: int = 0) -> list[int]:
    """The processes that train, and have done some steps."""
    found = [holder(path.parent) for path in results.glob("runs/*/*/lock")]
    return [signs.pid for signs in found if signs and signs.pid and signs.step >= steps]


def wrong(capsys, *words: str) -> str:
    """What `main` says of these words; it has to end with 2 and one sentence."""
    old, sys.argv = sys.argv, ["experiments", *words]
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main()
    finally:
        sys.argv = old
    said = capsys.readouterr().err
    assert ended.value.code == 2, said
    assert said.startswith("error: ") and said.count("\n") == 1
    return said
