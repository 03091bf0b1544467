"""Writes the report again and again while a grid is trained, in a process of its own.

It imports neither pandas nor matplotlib at the top: the driver itself only names `follow`.
"""

import queue
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.records.lock import holder
from experiments.records.studies import read_studies
from experiments.records.study_file import all_runs_of

REST = 10  # the pause after a write, in times that it took: a tenth of a core at most
QUIET = 30.0  # seconds without a message after which a write is worth it: the percent go on
OLD = 900.0  # seconds after which nobody writes a page any more


def follow(results: Path, names: list[str], inbox: Any, tell: Callable[[str], None]) -> None:
    """Writes the page at the first message, then as more come, until the last one.

    What comes during a write and the rest after it is one more write. When there are new figures,
    `analysis show` has written the whole report, which is left alone. `inbox.get` gives messages,
    and None at the end; `tell` tells the user.
    """
    from analysis.page.progress import Page

    page, read = Page(results, names, tell), [inbox.get()]
    while read[-1] is not None:
        if read[-1].kind == "drawn":
            read = [read[-1], inbox.get()]
            continue
        began = time.monotonic()
        page.write("under way")
        rest = REST * (time.monotonic() - began)
        read = read[-1:] + _read(inbox, rest, max(rest, QUIET) if page.is_training else None)
    is_drawn = len(read) > 1 and read[-2].kind == "drawn"
    if not is_drawn:
        page.write("over")
    elif refreshes_itself(page.path):  # the whole report came while we wrote, and was replaced
        page.write("whole")


def _read(inbox: Any, rest: float, quiet: float | None) -> list:
    """Reads messages until it is time for the next write; None, the end, does not have to wait.

    Messages wait for `rest` seconds. Without one it is time after `quiet` seconds; None is never.
    """
    began, read = time.monotonic(), []
    while True:
        wait = rest if read else quiet
        left = None if wait is None else max(0.0, began + wait - time.monotonic())
        try:
            read.append(inbox.get(timeout=left))
        except queue.Empty:
            return read
        if read[-1] is None:
            return read


def studies_under_way(results: Path) -> list[str]:
    """Returns the names of the studies of which a process trains a run now."""
    return [
        study.name
        for study in read_studies(results, [])
        if any(map(holder, all_runs_of(study, results)))
    ]


def refreshes_itself(page: Path) -> bool:
    """Tells whether the page is of a grid that is under way, and was rewritten lately."""
    try:
        is_old = time.time() - page.stat().st_mtime > OLD
        with page.open(encoding="utf-8", errors="replace") as file:
            return 'http-equiv="refresh"' in file.read(1000) and not is_old
    except OSError:
        return False
