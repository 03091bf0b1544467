"""`run` and `retry`, from the options to the exit status: all that is missing is trained."""

import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from experiments.commands.display import Display
from experiments.commands.rounds import add_seeds, begin, refuse_rounds
from experiments.commands.set_aside import forget, renew
from experiments.commands.studies import (
    Machine,
    make_studies,
    name_runs,
    read_grids,
    settle,
    settle_open,
)
from experiments.data.datasets import load, prepare_any
from experiments.data.download import Say
from experiments.launch.background import BackgroundProcess, Message
from experiments.launch.choose import pick_launcher
from experiments.launch.events import Ended, Event
from experiments.launch.shared_gpu import widened
from experiments.plan.options import RetryOptions, RunOptions, takes
from experiments.plan.torch_process import prepare_step, refuse_unbuildable, seconds_of_an_image
from experiments.processes.output import console, say, waiting_for_nobody
from experiments.records import record as records
from experiments.records.parsing import ConfigError
from experiments.records.record import Record
from experiments.records.states import FINISHED, MISSING, State, failure
from experiments.records.study_file import write_study
from experiments.records.text import duration
from experiments.study.cells import ALL
from experiments.study.describe import training_of
from experiments.study.study import Study
from experiments.train.environment import use

# What imports numpy is imported where it is needed, so that `run --help` does not wait for it.

ALIKE = 3  # so many first runs that fail in one way stop the grid
RESERVE = 30.0  # seconds of a budget for the last checkpoints, tables and figures


@waiting_for_nobody()
def train_and_show(options: RunOptions) -> int:
    """Trains what is missing, draws tables and figures, and returns the exit status."""
    from tracking.live import pick_mode

    use()
    deadline = None
    if options.budget is not None:
        deadline = time.monotonic() + options.budget - min(RESERVE, options.budget / 2)
    machine, mode, grids = settle(options), pick_mode(options.track), read_grids(options)
    results, data_dir, is_retry = options.results, options.data_dir, type(options) is RetryOptions
    dataset = "cifar10" if options.dataset == "auto" else options.dataset
    studies = make_studies(grids, options, dataset, machine.recipe)
    refuse_rounds(studies, options)
    records.check_writable(results)
    names = name_runs(studies, results)
    renew(names, say)
    if options.adds_seeds or not all(record.finished for record in names):
        refuse_unbuildable(studies)  # before anything is fetched or written
        if any(grid.dataset is None for _, grid in grids.values()):
            dataset = prepare_any(options.dataset, data_dir, say)
            studies = make_studies(grids, options, dataset, machine.recipe)
        for name in dict.fromkeys(study.dataset for study in studies):
            prepare_any(name, data_dir, say)
    studies = begin(studies, options)
    studies = settle_open(studies, options, machine.device, options.adds_seeds or is_retry)
    if is_retry:
        forget(name_runs(studies, results), options, say)

    for words, of_grids in group(studies).items():
        say(f"{', '.join(of_grids)}: {words}")
    asked = [study.name for study in studies]
    with ExitStack() as stack:
        watchers = [stack.enter_context(w) for w in watchers_of(results, asked, mode, say)]
        names, stopped = train_rounds(studies, options, machine, deadline, watchers)
        is_whole = show(results, asked, say)
        for watcher in watchers:
            watcher.send(Message("drawn"))
    return conclude(names, stopped, say) or int(not is_whole)


run, retry = takes(RunOptions)(train_and_show), takes(RetryOptions)(train_and_show)


def train_rounds(
    studies: list[Study],
    options: RunOptions,
    machine: Machine,
    deadline: float | None,
    watchers: Sequence[BackgroundProcess],
) -> tuple[dict[Record, str], str]:
    """Trains what is missing, and what is added, until nothing is.

    Returns:
        Every run with its name, and why it stopped before the end, or "".
    """
    names = name_runs(studies, options.results)
    while not (stopped := train_round(studies, names, options, machine, deadline, watchers)):
        studies = add_seeds(studies, options, say)
        known, names = names, name_runs(studies, options.results)
        if names.keys() == known.keys():
            break
    return names, stopped


def train_round(
    studies: list[Study],
    names: dict[Record, str],
    options: RunOptions,
    machine: Machine,
    deadline: float | None,
    watchers: Sequence[BackgroundProcess],
) -> str:
    """Trains the missing runs of all seeds so far; says why it stopped before the end, or ""."""
    states = {record: record.state for record in names}
    missing = [record for record, state in states.items() if state in MISSING]
    done = sum(state in FINISHED for state in states.values())
    say(f"{done} of {len(names)} runs are there, {len(missing)} to train")
    if failed := [record for record, state in states.items() if state == State.FAILED]:
        say(f"{len(failed)} failed before and are left alone: `retry` forgets that", style="yellow")
    refuse_untrainable(missing, options.data_dir, machine.device)
    for study in studies:
        write_study(options.results, study.record())
        if study.code:
            records.keep_code(options.results, study.code)
    return train(missing, names, options, machine, deadline, watchers) if missing else ""


def refuse_untrainable(missing: list[Record], data_dir: Path, device: str) -> None:
    """Raises ConfigError where a data set lacks images, or a step of training cannot be had."""
    from experiments.data.holdout import held_out

    for dataset in dict.fromkeys(record.config.dataset for record in missing):
        arrays = load(dataset, data_dir)
        for recipe in {r.config.recipe for r in missing if r.config.dataset == dataset}:
            held_out(arrays, recipe)
            prepare(recipe.step, device, say)


def train(
    missing: list[Record],
    names: dict[Record, str],
    options: RunOptions,
    machine: Machine,
    deadline: float | None,
    watchers: Sequence[BackgroundProcess],
) -> str:
    """Trains these runs; says why it stopped before the end, or ""."""
    from experiments.plan.estimate import seconds, training_share

    row, is_here, slots = pick_launcher(options), options.launcher == "local", machine.slots
    expected = seconds(missing, machine.device, seconds_of_an_image, is_here)
    if is_here and options.workers is None:
        slots = widened(slots, missing, say)
    slots = slots[: len(missing)]
    total = sum(expected.values()) / len(slots)
    say(row.plan.format(device=machine.device, n=len(slots), total=duration(total)) + "\n")
    training = {record: training_share(record.config) for record in missing}
    with row.start(options, slots, expected, say) as launcher:
        workers = launcher.workers
        if deadline is not None and workers and total > deadline - time.monotonic():
            say(f"the budget of {duration(options.budget)} ends before that, with checkpoints\n")
        with Display(console, names, expected, training, workers) as display:
            events = launcher.train(missing, deadline)
            hopeless = follow(events, [display, *watchers], options.keep_going)
    if not hopeless and deadline is not None and time.monotonic() > deadline:
        return "the budget is spent"
    return hopeless


@cache
def prepare(step: str, device: str, say: Say) -> None:
    """Compiles what a step of training needs, or proves it, and says what came of it: once."""
    if sentence := prepare_step(step, device):
        say(sentence, style="yellow")


def follow(
    events: Iterable[Event], watchers: Sequence[Display | BackgroundProcess], keep_going: bool
) -> str:
    """Passes on what happens; says why it is hopeless to go on, or ""."""
    kinds: list[str] = []  # of the failures of the runs that have ended; "" for one that did not
    for event in events:
        for watcher in watchers:
            watcher.follow(event)
        if isinstance(event, Ended):
            kinds.append(event.outcome.kind)
        if len(kinds) == ALIKE and kinds[0] and len(set(kinds)) == 1 and not keep_going:
            return f"the first {ALIKE} runs failed in the same way, {kinds[0]} (see --keep-going)"
    return ""


def group(studies: list[Study]) -> dict[str, list[str]]:
    """Returns what studies are trained on and how, in words -> their grids."""
    groups: dict[str, list[str]] = {}
    for study in studies:
        network = f"network {study.network}" if study.network != ALL else "several networks"
        words = f"data {study.dataset}, {network}, {training_of(study)}"
        groups.setdefault(words, []).append(study.grid_name)
    return groups


def watchers_of(results: Path, names: list[str], mode: str, say: Say) -> list[BackgroundProcess]:
    """Gives what follows the training beside it: the page, and W&B unless that is off."""
    from analysis.page.live import follow as follow_page
    from tracking.live import follow as follow_wandb
    from tracking.mirror import INSTALL, is_installed

    path = results / "report.html"
    lost = f"{path} is not of the last moment: `make browse` writes it anew"
    found = [BackgroundProcess("report.html", follow_page, results, names, say=say, lost=lost)]
    if mode == "auto" and not is_installed():
        say(INSTALL)
    elif mode != "off":
        lost = "W&B has not got everything: `make wandb-sync` sends what is finished"
        words = (results, names, mode)
        found.append(BackgroundProcess("W&B", follow_wandb, *words, say=say, lost=lost))
    return found


def show(results: Path, names: list[str], say: Say) -> bool:
    """Draws and prints what there is of these studies; returns whether all of it could be."""
    from analysis.page.show import show as draw

    try:
        return draw(results, names)
    except (ConfigError, OSError) as error:  # no reason to keep the last lines from the user
        where = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else error
        say(f"error: {where}", style="red")
        return False


def conclude(names: dict[Record, str], stopped: str, say: Say) -> int:
    """Says what is not there, and why. Returns 0 where all is, else 1."""
    states = {record: record.state for record in names}
    for record, state in states.items():
        if state == State.FAILED:
            path = record.path / "error.txt"
            say(f"FAILED {names[record]}: {failure(record.path)} ({path})", style="bold red")
        if state == State.DAMAGED:
            path = record.path / "summary.json"
            say(f"DAMAGED {names[record]}: {path} cannot be trusted: mend it, or `delete` "
                f"{record.name}", style="bold red")  # fmt: skip
    if any(state == State.FAILED for state in states.values()):
        say("`retry` with the same words forgets failures, and goes on from the checkpoints")
    left = sum(state in MISSING for state in states.values())
    if stopped or left:
        why = f"stopped: {stopped}. " if stopped else ""
        say(f"{why}{left} of {len(names)} runs are left: the same command goes on with them")
    return int(any(state not in FINISHED for state in states.values()))
