"""Downloads files whose checksums are known, from the first address that serves them."""

import hashlib
import math
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from io import BufferedRandom
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


def is_whole(file: Remote, path: Path) -> bool:
    """Tells whether what lies at `path` has the checksum of a file."""
    if file.md5 is None:
        return True
    with path.open("rb") as content:
        return hashlib.file_digest(content, "md5").hexdigest() == file.md5


def download(file: Remote, path: Path, say: Say, patience: float | None = None) -> None:
    """Saves a file from the first address that answers, is fast enough and has the checksum.

    All addresses together may take `patience` seconds; None is no limit. Raises Unreachable where
    there is no such address.
    """
    deadline = None if patience is None else time.monotonic() + patience
    for address in file.addresses:
        say(f"downloading {path.name} from {address.split('/')[2]}")
        try:
            write_atomically(path, partial(_read_whole, address, file.md5, deadline))
            return
        except OSError as error:  # urllib's errors, too
            say(f"  failed: {getattr(error, 'reason', None) or error}")
    raise Unreachable(f"{path.name} cannot be downloaded now: put the file into {path.parent}/")


def _read_whole(
    address: str, md5: str | None, deadline: float | None, file: BufferedRandom
) -> None:
    """Streams an address into a file. Raises OSError as `read`, and for another checksum."""
    try:
        read(address, file, deadline)
    except (HTTPException, ValueError) as error:  # what came is no HTTP
        raise OSError(f"the answer cannot be read: {error!r}") from error
    file.seek(0)
    if md5 is not None and hashlib.file_digest(file, "md5").hexdigest() != md5:
        raise OSError("the file there has another checksum")


def read(address: str, file: BinaryIO, deadline: float | None, first: float = 4.0) -> None:
    """Streams an address into a file with a progress bar.

    Args:
        deadline: of `time.monotonic`; None for no limit.
        first: seconds after which the speed tells when the file would be whole.

    Raises:
        TimeoutError: the deadline has passed, or the file would be whole after it.
        OSError: nothing answers, or less comes than was promised.
    """
    columns = (
        TextColumn("  "),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    start = time.monotonic()
    left = math.inf if deadline is None else deadline - start
    if left <= 0:
        raise TimeoutError("no time is left for it")
    with urllib.request.urlopen(address, timeout=min(20, left)) as answer:
        total = int(answer.headers.get("Content-Length") or 0)
        with Progress(*columns) as bar:
            task = bar.add_task("", total=total or None)
            while chunk := answer.read1(1 << 20):
                file.write(chunk)
                bar.update(task, completed=file.tell())
                spent = time.monotonic() - start
                needed = spent * max(1.0, total / file.tell())  # at this speed
                if spent > min(first, left) and needed > left:
                    raise TimeoutError(f"too slow, it would take {needed / 60:.0f} minutes")
        if file.tell() < total:
            raise OSError(f"only {file.tell():,} of {total:,} bytes came")
