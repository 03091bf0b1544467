"""Deletes runs by their full names: the command `delete`."""

from pathlib import Path
from typing import Annotated

import typer

from experiments.plan.options import Results
from experiments.processes.output import say
from experiments.records import record as records


def delete(
    runs: Annotated[list[str], typer.Argument(help="full names: LABEL-ID/seed0")],
    results: Results = Path("results/local"),
) -> None:
    """Deletes runs, finished or not: all of them, or where one is not there none."""
    paths = [records.find_run(results, name) for name in dict.fromkeys(runs)]
    for path in paths:
        records.delete(path)
        say(f"deleted {path}")
