"""Shows a grid to the user while it runs: by bars on a terminal, by plain lines elsewhere."""

import time
from collections.abc import Mapping
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from experiments.launch.events import Ended, Event, Noted, Progressed, Requeued, Started
from experiments.records.record import Record
from experiments.records.states import State
from experiments.records.text import duration
from experiments.study.tuning import FIRST_PILOT

MOST_SHOWN = 30  # runs under way; a screen has no room for more, and drawing takes its time
PLAIN_EVERY = 30.0  # seconds between two lines about the whole where there is no terminal


class Display:
    """Follows the events of a launcher.

    Args:
        expected: seconds that each run should take on one worker; corrected as runs go on.
        training: the share of them that each run trains for, before it reads the test set.
        workers: how many go at once; 0 for as many as are under way.
    """

    def __init__(
        self,
        console: Console,
        names: Mapping[Record, str],
        expected: Mapping[Record, float],
        training: Mapping[Record, float],
        workers: int,
    ) -> None:
        self.console, self.names, self.expected, self.workers = console, names, expected, workers
        self.training = training
        self.total = sum(expected.values())
        self.share = dict.fromkeys(expected, 0.0)  # of each run, how much is done
        self.done = 0.0  # expected seconds of that, kept as a sum: 10,000 runs are many to add up
        self.started: dict[Record, float] = {}
        self.spent = 0.0  # worker seconds of the runs that have ended
        self.ended = 0
        self.fresh: set[Record] = set()  # started, without a report yet
        self.begun: set[Record] = set()  # with a report: what a checkpoint held is counted once
        self.given = 0.0  # expected seconds of what checkpoints held already
        self.last_line = time.monotonic()
        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
            disable=not console.is_terminal,
        )
        self.whole = self.bars.add_task("all runs", total=self.total, note="")
        self.tasks: dict[Record, TaskID] = {}

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(self, *_) -> None:
        self.bars.stop()

    def follow(self, event: Event) -> None:
        {
            Started: self.start,
            Progressed: self.progress,
            Noted: self.note,
            Requeued: self.again,
            Ended: self.end,
        }[type(event)](event)
        note = f"{self.ended} of {len(self.expected)} runs, {self.time_left()}"
        self.bars.update(self.whole, completed=self.done, note=note)
        if not self.console.is_terminal and time.monotonic() - self.last_line > PLAIN_EVERY:
            shown = [f"{self.names[r]} at {self.share[r]:.0%}" for r in self.started][:MOST_SHOWN]
            if more := len(self.started) - len(shown):
                shown.append(f"and {more:,} more")
            self.line(f"  {note} ({', '.join(shown)})")

    def time_left(self) -> str:
        """Estimates the time left: by the forecast, and more and more by the runs so far."""
        now = time.monotonic()
        spent = self.spent + sum(now - began for began in self.started.values())
        today = self.done - self.given
        trust = today / (today + 0.05 * self.total)
        pace = (1 - trust) + trust * spent / today if today > 0 else 1.0
        if not (workers := self.workers or len(self.started)):
            return "waiting"
        left = max(0.0, self.total - self.done)  # the last digits of a sum may be below
        return f"about {duration(pace * left / workers)} left"

    def reach(self, record: Record, share: float) -> None:
        self.done += (share - self.share[record]) * self.expected[record]
        self.share[record] = share

    def start(self, event: Started) -> None:
        record = event.record
        self.started[record] = time.monotonic()
        self.fresh.add(record)
        if len(self.tasks) < MOST_SHOWN:
            self.tasks[record] = self.bars.add_task(f"  {self.names[record]}", total=1.0, note="")
        if not self.console.is_terminal:
            self.line(f"started  {self.names[record]}")

    def progress(self, event: Progressed) -> None:
        record, row = event.record, event.row
        self.reach(record, self.training[record] * event.step / event.steps)
        if record in self.fresh:  # it goes on from a checkpoint: that share was free today
            self.fresh.remove(record)
            if record not in self.begun:
                self.begun.add(record)
                self.given += self.share[record] * self.expected[record]
            if event.step > 1:
                self.line(f"goes on  {self.names[record]} at {self.share[record]:.0%}")
        if record not in self.tasks:
            return
        self.bars.update(self.tasks[record], completed=self.share[record])
        if row is not None:
            error = row.get("val_error")
            note = f"epoch {row['epoch']}" + (f", {error:.1f} % wrong" if error is not None else "")
            self.bars.update(self.tasks[record], note=note)

    def note(self, event: Noted | Requeued) -> None:
        self.line(f"note     {self.names[event.record]}: {event.sentence}", "yellow")

    def again(self, event: Requeued) -> None:
        self.stop(event.record)
        self.reach(event.record, 0.0)
        self.note(event)

    def stop(self, record: Record) -> float:
        """Takes away the bar of a run that is not under way any more; returns its seconds."""
        now = time.monotonic()
        took = now - self.started.pop(record, now)
        self.spent += took
        if record in self.tasks:
            self.bars.remove_task(self.tasks.pop(record))
        return took

    def end(self, event: Ended) -> None:
        record, outcome = event.record, event.outcome
        took = self.stop(record)
        self.ended += 1
        if outcome.state in ("failed", "interrupted"):  # nobody has worked on what is left of it
            self.given += (1 - self.share[record]) * self.expected[record]
        self.reach(record, 1.0)
        name = f"{self.names[record]} ({self.ended} of {len(self.expected)})"
        if outcome.state == "failed":
            self.line(f"FAILED   {name}: {outcome.kind}: {outcome.reason}", "bold red")
        elif outcome.state == "interrupted":
            has = "with a" if record.checkpoint.exists() else "before its first"
            why = f"{outcome.reason}, " if outcome.reason else ""
            self.line(f"stopped  {name}: {why}{has} checkpoint", "yellow")
        elif record.state == State.DIVERGED:
            self.line(f"diverged {name}: {record.summary()['reason']}", "yellow")
        else:
            summary, is_pilot = record.summary(), record.config.seed >= FIRST_PILOT
            error = f"{summary['test_error']:.2f} % test error"
            if is_pilot:  # of which nobody is to see the test error
                error = f"{summary['val_error']:.2f} % of the held-out images wrong"
            self.line(f"done     {name}: {error}, {duration(took)}")

    def line(self, text: str, style: str | None = None) -> None:
        self.last_line = time.monotonic()
        self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
