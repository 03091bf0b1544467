"""Describes an SE block in words. No torch here: plans and tables read the same names."""

import errno
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher, get_close_matches
from os.path import commonprefix
from pathlib import Path
from typing import Any, Literal

MOST_NAMES = 100  # that a sentence lists


def find_row(kind: str, name: object, table: Any) -> Any:
    """Finds the row of `table` that is called `name`.

    Raises ValueError with the nearest name and all that are allowed: one clear sentence.
    """
    if isinstance(name, str) and name in table:
        return table[name]
    hint = f"did you mean {near!r}? " if (near := nearest(str(name), table)) else ""
    allowed, more = list(map(str, table)), len(table) - MOST_NAMES
    allowed[MOST_NAMES:] = [f"and {more:,} more"] if more > 0 else []
    raise ValueError(f"unknown {kind} {shortened(name)}: {hint}allowed are {', '.join(allowed)}")


def shortened(value: object) -> str:
    """Gives a value as it stands in a sentence: one that is long is cut."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def nearest(name: str, table: Iterable[str]) -> str | None:
    """Finds the most similar of some names, if one is similar at all.

    Of two that are equally similar it is the one that begins alike for longer.
    """
    names = list(table)

    def similarity(near: str) -> tuple[float, int]:
        begins_alike = commonprefix([name, near])  # noqa: RUF071, names are no paths
        return SequenceMatcher(None, name, near).ratio(), len(begins_alike)

    return max(get_close_matches(name, names, n=len(names) or 1), key=similarity, default=None)


def digest_of(path: Path) -> str:
    """Returns a short checksum of a source file's content."""
    if path.exists() and not path.is_file():  # a pipe would never end
        raise OSError(errno.EINVAL, "it is not a file", str(path))
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def stage_of(name: str) -> str:
    """Gives `3` for the block `SE_3_2`; for any other name, the name."""
    parts = name.split("_")
    return parts[1] if len(parts) == 3 and parts[0] == "SE" else name


@dataclass(frozen=True)
class SEConfig:
    """Describes a kind of Squeeze-and-Excitation block and its places in a network.

    squeeze     how the pixels of a channel become one number (eq. 2): a row of SQUEEZES
    excitation  how these numbers become one logit a channel (eq. 3): a row of EXCITATIONS
    gate        how a logit becomes the weight of its channel (eq. 3): a row of GATES
    ratio       r (Table 10): the hidden width is exactly channels // ratio
    position    the place in the residual unit (Figure 5): a row of POSITIONS
    stages      "all", or the stages that get a block, numbered as in the paper (conv2_x is 2)
    bias        which of the two layers have one: "none" (the paper's ablations),
                "both" (the released models) or "second"
    block       what stands in these places: a row of BLOCKS. "se" is this block; the settings
                above but for position and stages mean nothing to others
    """

    squeeze: str = "avg"
    excitation: str = "bottleneck"
    gate: str = "sigmoid"
    ratio: int = 16
    position: str = "standard"
    stages: Literal["all"] | tuple[int, ...] = "all"
    bias: str = "none"
    block: str = "se"

    def __post_init__(self) -> None:
        if isinstance(self.ratio, bool) or not isinstance(self.ratio, int) or self.ratio < 1:
            raise ValueError(f"ratio {self.ratio!r} is not a positive whole number")
        if self.stages != "all":
            is_list = isinstance(self.stages, tuple | list) and self.stages
            if not is_list or not all(isinstance(stage, int) for stage in self.stages):
                raise ValueError(f"stages {self.stages!r} is neither 'all' nor a list of stages")
            object.__setattr__(self, "stages", tuple(sorted(set(self.stages))))
