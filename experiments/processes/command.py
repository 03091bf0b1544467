"""Runs a command line and sets its exit status: for ours and that of `analysis`."""

import os
import sys
from collections.abc import Callable
from typing import cast

import typer

from experiments.processes import signals as stop
from experiments.processes.output import complain, protect, say
from experiments.records.parsing import ConfigError

UsageError = cast(type[Exception], typer.BadParameter.__base__)  # which typer does not export


def run(app: typer.Typer, when_stopped: Callable[[], str] = str) -> None:
    """Runs a command and exits: 2 and one sentence for what the user got wrong, 130 after Ctrl-C.

    SIGTERM and SIGHUP end it as Ctrl-C does. A user who stops it is told what `when_stopped`
    returns, if that is not "".
    """
    os.environ.pop("MPLBACKEND", None)  # nothing here opens a window, and a wrong one is refused
    protect()
    stop.handle_stops()
    try:
        status = app(standalone_mode=False)
    except (ConfigError, UsageError) as error:
        complain(getattr(error, "format_message", error.__str__)())
        status = 2
    except OSError as error:  # a full disk, a folder that is a file, a name too long
        complain(f"{error.filename or 'a file'}: {error.strerror or error}")
        status = 2
    except KeyboardInterrupt:
        status = 130
    except SystemExit as ended:
        status = ended.code
    if status in stop.STATUSES and (words := when_stopped()):
        say(words)
    sys.exit(status)
