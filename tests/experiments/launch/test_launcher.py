"""What all launchers offer, and the queue and the loop that they share."""

import inspect
import math
import time
from pathlib import Path

import pytest
from conftest import tiny

from experiments.launch import choose
from experiments.launch.choose import LAUNCHERS
from experiments.launch.cluster import RaySettings, SlurmSettings
from experiments.launch.events import Ended, Noted, Outcome, Started
from experiments.launch.queue import Launcher, Queue
from experiments.plan.options import RunOptions
from experiments.records.record import Record
from experiments.records.signs import Signs

SETTINGS = {"local": None, "slurm": SlurmSettings(), "ray": RaySettings()}


@pytest.fixture
def records(tmp_path) -> list[Record]:
    return [Record(tmp_path, tiny(seed=seed)) for seed in range(3)]


@pytest.mark.parametrize("name", LAUNCHERS)
def test_each_name_starts_what_can_be_used_as_any_launcher(tmp_path, monkeypatch, records, name):
    monkeypatch.setattr(choose, "read_settings", lambda *_: (SETTINGS[name], Path("own.yaml")))
    options = RunOptions(["ratio"], results=tmp_path, launcher=name)
    launcher = LAUNCHERS[name].start(options, ["cpu"], dict.fromkeys(records, 1.0), print)
    assert isinstance(launcher, Launcher) and launcher.workers == (name == "local")
    assert inspect.signature(type(launcher).train) == inspect.signature(Launcher.train)
    for words in ((), (KeyboardInterrupt, KeyboardInterrupt(), None)):
        inspect.signature(launcher.__exit__).bind(*words)


class Busy(Launcher):
    """Begins two runs at a time, which are done at once; `theirs` is another process's at first."""

    def __init__(self, theirs: Record) -> None:
        super().__init__()
        self.theirs, self.active = [theirs] * 2, []

    def __exit__(self, *_): ...

    def begin(self):
        self.queue.retry()
        while self.queue.pending and len(self.active) < 2:
            record = self.queue.pending.popleft()
            if record in self.theirs:
                self.theirs.remove(record)
                yield from self.queue.leave(record, Signs(pid=7, host="there"))
            else:
                self.active.append(record)
                yield Started(record)

    def look(self):
        while self.active:
            yield Ended(self.active.pop(0), Outcome("done"))


def test_a_launcher_goes_on_until_all_runs_have_ended_those_of_others_too(records):
    first, second, third = records
    assert list(Busy(first).train(records)) == [
        Noted(first, "process 7 on there trains it: waiting for that"),
        *(Started(second), Started(third)),
        *(Ended(second, Outcome("done")), Ended(third, Outcome("done"))),
        *(Started(first), Ended(first, Outcome("done"))),
    ]


def test_a_launcher_begins_nothing_after_its_deadline(records):
    assert list(Busy(records[0]).train(records, time.monotonic() - 1)) == []
    _, *events = Busy(records[0]).train(records, math.inf)
    assert len(events) == 6


def test_runs_that_wait_for_others_come_last_and_not_at_each_look(records):
    queue = Queue(records)
    list(queue.leave(queue.pending.popleft(), Signs()))
    queue.retry(every=math.inf)
    assert list(queue.pending) == records[1:] and len(queue) == 3
    queue.retry()
    assert list(queue.pending) == [*records[1:], records[0]] and len(queue) == 3


def test_between_two_looks_at_the_runs_of_others_some_time_passes(records, monkeypatch):
    clock, moved = [0.0], []
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    queue = Queue(records)
    for clock[0] in (1.0, 2.5, 3.0, 4.4, 4.6):
        if queue.pending:
            list(queue.leave(queue.pending.popleft(), Signs()))
        before = len(queue.pending)
        queue.retry(every=2.0)
        moved.append(len(queue.pending) - before)
    assert moved == [0, 2, 0, 0, 3]


def test_a_launcher_stops_where_that_was_asked_for(records, monkeypatch):
    asked = iter((None, KeyboardInterrupt))

    def stop_if_asked() -> None:
        if (error := next(asked)) is not None:
            raise error

    monkeypatch.setattr("experiments.launch.queue.stop_if_asked", stop_if_asked)
    events = Busy(records[0]).train(records)
    with pytest.raises(KeyboardInterrupt):
        list(events)
