"""Defines the signs of life in a run's lock, by the process that trains the run. No torch here."""

import json
import math
import os
import platform
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from experiments.records.text import duration

SIZE = 1024  # bytes of a lock: more than any signs take, so that each of them replaces the last
_LONGEST = 64  # of a host's name, as in Linux
Count = Annotated[int, Field(ge=0, le=10**12)]


class Signs(BaseModel):
    """Says who trains a run, and how far it is.

    machine            names a machine since it was started: two may have one host name
    beat               the number of these signs: one that still changes is of a living process
    step, steps        of all; steps is 0 before it trains
    epoch              how many are done
    error              on held-out images after the last of them, in %
    images_per_second  since it was started; 0 where that is not known
    seconds_left       of the training
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    machine: str = Field(default="", max_length=_LONGEST + 37)
    host: str = Field(default="?", max_length=_LONGEST)
    pid: Count = 0
    beat: Count = 0
    step: Count = 0
    steps: Count = 0
    epoch: Count = 0
    error: float | None = None
    images_per_second: float = 0.0
    seconds_left: float | None = None

    @classmethod
    def of_us(cls, **facts: Any) -> Self:
        """Makes the signs of this process, with what is known of its training."""
        ours: dict[str, Any] = {
            "machine": machine(),
            "host": platform.node(),
            "pid": os.getpid(),
        } | facts
        ours["host"] = _short(ours["host"])
        return cls(**ours)

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Reads a lock. One without a sense, such as a new one that is empty, says nothing.

        What a later version has added is left out.
        """
        try:
            found = json.loads(content)
            return cls(**{key: found[key] for key in cls.model_fields if key in found})
        except (ValueError, TypeError, ValidationError):
            return cls()

    def pack(self) -> bytes:
        """Returns the content of a lock, SIZE bytes."""
        content = json.dumps(self.model_dump()).encode()
        if len(content) > SIZE:
            raise ValueError(f"signs of life of {len(content)} bytes do not fit into {SIZE}")
        return content.ljust(SIZE)

    @property
    def who(self) -> str:
        return f"process {self.pid or '?'} on {self.host}"

    @property
    def share(self) -> float | None:
        """Returns the share of the training that is done; None before it begins."""
        return self.step / self.steps if self.steps else None

    @property
    def words(self) -> list[str]:
        """Says for people how far the training is."""
        if self.share is None:
            return ["it starts"]
        if self.share >= 1:
            return ["it reads the test set"]
        has_left = self.seconds_left is not None and math.isfinite(self.seconds_left)
        lines = [
            f"{self.share * 100:.0f} %, epoch {self.epoch + 1}",
            f"{self.error:.1f} % held-out error" if self.error is not None else "",
            f"{self.images_per_second:,.0f} images/s" if self.images_per_second else "",
            f"about {duration(self.seconds_left or 0)} left" if has_left else "",
        ]
        return [line for line in lines if line]


def _short(name: str) -> str:
    """Returns at most _LONGEST bytes of what can be printed of a host's name."""
    name = "".join(c for c in name if c.isprintable())
    return name.encode()[:_LONGEST].decode(errors="ignore")


@cache
def machine() -> str:
    """Names this machine since it was started; two may have the same host name."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = ""
    return f"{_short(platform.node())} {boot}".strip()
