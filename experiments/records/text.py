"""Says numbers in words that are the same everywhere."""


def duration(seconds: float) -> str:
    """Says seconds as people do: `95 s`, `7 min`, `3.5 h`, `2.1 days`."""
    for unit, size, digits in (("days", 86400, 1), ("h", 3600, 1), ("min", 60, 0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds:.0f} s"
