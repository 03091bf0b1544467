"""Many runs: give `local` their records, and it tells what happens to them as it happens."""

import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Literal

from experiments.record import Record

REPORT_EVERY = 0.5  # seconds between two signs of life of a run


@dataclass(frozen=True)
class Event:
    """Something that happened to a run; a `progress` tells of an ended epoch where it has a row."""

    kind: Literal["started", "progress", "ended"]
    record: Record
    step: int = 0
    steps: int = 0
    row: dict | None = None


def warm_up() -> None:
    """Starts the fork server, which imports in the background what every run needs.

    `torch._dynamo` is among it as counting operations needs it: five seconds, but only once.
    """
    multiprocessing.set_forkserver_preload(["experiments.train", "torch._dynamo"])
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited: Ctrl-C is the runner's
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, before)


def local(records: list[Record], data_dir: Path, device: str, workers: int) -> Iterator[Event]:
    """Trains runs on this machine, `workers` at a time, each in a process of its own.

    A run that fails leaves an error.txt and the others alone. The processes come from a fork
    server that has imported torch once. Closing the iterator ends the runs that are under way.
    """
    context = multiprocessing.get_context("forkserver")
    warm_up()
    waiting = list(reversed(records))
    active: dict[Connection, tuple[multiprocessing.Process, Record]] = {}
    try:
        while waiting or active:
            while waiting and len(active) < workers:
                record = waiting.pop()
                if record.finished:  # by another runner, meanwhile
                    yield Event("ended", record)
                    continue
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(
                    target=work, args=(record, data_dir, device, theirs), daemon=True
                )
                process.start()
                theirs.close()
                active[ours] = process, record
                yield Event("started", record)
            for pipe in wait(list(active)):
                process, record = active[pipe]
                try:
                    yield Event("progress", record, *pipe.recv())
                except EOFError:  # the process is at its end, one way or another
                    del active[pipe]
                    process.join()
                    if not record.finished and process.exitcode:
                        explain_death(record, process.exitcode)
                    yield Event("ended", record)
    finally:
        for process, _ in active.values():
            process.terminate()
        for process, _ in active.values():
            process.join()


def explain_death(record: Record, exitcode: int) -> None:
    """Writes the reason of a process that could not write its own."""
    if record.state != "failed":
        name = signal.Signals(-exitcode).name if exitcode < 0 else f"exit status {exitcode}"
        record.fail(f"The process ended without a word: {name}\n")


def work(record: Record, data_dir: Path, device: str, pipe: Connection) -> None:
    """The process of one run."""
    import torch

    from experiments.train import train

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the runner, which ends us
    torch.set_num_threads(1)  # whatever the neighbours do: workers x threads = cores
    told = 0.0

    def report(step: int, steps: int, row: dict | None) -> None:
        nonlocal told
        if row is not None or time.monotonic() - told > REPORT_EVERY:
            told = time.monotonic()
            try:
                pipe.send((step, steps, row))
            except OSError:  # the runner is gone: so are we, and the run counts as interrupted
                os._exit(1)

    if record.finished:  # by another runner, a moment ago
        return
    try:
        train(record.config, record, data_dir, device, report)
    except Exception:
        record.fail(traceback.format_exc())
        raise SystemExit(1) from None
