"""What the fuzzers share: values that fit nowhere, damage to bytes, and limits of time."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from experiments.records.parsing import ConfigError

FUZZ = settings(
    max_examples=int(os.environ.get("EXAMPLES", 15)),
    deadline=None,  # other work on the machine takes time, too: `read_all` ends a hang
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
ODD = st.sampled_from([
    None, True, -1, 0, 10**9, 10**30, 10**400, 1e308, float("inf"), float("nan"), "", " ", "..",
    "../../x", "/", "-x", "a/b", "a\nb", "|", "\x00", "\ud800", "<script>", "=1+1", "$x$", "{x}",
    "{label:>99999999}", "x" * 10_000, [], {}, [[]], {"a": {}},
])  # fmt: skip


def leaves(data, path=()):
    """The paths to all values in nested dicts and lists, those of dicts and lists among them."""
    if path:
        yield path
    items = data.items() if isinstance(data, dict) else ()
    for key, value in enumerate(data) if isinstance(data, list) else items:
        yield from leaves(value, (*path, key))


def put(data, path, value) -> None:
    for key in path[:-1]:
        data = data[key]
    data[path[-1]] = deepcopy(value)  # or it might come into itself


@st.composite
def damages(draw):
    """A function that damages some bytes."""
    kind, place = draw(st.sampled_from(["flip", "cut", "insert", "junk"])), draw(st.floats(0, 1))
    bit, more = draw(st.integers(0, 7)), draw(st.binary(min_size=1, max_size=40))

    def damage(data: bytes) -> bytes:
        at = min(int(place * len(data)), max(len(data) - 1, 0))
        return {
            "flip": data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :] if data else more,
            "cut": data[:at],
            "insert": data[:at] + more + data[at:],
            "junk": more,
        }[kind]

    return damage


@contextmanager
def within(seconds: float, at_most: float = 600.0) -> Iterator[None]:
    """Fails where a block takes more of the processor's time, or waits for ever: it hangs.

    Args:
        seconds: of the processor, however busy the machine is.
        at_most: seconds of the clock, after which it waits for something that does not come.
    """
    limits = {
        signal.SIGPROF: (signal.ITIMER_PROF, seconds, "of the processor"),
        signal.SIGALRM: (signal.ITIMER_REAL, at_most, "of the clock"),  # pytest-timeout's, too
    }

    def fail(number: int, _) -> None:
        _, limit, what = limits[signal.Signals(number)]
        raise AssertionError(f"more than {limit} s {what}: it hangs")

    handlers = {number: signal.signal(number, fail) for number in limits}
    timers = {timer: signal.setitimer(timer, limit) for timer, limit, _ in limits.values()}
    try:
        yield
    finally:
        for timer, before in timers.items():
            signal.setitimer(timer, *before)
        for number, before in handlers.items():
            signal.signal(number, before)


@contextmanager
def one_sentence(most: int = 2000) -> Iterator[None]:
    """Lets a block pass, or refuse something in one sentence that is not too long."""
    try:
        yield
    except ConfigError as error:
        assert "\n" not in str(error) and len(str(error)) < most


@contextmanager
def restored(path: Path) -> Iterator[None]:
    """Writes a file after the block as it was before."""
    whole = path.read_bytes()
    try:
        yield
    finally:
        path.write_bytes(whole)
