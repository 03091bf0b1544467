"""Sends W&B what it lacks of the records: the commands `wandb-sync` and `dashboard`."""

from pathlib import Path
from typing import Annotated

import typer

from experiments.plan.options import Results
from experiments.processes.output import console, say


def wandb_sync(
    results: Results = Path("results/local"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="lists, and sends nothing")] = False,
) -> int:
    from tracking.sync import sync  # numpy: not for --help

    return sync(results, dry_run, say, console)


def dashboard(results: Results = Path("results/local")) -> None:
    from tracking.account import account

    where = account()  # refuses, before what follows is imported
    from tracking.dashboard import publish

    for link in publish(results, *where):
        say(link)
