"""`run`, from the command line's options to its exit status: all that is missing is trained."""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from rich.console import Console

from experiments.commands.display import Display
from experiments.commands.rounds import add_seeds, begin, refuse_rounds
from experiments.data.datasets import DATASETS, Say, load, prepare_any
from experiments.data.holdout import held_out
from experiments.launch.background import BackgroundProcess, Message
from experiments.launch.choose import pick_launcher
from experiments.launch.events import Ended, Event
from experiments.launch.shared_gpu import widened
from experiments.plan.estimate import seconds, training_share
from experiments.plan.options import PlanOptions, RetryOptions, RunOptions
from experiments.plan.settle import settle as settle_arithmetic
from experiments.plan.torch_process import prepare_step, refuse_unbuildable, seconds_of_an_image
from experiments.records import record as records
from experiments.records.config import ConfigError, checked
from experiments.records.record import Record, failure, what_is_lost
from experiments.records.text import duration
from experiments.study.clash import refuse_clashes
from experiments.study.describe import training_of
from experiments.study.grid import read_grid
from experiments.study.settings import parse_settings
from experiments.study.study import ALL, Runs, Study, expand
from experiments.study.tuning import advance, resume
from experiments.train import stale
from experiments.train.environment import use
from senet.config import choose
from tracking.live import follow as follow_wandb
from tracking.live import pick_mode
from tracking.mirror import INSTALL, is_installed

ALIKE = 3  # so many first runs that fail in one way stop the grid
RESERVE = 30.0  # seconds of a budget for the last checkpoints, tables and figures


@dataclass(frozen=True)
class Machine:
    """What the options mean: the devices of runs that go at a time, and the recipe."""

    slots: list[str]
    recipe: str

    @property
    def device(self) -> str:
        return self.slots[0]


def settle(options: PlanOptions) -> Machine:
    """`auto` as a whole ablation in minutes on a CPU, all of the data on anything faster.

    Raises ConfigError where a device or data set is not there.
    """
    slots = pick_launcher(options).slots(options)
    checked(choose, "dataset", options.dataset, {"auto": None, **DATASETS})
    short = "demo" if slots[0] == "cpu" else "fast"
    return Machine(slots, short if options.recipe == "auto" else options.recipe)


def expand_all(options: PlanOptions, dataset: str, recipe: str) -> list[Study]:
    """The studies of all grids.

    `auto` has to be settled before, for the grids that do not name the only data set that they are
    of: what stands for it is `dataset`.
    """
    given = {"network": options.network, "recipe": recipe, "seeds": options.seeds}
    settings = parse_settings(options.settings)
    only = {name: read_grid(name)[1].dataset for name in dict.fromkeys(options.grids)}
    studies = [
        expand(
            name,
            dataset=own if own and options.dataset == "auto" else dataset,
            **given,
            settings=settings,
        )
        for name, own in only.items()
    ]
    refuse_clashes(studies, options.results)
    return [advance(resume(study, options.results), options.results) for study in studies]


def name_runs(
    studies: list[Study], results: Path, runs_of: Callable[[Study], Runs] = Study.runs
) -> dict[Record, str]:
    """Every run of the studies once, in whole rounds of seeds, and what it is called."""
    runs = [
        (config.seed, Record(results, config, study.arithmetic), label)
        for study in studies
        for label, config in runs_of(study)
    ]
    names: dict[Record, str] = {}
    for seed, record, label in sorted(runs, key=lambda run: run[0]):
        names.setdefault(record, f"{label}, seed {seed}")
    return names


def run(options: RunOptions, say: Say, console: Console) -> int:
    """Trains what is missing, draws tables and figures, and returns the exit status."""
    use()
    deadline = None
    if options.budget is not None:
        deadline = time.monotonic() + options.budget - min(RESERVE, options.budget / 2)
    machine, results, mode = settle(options), options.results, pick_mode(options.track)
    dataset = "cifar10" if options.dataset == "auto" else options.dataset
    studies = expand_all(options, dataset, machine.recipe)
    refuse_rounds(studies, options)
    records.check_writable(results)
    renew(name_runs(studies, results), say)
    is_there = all(record.finished for record in name_runs(studies, results))
    if not is_there or options.adds_seeds:
        refuse_unbuildable(studies)  # before anything is fetched or written
        if any(read_grid(name)[1].dataset is None for name in options.grids):
            dataset = prepare_any(options.dataset, options.data_dir, say)
            studies = expand_all(options, dataset, machine.recipe)
        for name in dict.fromkeys(study.dataset for study in studies):
            prepare_any(name, options.data_dir, say)
    studies = begin(studies, options)
    is_open = options.adds_seeds or isinstance(options, RetryOptions)
    studies = settle_open(studies, options, machine.device, is_open)
    if isinstance(options, RetryOptions):
        forget(name_runs(studies, results), options, say)

    for words, grids in group(studies).items():
        say(f"{', '.join(grids)}: {words}")
    names = [study.name for study in studies]
    with ExitStack() as stack:
        watchers = [stack.enter_context(w) for w in watchers_of(results, names, mode, say)]
        rest = (machine, deadline, say, console, watchers)
        stopped = train_round(studies, options, *rest)
        while not stopped:
            known, studies = name_runs(studies, results), add_seeds(studies, options, say)
            if name_runs(studies, results).keys() == known.keys():
                break
            stopped = train_round(studies, options, *rest)

        is_whole = show(results, names, say)
        for watcher in watchers:
            watcher.send(Message("drawn"))
    return conclude(name_runs(studies, results), stopped, say) or int(not is_whole)


def settle_open(
    studies: list[Study], options: PlanOptions, device: str, is_open: bool = False
) -> list[Study]:
    """The studies with their arithmetic where runs are missing, or `is_open` to more of them."""
    results, is_here = options.results, options.launcher == "local"
    return [
        settle_arithmetic(study, results, device, is_here)
        if is_open or any(not record.finished for record in name_runs([study], results))
        else study
        for study in studies
    ]


def show(results: Path, names: list[str], say: Say) -> bool:
    """Draws and prints what there is of these studies; returns whether all of it could be."""
    from analysis.page.show import show as draw  # pandas and matplotlib: only now

    try:
        return draw(results, names)
    except (ConfigError, OSError) as error:  # no reason to keep the last lines from the user
        where = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else error
        say(f"error: {where}", style="red")
        return False


def watchers_of(results: Path, names: list[str], mode: str, say: Say) -> list[BackgroundProcess]:
    """What follows the training beside it: the page, and W&B unless that is off."""
    from analysis.page.live import follow as follow_page

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


def group(studies: list[Study]) -> dict[str, list[str]]:
    """What they are trained on and how, in words, and the grids of each."""
    groups: dict[str, list[str]] = {}
    for study in studies:
        network = f"network {study.network}" if study.network != ALL else "several networks"
        words = f"data {study.dataset}, {network}, {training_of(study)}"
        groups.setdefault(words, []).append(study.grid_name)
    return groups


def forget(names: dict[Record, str], options: RetryOptions, say: Say) -> None:
    """Forgets failures, and with `--stale` sets aside what today's code would train otherwise."""
    for record, name in names.items():
        if record.state == "failed":
            say(f"forgotten {name}: {failure(record.path)}")
            (record.path / "error.txt").unlink(missing_ok=True)
    labels = {record.path: name for record, name in names.items()}
    for cell in stale.by_cell(labels) if options.stale else ():
        for finding in stale.verify(cell, options.data_dir):
            name = labels[finding.path]
            if finding.kind == "stale":
                place = stale.set_aside(finding.path, partial(stale.is_still, finding))
                then = f"kept in {place}" if place else "another runner sees to it"
                say(f"stale {name}: {finding.reason}; {then}")
            else:
                say(f"{finding.kind} {name}: {finding.reason}; left alone", style="yellow")


def renew(names: dict[Record, str], say: Say) -> None:
    """Sets finished runs aside that are not whole, as after a loss of power: they are missing."""
    for record, name in names.items():
        if lost := what_is_lost(record.path):
            place = stale.set_aside(record.path, partial(what_is_lost, record.path))
            then = f"what is left is kept in {place}" if place else "another runner sees to it"
            say(f"trained again {name}: {lost}; {then}", style="yellow")


def train_round(
    studies: list[Study],
    options: RunOptions,
    machine: Machine,
    deadline: float | None,
    say: Say,
    console: Console,
    watchers: Sequence[BackgroundProcess],
) -> str:
    """Trains the missing runs of all seeds so far; says why it stopped before the end, or ""."""
    results, data_dir = options.results, options.data_dir
    names = name_runs(studies, results)
    states = {record: record.state for record in names}
    missing = [r for r, state in states.items() if state in records.MISSING]
    done = sum(state in ("done", "diverged") for state in states.values())
    say(f"{done} of {len(names)} runs are there, {len(missing)} to train")
    if failed := [record for record, state in states.items() if state == "failed"]:
        say(f"{len(failed)} failed before and are left alone: `retry` forgets that", style="yellow")
    if missing:
        for dataset in dict.fromkeys(record.config.dataset for record in missing):
            arrays = load(dataset, data_dir)
            for recipe in {r.config.recipe for r in missing if r.config.dataset == dataset}:
                held_out(arrays, recipe)  # refuses what the data cannot give, and this
                prepare(recipe.step, machine.device, say)  # and a step that cannot be
    for study in studies:
        records.write_study(results, study.record())
        if study.code:
            records.keep_code(results, study.code)
    if not missing:
        return ""

    row, is_here = pick_launcher(options), options.launcher == "local"
    expected = seconds(missing, machine.device, seconds_of_an_image, is_here)
    slots = machine.slots
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


def conclude(names: dict[Record, str], stopped: str, say: Say) -> int:
    """The last lines: what is not there, and why. 0 where all is, else 1."""
    states = {record: record.state for record in names}
    for record, state in states.items():
        if state == "failed":
            path = record.path / "error.txt"
            say(f"FAILED {names[record]}: {failure(record.path)} ({path})", style="bold red")
        if state == "damaged":
            path = record.path / "summary.json"
            say(f"DAMAGED {names[record]}: {path} cannot be trusted: mend it, or `delete` "
                f"{record.name}", style="bold red")  # fmt: skip
    if any(state == "failed" for state in states.values()):
        say("`retry` with the same words forgets failures, and goes on from the checkpoints")
    left = sum(state in records.MISSING for state in states.values())
    if stopped or left:
        why = f"stopped: {stopped}. " if stopped else ""
        say(f"{why}{left} of {len(names)} runs are left: the same command goes on with them")
    return int(any(state not in ("done", "diverged") for state in states.values()))
