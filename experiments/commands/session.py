"""Trains the runs of some studies in rounds, until none is missing or something ends it."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from experiments.commands.display import Display
from experiments.commands.rounds import add_seeds
from experiments.commands.set_aside import renew
from experiments.commands.studies import name_runs
from experiments.data.datasets import load_data
from experiments.launch.background import BackgroundProcess
from experiments.launch.choose import pick_launcher
from experiments.launch.events import Ended, Event
from experiments.launch.shared_gpu import widened
from experiments.plan.options import RunOptions
from experiments.plan.torch_process import answered, compile_step, seconds_of_an_image
from experiments.processes.output import console, say
from experiments.records.record import Record, keep_code
from experiments.records.room import check_room
from experiments.records.states import FINISHED, UNFINISHED, UNFIT, State
from experiments.records.studies import write_study
from experiments.records.text import duration
from experiments.study.study import StudyDesign

# What imports numpy is imported where it is needed, so that `run --help` does not wait for it.

ALIKE = 3  # so many first runs that fail in one way stop the grid


@dataclass(frozen=True)
class Session:
    """Holds what is the same in all rounds of one command.

    slots     the device of each run that goes at a time
    deadline  a time of `time.monotonic`, or None
    watchers  are told of what happens, beside the user
    """

    options: RunOptions
    slots: list[str]
    deadline: float | None
    watchers: Sequence[BackgroundProcess]

    def train(self, studies: list[StudyDesign]) -> tuple[dict[Record, str], str]:
        """Trains what is missing, and what is added, until nothing is.

        Returns every run with its name, and why it stopped before the end, or "".
        """
        names = name_runs(studies, self.options.results, self.options.only)
        while not (stopped := self._train_round(studies, names)):
            if self.options.only is not None:
                break
            studies = add_seeds(studies, self.options)
            known, names = names, name_runs(studies, self.options.results, self.options.only)
            if names.keys() == known.keys():
                break
        return names, stopped

    def _train_round(self, studies: list[StudyDesign], names: dict[Record, str]) -> str:
        """Trains the missing runs of all seeds so far; says why it stopped, or ""."""
        renew(names)  # of the runs that were added, too
        results, states = self.options.results, {record: record.state for record in names}
        missing = [record for record, state in states.items() if state in UNFINISHED]
        done = sum(state in FINISHED for state in states.values())
        say(f"{done} of {len(names)} runs are there, {len(missing)} to train")
        if failed := sum(state == State.FAILED for state in states.values()):
            say(f"{failed} failed before and are left alone: `retry` forgets that", style="yellow")
        _refuse_untrainable(missing, self.options.data_dir, self.slots[0])
        check_room(results, sum(not record.checkpoint.exists() for record in missing))
        for study in studies:
            write_study(results, study.record())
            if study.code:
                keep_code(results, study.code)
        return self._train_runs(missing, names) if missing else ""

    def _train_runs(self, missing: list[Record], names: dict[Record, str]) -> str:
        """Trains these runs; says why it stopped before the end, or ""."""
        from experiments.plan.estimate import expected_seconds, training_share

        options, deadline, device = self.options, self.deadline, self.slots[0]
        row, slots = pick_launcher(options), self.slots
        is_here = options.launcher == "local"
        expected = expected_seconds(missing, device, seconds_of_an_image, is_here)
        if is_here and options.workers is None:
            slots = widened(slots, missing, say)
        slots = slots[: len(missing)]
        total = sum(expected.values()) / len(slots)
        say(row.plan.format(device=device, n=len(slots), total=duration(total)) + "\n")
        training = {record: training_share(record.config) for record in missing}
        with row.start(options, slots, expected, say) as launcher:
            workers = launcher.workers
            if deadline and options.budget and workers and total > deadline - time.monotonic():
                say(
                    f"the budget of {duration(options.budget)} ends before that, with checkpoints\n"
                )
            with Display(console, names, expected, training, workers) as display:
                events = launcher.train(missing, deadline)
                hopeless = follow(events, [display, *self.watchers], options.keep_going)
        if not hopeless and deadline is not None and time.monotonic() > deadline:
            return "the budget is spent"
        return hopeless


def follow(
    events: Iterable[Event], watchers: Sequence[Display | BackgroundProcess], keep_going: bool
) -> str:
    """Passes each event on to the watchers; says which failures end the grid here, or ""."""
    kinds: list[str] = []  # of the failures of the runs that have ended; "" for one that did not
    for event in events:
        for watcher in watchers:
            watcher.follow(event)
        if isinstance(event, Ended) and event.outcome.kind != UNFIT:  # another machine can train it
            kinds.append(event.outcome.kind)
        if len(kinds) == ALIKE and kinds[0] and len(set(kinds)) == 1 and not keep_going:
            return f"the first {ALIKE} runs failed in the same way, {kinds[0]} (see --keep-going)"
    return ""


def _refuse_untrainable(missing: list[Record], data_dir: Path, device: str) -> None:
    """Raises ConfigError where a data set lacks images, or a step of training cannot be had."""
    from experiments.data.holdout import held_out

    for dataset in dict.fromkeys(record.config.dataset for record in missing):
        arrays = load_data(dataset, data_dir)
        recipes = [r.config.recipe for r in missing if r.config.dataset == dataset]
        for recipe in dict.fromkeys(recipes):
            held_out(arrays, recipe)
            prepare(recipe.step, device)


@cache
def prepare(step: str, device: str) -> None:
    """Compiles what a step of training needs, or proves it, and says what came of it: once."""
    if sentence := answered("prepare the step of training", compile_step, step, device):
        say(sentence, style="yellow")
