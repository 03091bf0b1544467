"""Trains all that is missing, from the options to the exit status: commands `run` and `retry`."""

import time
from contextlib import ExitStack
from pathlib import Path

from experiments.commands.reuse import refuse_source, reuse
from experiments.commands.rounds import first_round, refuse_rounds
from experiments.commands.session import Session
from experiments.commands.set_aside import forget, renew
from experiments.commands.studies import (
    make_studies,
    name_runs,
    read_grids,
    settle_open,
    slots_and_recipe,
)
from experiments.data.prepare import prepare_any
from experiments.launch.background import BackgroundProcess, Message
from experiments.plan.options import RetryOptions, RunOptions, takes
from experiments.plan.torch_process import refuse_unbuildable
from experiments.processes.output import say, waiting_for_nobody
from experiments.records.parsing import ConfigError
from experiments.records.record import Record
from experiments.records.room import check_writable
from experiments.records.states import FINISHED, UNFINISHED, State, failure
from experiments.study.cells import ALL
from experiments.study.describe import training_of
from experiments.study.study import StudyDesign
from experiments.train.environment import use

# What imports numpy is imported where it is needed, so that `run --help` does not wait for it.

RESERVE = 30.0  # seconds of a budget for the last checkpoints, tables and figures


@waiting_for_nobody()
def _train_and_show(options: RunOptions) -> int:
    from tracking.live import pick_mode

    use()
    deadline = None
    if options.budget is not None:
        deadline = time.monotonic() + options.budget - min(RESERVE, options.budget / 2)
    slots, recipe = slots_and_recipe(options)
    mode, grids = pick_mode(options.track), read_grids(options)
    results, data_dir = options.results, options.data_dir
    dataset = "cifar10" if options.dataset == "auto" else options.dataset
    studies = make_studies(grids, options, dataset, recipe)
    refuse_rounds(studies, options)
    check_writable(results)
    refuse_source(options.reuse, results)
    names = name_runs(studies, results, options.only)
    renew(names)
    if options.adds_seeds or not all(record.finished for record in names):
        refuse_unbuildable(studies)  # before anything is fetched or written
        if any(grid.dataset is None for _, grid in grids.values()):
            dataset = prepare_any(options.dataset, data_dir, say)
            studies = make_studies(grids, options, dataset, recipe)
        for name in dict.fromkeys(study.dataset for study in studies):
            prepare_any(name, data_dir, say)
    may_grow = options.adds_seeds or any(study.untuned for study in studies)
    is_open = may_grow or isinstance(options, RetryOptions)
    studies = reuse(first_round(studies, options), options.reuse, results, data_dir)
    studies = settle_open(studies, options, slots[0], is_open)
    if isinstance(options, RetryOptions):
        forget(name_runs(studies, results, options.only), options)

    for words, of_grids in group(studies).items():
        say(f"{', '.join(of_grids)}: {words}")
    asked = [study.name for study in studies]
    with ExitStack() as stack:
        watchers = [stack.enter_context(one) for one in _watchers_of(results, asked, mode)]
        names, stopped = Session(options, slots, deadline, watchers).train(studies)
        is_whole = show(results, asked)
        for watcher in watchers:
            watcher.send(Message("drawn"))
    return _report_missing(names, stopped) or int(not is_whole)


run, retry = takes(RunOptions)(_train_and_show), takes(RetryOptions)(_train_and_show)


def group(studies: list[StudyDesign]) -> dict[str, list[str]]:
    """Returns what studies are trained on and how, in words -> their grids."""
    groups: dict[str, list[str]] = {}
    for study in studies:
        network = f"network {study.network}" if study.network != ALL else "several networks"
        words = f"data {study.dataset}, {network}, {training_of(study)}"
        groups.setdefault(words, []).append(study.grid_name)
    return groups


def _watchers_of(results: Path, names: list[str], mode: str) -> list[BackgroundProcess]:
    """Gives what follows the training beside it: the page, and W&B unless that is off."""
    from analysis.page.live import follow as follow_page
    from tracking.account import INSTALL, is_installed
    from tracking.live import follow as follow_wandb

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


def show(results: Path, names: list[str]) -> bool:
    """Draws and prints what there is of these studies; returns whether all of it could be."""
    from analysis.page.show import show as draw

    try:
        return draw(results, names)
    except (ConfigError, OSError) as error:  # no reason to keep the last lines from the user
        where = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else error
        say(f"error: {where}", style="red")
        return False


def _report_missing(names: dict[Record, str], stopped: str) -> int:
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
    if State.FAILED in states.values():
        say("`retry` with the same words forgets failures, and goes on from the checkpoints")
    left = sum(state in UNFINISHED for state in states.values())
    if stopped or left:
        why = f"stopped: {stopped}. " if stopped else ""
        say(f"{why}{left} of {len(names)} runs are left: the same command goes on with them")
    return int(any(state not in FINISHED for state in states.values()))
