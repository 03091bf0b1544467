"""The command line: `python -m experiments run|plan|status|retry|delete|data|complexity|repeat|
export|wandb-sync|dashboard`."""

import signal

if __name__ == "__main__":  # Ctrl-C while the rest is imported needs no traceback
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.progress import track
from rich.text import Text

from experiments.commands.overview import (
    plan_table,
    schedule_lines,
    schedule_table,
    status_lines,
    status_table,
)
from experiments.data.datasets import DATASETS, load, path_of, prepare_any
from experiments.launch.slurm import squeue
from experiments.plan.options import (
    DataDir,
    Dataset,
    Device,
    ForecastOptions,
    RecipeName,
    Results,
    RetryOptions,
    RunOptions,
    takes,
)
from experiments.processes import command
from experiments.processes.output import console, say, waiting_for_nobody
from experiments.records import record as records
from experiments.records.parsing import checked
from experiments.records.recipes import recipes
from experiments.records.states import MISSING
from experiments.records.study_file import StudyFile, read_studies, runs_of
from experiments.records.text import duration
from experiments.study.grid import list_grids
from experiments.study.study import Study
from experiments.train import stale
from senet.config import choose

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="""Trains the grids of the SE ablation study and keeps a record of every run.

    A grid is a file of experiments/grids, such as ratio, or the path of your own. Options named
    in capitals are variables of make and of the environment: make ablation-ratio RECIPE=small""",
)
WATCH_EVERY = 2.0  # seconds


@app.command()
@takes(RunOptions)
def run(options: RunOptions) -> None:
    """Train what is missing of the grids, then draw their tables and figures.

    What is there is never trained again, and what was interrupted goes on where it was: call it
    as often as you like, also twice at once.
    """
    from experiments.commands import run as runner

    with waiting_for_nobody():
        status = runner.run(options, say, console)
    raise typer.Exit(status)


@app.command()
@takes(RetryOptions)
def retry(options: RetryOptions) -> None:
    """Forget the failures of the grids, then `run`. Checkpoints and finished runs are kept."""
    from experiments.commands import run as runner

    with waiting_for_nobody():
        status = runner.run(options, say, console)
    raise typer.Exit(status)


@app.command()
@takes(ForecastOptions)
def plan(options: ForecastOptions) -> None:
    """Show what `run` would train, what is there, and what it costs. Nothing is written.

    The time comes from finished runs, or else from a few steps, and from simulated schedules: also
    with workers that are not here, that fail, and that have a price.
    """
    from experiments.commands import run as runner
    from experiments.plan.estimate import forecast, seconds
    from experiments.plan.torch_process import prices, seconds_of_an_image

    machine = runner.settle(replace(options, workers=None))
    workers, results, dataset = options.workers, options.results, options.dataset
    if dataset == "auto":
        dataset = "cifar10"
        if not path_of(dataset, options.data_dir).exists():
            say("cifar10 has to be downloaded; if it cannot be, `run` takes the synthetic set")
    studies = runner.expand_all(options, dataset, machine.recipe)
    studies = runner.settle_open(studies, options, machine.device)
    price = prices(studies)
    for study in studies:
        console.print(plan_table(study, price, results))
        texts = {"": study.grid.about, "Expected: ": study.grid.expect, "Cost: ": study.grid.cost}
        say("\n".join(f"{head}{text}" for head, text in texts.items() if text))
    names = runner.name_runs(studies, results, Study.forecast)
    states = {record: record.state for record in names}
    missing = [record for record, state in states.items() if state in MISSING]
    say(f"{len(states)} runs ({counted(states.values())}), {len(missing)} to train")
    if missing:
        device, workers = machine.device, workers or len(machine.slots)
        is_here = options.launcher == "local"  # else on a device that may not be here
        expected = seconds(missing, device, seconds_of_an_image, is_here)
        schedules, spread = forecast(expected, device, is_here, workers, options.failures)
        total = duration(median(schedule.makespan for schedule in schedules))
        say(f"about {total} on {device}, {min(workers, len(missing)):,} at a time:")
        console.print(schedule_table(schedules, options.price))
        labels = {run.config.cell: name.rpartition(", seed")[0] for run, name in names.items()}
        say("\n".join(schedule_lines(schedules, expected, spread, labels)))


@app.command()
def status(
    grids: Annotated[list[str], typer.Argument(help="only these; all unless given")] = (),
    dataset: Dataset = "auto",
    network: Annotated[str | None, typer.Option(envvar="NETWORK", help="only this")] = None,
    recipe: RecipeName = "auto",
    data_dir: DataDir = Path("data"),
    results: Results = Path("results/local"),
    watch: Annotated[bool, typer.Option("--watch", help="follows, until Ctrl-C")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="tells which runs today's code would train otherwise")
    ] = False,
) -> None:
    """Show the state of every run that was asked for: what the files say, and Slurm of its jobs."""
    wanted = {"dataset": dataset, "network": network, "recipe": recipe}
    wanted = {key: value for key, value in wanted.items() if value not in (None, "auto")}
    known = {"dataset": DATASETS, "recipe": recipes(), "network": None}
    for key, value in wanted.items():
        if known[key]:
            checked(choose, key, value, known[key])
    asked = {study.grid: None for study in read_studies(results)}
    for grid in grids:
        checked(choose, "grid", grid, {**list_grids(), **asked})

    def studies() -> list[StudyFile]:
        return [
            study
            for study in read_studies(results)
            if (not grids or study.grid in grids)
            and all(getattr(study, key) == value for key, value in wanted.items())
        ]

    def picture() -> Group:
        """The newest first, as a terminal that is too low cuts the end off."""
        now, jobs = studies(), squeue.view(results)
        lines = map(Text, status_lines(now, results, jobs=jobs))
        return Group(*lines, *(status_table(study, results, jobs=jobs) for study in now))

    if watch:
        try:
            follow(picture)
        except KeyboardInterrupt:  # the way to end it
            return
    if not studies():
        say(f"nothing of this was asked for yet in {results}: begin with `run`")
    cells = stale.by_cell(path for s in studies() for path in runs_of(s, results))
    findings = {
        finding.path: finding
        for cell in (track(cells, "verifying", console=console) if verify else ())
        for finding in stale.verify(cell, data_dir)
    }
    jobs = squeue.view(results)
    for study in studies():
        console.print(status_table(study, results, findings, jobs))
    for line in status_lines(studies(), results, findings, jobs):
        say(line)
    raise typer.Exit(int(any(finding.is_wrong for finding in findings.values())))


def follow(picture: Callable[[], Group]) -> None:
    """Shows a picture again and again: in place on a terminal, else one after the other."""
    if not console.is_terminal:
        while True:
            console.print(picture(), soft_wrap=True)
            time.sleep(WATCH_EVERY)
    with Live(picture(), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(WATCH_EVERY)
            live.update(picture(), refresh=True)


@app.command()
def delete(
    runs: Annotated[list[str], typer.Argument(help="full names: LABEL-ID/seed0")],
    results: Results = Path("results/local"),
) -> None:
    """Delete runs, finished or not, by their full names. Nothing else deletes a finished run."""
    paths = [records.find_run(results, name) for name in dict.fromkeys(runs)]
    for path in paths:
        records.delete(path)
        say(f"deleted {path}")


@app.command()
def data(dataset: Dataset = "auto", data_dir: DataDir = Path("data")) -> None:
    """Fetch and prepare a data set, and check it."""
    checked(choose, "dataset", dataset, {"auto": None, **DATASETS})
    arrays = load(prepare_any(dataset, data_dir, say), data_dir)
    images = f"{len(arrays.train_labels):,} training and {len(arrays.test_labels):,} test images"
    say(f"{path_of(arrays.name, data_dir)}: {images}, fingerprint {arrays.fingerprint}")


@app.command()
def complexity(results: Results = Path("results/local")) -> None:
    """Count parameters and multiply-adds for the cost columns of the paper's tables."""
    from experiments.plan.complexity import count_all

    records.check_writable(results)
    say(f"wrote {count_all(results)}")
    analysis = [sys.executable, "-m", "analysis", "complexity", "--results", str(results)]
    raise typer.Exit(subprocess.run(analysis).returncode)


@app.command()
def repeat(
    number: Annotated[int, typer.Option(help="of runs")] = 1,
    pick: Annotated[int | None, typer.Option(help="seeds the choice of the runs")] = None,
    device: Device = "auto",
    data_dir: DataDir = Path("data"),
    results: Results = Path("results/published"),
) -> None:
    """Train finished runs again, picked at random, and compare. Nothing is written into RESULTS."""
    from experiments.commands import repeat as repeating
    from experiments.train.environment import pick_devices

    chosen = pick_devices(device)[0]
    with waiting_for_nobody():
        status = repeating.repeat(results, number, pick, chosen, data_dir, say)
    raise typer.Exit(status)


@app.command()
def export(
    grids: Annotated[list[str], typer.Argument(help="of whose rows")] = ("ratio", "control"),
    results: Results = Path("results/local"),
    into: Annotated[Path | None, typer.Option(help="RESULTS/weights unless given")] = None,
) -> None:
    """Write the weights of one seed a row, as safetensors in float16, each with a model card."""
    from experiments.commands import export as exporting

    raise typer.Exit(exporting.export(results, grids, into, say))


@app.command("wandb-sync")
def wandb_sync(
    results: Results = Path("results/local"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="lists, and sends nothing")] = False,
) -> None:
    """Send W&B what it lacks: what was kept without a network, and what the records hold."""
    from tracking.sync import sync

    raise typer.Exit(sync(results, dry_run, say, console))


@app.command()
def dashboard(results: Results = Path("results/local")) -> None:
    """Create or update the dashboard on W&B: a view of each study, and a report of all."""
    from tracking import mirror as tracking

    account = tracking.account()
    from tracking.dashboard import publish

    for link in publish(results, *account):
        say(link)


def counted(states) -> str:
    return ", ".join(f"{number} {state}" for state, number in sorted(Counter(states).items()))


def main() -> None:
    command.run(app, lambda: NOT_KEPT if "repeat" in sys.argv[1:2] else KEPT)


KEPT = "stopped: all that is done is kept, and the same command goes on from there"
NOT_KEPT = "stopped: what was trained for the comparison is gone; the records are as they were"

if __name__ == "__main__":
    main()
