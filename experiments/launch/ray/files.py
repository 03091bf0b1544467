"""Sends the files of a run between the driver and a node of Ray. No torch here."""

from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

from experiments.records.files import digest_of_file, read_sealed, write_bytes, write_sealed
from experiments.records.lock import confirm
from experiments.records.record import Record
from experiments.train.environment import checkout

Files = dict[str, bytes | None]  # a run's files by name; None is one that is gone
_LAST = "summary.json"  # is written last, as it says that the others are there
_origin = cache(checkout)


def to_send(folder: Path) -> dict[str, bytes]:
    """Returns the files of a run that another machine needs to go on with it."""
    return {p.name: p.read_bytes() for p in _files(folder) if p.name != "error.txt"}


def keep(record: Record, files: Files) -> None:
    """Writes what has come back of a run; what is None was deleted there.

    Raises Moved where its folder is not ours any more, OSError where it cannot be written, and
    ConfigError where what has come is damaged.
    """
    confirm(record.path)
    for name in sorted(files, key=lambda name: name == _LAST):
        path, content = record.path / name, files[name]
        if content is None:
            path.unlink(missing_ok=True)
        elif name == _LAST:
            record.seal(partial(write_bytes, content=content))
        else:
            write_bytes(path, content)
        if name == "env.json" and content is not None:
            _complete(path)


def _complete(path: Path) -> None:
    """Adds the commit to an env.json: the nodes have our code and not its history."""
    env = read_sealed(path)
    if env.get("commit") is None:
        env |= _origin()
    for again in env.get("resumed", []):
        if again.get("commit", "") is None:
            for key in ("commit", "clean"):  # which may be as before, and is not told then
                again.pop(key, None)
    write_sealed(path, env)


def share_data(file: Path) -> tuple[str, Any]:
    """Returns the digest of a data set's file, and Ray's reference to its content."""
    import ray

    return digest_of_file(file), ray.put(file.read_bytes())


class Changes:
    """Finds the files in a run's folder that have changed since it was asked last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen = {path.name: _mark(path) for path in _files(folder)}

    def take(self) -> Files:
        """Returns the files that are new, or not as they were, and those that are gone."""
        now = {}
        changed: Files = {}
        for path in _files(self.folder):
            with suppress(FileNotFoundError):  # it is written anew
                now[path.name] = _mark(path)
                if self.seen.get(path.name) != now[path.name]:
                    changed[path.name] = path.read_bytes()
        changed |= dict.fromkeys(self.seen.keys() - now.keys())
        self.seen = now
        return changed


def _files(folder: Path) -> list[Path]:
    paths = folder.glob("*")  # none where the run has left
    return [p for p in paths if p.is_file() and p.name != "lock" and not p.name.startswith(".")]


def _mark(path: Path) -> tuple[int, int]:
    """Returns what changes when a file is written."""
    facts = path.stat()
    return facts.st_mtime_ns, facts.st_size
