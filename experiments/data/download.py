"""Downloads files whose checksums are known, from the first address that serves them."""

import hashlib
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from experiments.records.files import write_atomically
from experiments.records.parsing import ConfigError

Say = Callable[..., None]  # (text, style=None): a line for the user


@dataclass(frozen=True)
class Remote:
    """Names a file, its MD5 sum (None where none is published) and where it can be had."""

    name: str
    md5: str | None
    addresses: tuple[str, ...]


class Unreachable(ConfigError):
    """Says that no address gives a file, or none in the time that there is."""


class TooSlow(Exception):
    """Says that a download would take longer than it may."""


class Another(Exception):
    """Says that a file is not the published one."""


def is_whole(file: Remote, path: Path) -> bool:
    """Tells whether what lies at `path` has the checksum of a file."""
    if file.md5 is None:
        return True
    with path.open("rb") as content:
        return hashlib.file_digest(content, "md5").hexdigest() == file.md5


def download(file: Remote, path: Path, say: Say, patience: float | None = None) -> None:
    """Saves a file from the first address that answers, is fast enough and has the checksum.

    Raises Unreachable where there is none.
    """
    for address in file.addresses:
        say(f"downloading {path.name} from {address.split('/')[2]}")
        try:
            write_atomically(path, partial(read_whole, address, file.md5, patience))
            return
        except (OSError, TooSlow, Another) as error:  # urllib's errors are OSErrors
            say(f"  failed: {getattr(error, 'reason', None) or error}")
    raise Unreachable(f"{path.name} cannot be downloaded now: put the file into {path.parent}/")


def read_whole(address: str, md5: str | None, patience: float | None, file: BinaryIO) -> None:
    """Streams an address into a file. Raises TooSlow, and Another where the checksum differs."""
    read(address, file, patience)
    file.seek(0)
    if md5 is not None and hashlib.file_digest(file, "md5").hexdigest() != md5:
        raise Another("the file there has another checksum")


def read(address: str, file: BinaryIO, patience: float | None, first: float = 4.0) -> None:
    """Streams an address into a file with a progress bar.

    With a patience, gives up where the speed of the `first` seconds would need longer. Raises
    OSError where less comes than was promised.
    """
    columns = (
        TextColumn("  "),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with urllib.request.urlopen(address, timeout=20) as answer:
        total, start = int(answer.headers.get("Content-Length") or 0), time.monotonic()
        with Progress(*columns) as bar:
            task = bar.add_task("", total=total or None)
            while chunk := answer.read1(1 << 20):
                file.write(chunk)
                bar.update(task, completed=file.tell())
                spent = time.monotonic() - start
                if patience and spent > first and spent * total > patience * file.tell():
                    minutes = spent / file.tell() * total / 60
                    raise TooSlow(f"too slow, it would take {minutes:.0f} minutes")
        if file.tell() < total:
            raise OSError(f"only {file.tell():,} of {total:,} bytes came")
