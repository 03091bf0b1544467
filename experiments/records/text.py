"""Says numbers in words that are the same everywhere, and texts as they are."""

import re
from collections import Counter
from collections.abc import Iterable

MARKS = re.compile(r"[\\`*<>\[\]|~]|(?<!\w)_|_(?!\w)")  # of Markdown and HTML, within a line


def escaped(text: str) -> str:
    """Writes a text in a line, so that Markdown shows it as it is."""
    return MARKS.sub(r"\\\g<0>", " ".join(text.split()))


def duration(seconds: float) -> str:
    """Says seconds as people do: `95 s`, `7 min`, `3.5 h`, `2.1 days`."""
    for unit, size, digits in (("days", 86400, 1), ("h", 3600, 1), ("min", 60, 0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds:.0f} s"


def counted(names: Iterable[str]) -> str:
    """Says how many there are of each name: `12 done, 3 failed`."""
    return ", ".join(f"{number} {name}" for name, number in sorted(Counter(names).items()))
