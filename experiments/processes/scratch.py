"""Makes temporary folders, and deletes those that killed processes have left. No torch here."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from experiments.records.lock import hold

PREFIX = "se-ablation-tmp-"


@contextmanager
def scratch() -> Iterator[Path]:
    """Gives a temporary folder for the time of a block.

    Those of this user's processes that were killed are deleted before: nobody holds their locks.
    """
    for old in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # another one was quicker
            if old.lstat().st_uid == os.getuid() and not old.is_symlink():
                _delete_unless_held(old)
    with ExitStack() as held:
        folder = _new_folder(held)
        held.callback(shutil.rmtree, folder, ignore_errors=True)
        yield folder


def _delete_unless_held(folder: Path) -> None:
    with hold(folder) as lock:
        if lock is not None:
            shutil.rmtree(folder)


def _new_folder(held: ExitStack) -> Path:
    """Makes and returns a new temporary folder, whose lock is held until `held` is closed."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        with suppress(FileNotFoundError):  # it was swept in the moment before it was locked
            if held.enter_context(hold(folder)) is not None:
                return folder
