"""Runs `python -m experiments COMMAND`. Each command is in experiments/commands."""

import signal

if __name__ == "__main__":  # Ctrl-C while the rest is imported needs no traceback
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from experiments.commands import COMMANDS, MODULES
from experiments.processes import command


class Commands(TyperGroup):
    """Imports a command when it is called, so that `status` does not wait for what `run` needs."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, _, rest = super().resolve_command(ctx, args)
        return name, load(name) if name else None, rest


def load(name: str) -> Any:
    """Returns a command with its parameters. (One alone in an app is the app's own command.)"""
    module = import_module(f"experiments.commands.{MODULES.get(name, name)}")
    one = typer.Typer(add_completion=False, rich_markup_mode=None)
    one.command(name, help=COMMANDS[name])(getattr(module, name.replace("-", "_")))
    return typer.main.get_command(one)


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="""Trains the grids of the SE ablation study and keeps a record of every run.

    A grid is a file of experiments/grids, such as ratio, or the path of your own. Options named
    in capitals are variables of make and of the environment: make ablation-ratio RECIPE=small""",
)
for name, about in COMMANDS.items():
    app.command(name, help=about)(lambda: None)


def main() -> None:
    command.run(app, lambda: NOT_KEPT if "repeat" in sys.argv[1:2] else KEPT)


KEPT = "stopped: all that is done is kept, and the same command goes on from there"
NOT_KEPT = "stopped: what was trained for the comparison is gone; the records are as they were"

if __name__ == "__main__":
    main()
