"""Forgets what has failed, and sets aside what is not whole: those runs are trained again."""

from functools import partial

from experiments.plan.options import RetryOptions
from experiments.processes.output import say
from experiments.records.record import Record
from experiments.records.results import damage, what_is_lost
from experiments.records.states import State, failure
from experiments.train import stale


def forget(names: dict[Record, str], options: RetryOptions) -> None:
    """Forgets failures, and with `--stale` sets aside what today's code would train otherwise."""
    for record, name in names.items():
        if record.state == State.FAILED:
            say(f"forgotten {name}: {failure(record.path)}")
            (record.path / "error.txt").unlink(missing_ok=True)
    labels = {record.path: name for record, name in names.items()}
    for cell in stale.by_cell(labels) if options.stale else ():
        for fault in stale.verify(cell, options.data_dir):
            name = labels[fault.path]
            if fault.kind == "stale":
                place = stale.set_aside(fault.path, partial(stale.is_still, fault))
                then = f"kept in {place}" if place else "another process sees to it"
                say(f"stale {name}: {fault.reason}; {then}")
            else:
                say(f"{fault.kind} {name}: {fault.reason}; left alone", style="yellow")


def renew(names: dict[Record, str]) -> None:
    """Sets finished runs aside that are not whole, as after a loss of power: they are missing.

    Files that are as they were when it looked last are not read again.
    """
    for record, name in names.items():
        if lost := record.finished and damage(record.path):
            place = stale.set_aside(record.path, partial(what_is_lost, record.path))
            then = f"what is left is kept in {place}" if place else "another process sees to it"
            say(f"trained again {name}: {lost}; {then}", style="yellow")
