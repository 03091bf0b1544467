"""Writes whole files, and refuses damaged ones: JSON has a checksum of itself. No torch here."""

import errno
import fcntl
import glob
import hashlib
import itertools
import json
import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from experiments.records.lock import confirm, is_at
from experiments.records.parsing import ConfigError

SEAL = "sha256"  # the key of an object's checksum of itself
BIGGEST = 64 << 20  # bytes of a text that we write, and many more


def read_text(path: Path) -> str:
    """Reads a text in UTF-8. Raises ConfigError, which names the file, and FileNotFoundError."""
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):  # a pipe would never end
            raise ConfigError(f"{path} cannot be read: it is not a file")
        if facts.st_size > BIGGEST:
            raise ConfigError(f"{path} cannot be read: {facts.st_size:,} bytes are too many")
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, ConfigError):
        raise
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None


def read_json(path: Path, *keys: str) -> dict[str, Any]:
    """Reads a JSON object with these keys from a file, or raises a ConfigError that names it."""
    try:
        data = json.loads(read_text(path))
    except FileNotFoundError:
        raise ConfigError(f"{path} is not there") from None
    except ConfigError:
        raise
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    if not isinstance(data, dict) or not set(keys) <= set(data):
        raise ConfigError(f"{path} is damaged: it lacks {', '.join(keys) or 'its keys'}")
    return data


def read_sealed(path: Path, *keys: str) -> dict[str, Any]:
    """Reads what `write_sealed` wrote, or raises a ConfigError that names the file."""
    return _unsealed(path, read_json(path, *keys))


def read_maybe_sealed(path: Path, newer: str) -> dict[str, Any]:
    """Reads a JSON object with a checksum, or one without that an older version wrote.

    Older versions knew no key `newer`. Raises ConfigError as `read_sealed`."""
    data = read_json(path)
    return _unsealed(path, data) if SEAL in data or newer in data else data


def _unsealed(path: Path, data: dict[str, Any]) -> dict[str, Any]:
    if data.pop(SEAL, None) != _digest_of_object(data):
        raise ConfigError(f"{path} is not what the run wrote: edited, or of an older version")
    return data


def read_lines(path: Path, cut_short: bool = False) -> list[dict[str, Any]]:
    """Reads the objects of a .jsonl file; with `cut_short` those before the first damaged line.

    Raises ConfigError where a line cannot be read, or the file.
    """
    rows: list[dict[str, Any]] = []
    try:
        for line in read_text(path).splitlines():
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"{line[:40]!r} is not an object")
            rows.append(row)
    except (OSError, ValueError, RecursionError) as error:
        if not cut_short:
            named = error if isinstance(error, ConfigError) else f"{path} cannot be read: {error}"
            raise ConfigError(str(named)) from None
    return rows


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def append_line(path: Path, row: dict[str, Any]) -> None:
    confirm(path.parent)
    try:
        with path.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(row) + "\n")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_json(path: Path, data: dict[str, Any]) -> None:
    write_text(path, json.dumps(data, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a text as UTF-8, whatever the locale."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes bytes: all of them, or nothing."""
    write_atomically(path, lambda file: file.write(content))


def write_sealed(path: Path, data: dict[str, Any]) -> None:
    """Writes a JSON object with a checksum of itself."""
    write_json(path, data | {SEAL: _digest_of_object(data)})


def write_atomically(path: Path, write: Callable) -> None:
    """Writes the whole file or none of it, also where the machine stops in the middle.

    Its permissions are those of a file that is made anew: the umask decides. Raises Moved where
    the folder is not the one any more whose lock we hold.
    """
    delete_partials(path.parent, path.name)
    partial = None
    try:
        partial, file = _new_partial(path)
        with file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
            confirm(path.parent)
            os.replace(partial, path)
    except BaseException as error:
        if partial is not None:
            with suppress(OSError):
                partial.unlink()
        if isinstance(error, OSError) and error.errno:  # a full disk names no file
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def _new_partial(path: Path) -> tuple[Path, BinaryIO]:
    """Makes and locks a new file beside a path: the lock tells `sweep` that it is being written."""
    while True:
        partial = path.parent / f".{path.name}.{secrets.token_hex(4)}"
        file = partial.open("x+b")
        with suppress(OSError):  # of a disk without locks, where nothing is swept
            fcntl.flock(file, fcntl.LOCK_EX)
        if is_at(file.fileno(), partial):
            return partial, file
        file.close()  # it was swept in the moment before it was locked


def delete_partials(folder: Path, name: str | None = None) -> None:
    """Deletes the partial files that killed processes have left: of one file, or of all."""
    start = "*" if name is None else glob.escape(name)
    for partial in folder.glob(f".{start}.{'[0-9a-f]' * 8}"):
        with suppress(OSError), partial.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            partial.unlink()


def flush_to_disk(path: Path) -> None:
    """Waits until a file, or what a folder lists, will survive a loss of power."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno != errno.EINVAL:  # of a file system that does not do it for folders
            raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(file)


def unused(folder: Path, name: str, ending: str = "") -> Path:
    """Returns the first path `name-1`, `name-2` ... in the folder that is not there yet."""
    numbers = itertools.count(1)
    return next(p for n in numbers if not (p := folder / f"{name}-{n}{ending}").exists())


def digest_of_file(path: Path) -> str:
    try:
        if not path.is_file():  # a pipe would never end
            raise FileNotFoundError(errno.ENOENT, "no such file")
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None


def _digest_of_object(data: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
