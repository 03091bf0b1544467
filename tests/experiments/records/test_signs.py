"""Signs of life: whatever they say fits into a lock, and what makes no sense says nothing."""

import platform
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from experiments.records import signs
from experiments.records.signs import SIZE, Signs

COUNTS = st.integers(0, 10**12)
FLOATS = st.floats()


@given(
    host=st.text(st.characters(codec="utf-8")).filter(lambda name: len(name.encode()) <= 64)
    | st.sampled_from(["\x01" * 64, '"' * 64, "\U0001f642" * 16, "h" * 300, "\udcff" * 64]),
    facts=st.fixed_dictionaries({
        "pid": COUNTS, "beat": COUNTS, "step": COUNTS, "steps": COUNTS, "epoch": COUNTS,
        "error": FLOATS, "images_per_second": FLOATS, "seconds_left": FLOATS,
    }),
)  # fmt: skip
def test_all_that_can_be_said_fits_and_is_read_again(host, facts):
    signs.machine.cache_clear()
    try:
        with mock.patch.object(platform, "node", lambda: host):
            ours = Signs.of_us(**facts)
    finally:
        signs.machine.cache_clear()
    assert len(ours.pack()) == SIZE and ours.words
    assert repr(Signs.parse(ours.pack())) == repr(ours)  # nan is not equal to itself


def test_what_does_not_fit_is_an_error_and_is_not_cut():
    with pytest.raises(ValidationError, match="host"):
        Signs(host="h" * 65)
    with pytest.raises(ValidationError, match="colour"):
        Signs.of_us(colour="red")
    endless = Signs.model_construct(host="h" * SIZE)
    with pytest.raises(ValueError, match=f"bytes do not fit into {SIZE}"):
        endless.pack()


@pytest.mark.parametrize(
    "junk", [b"", b"5", b"[1]", b"null", b"{", b"\xff", b'{"pid": "7"}', b'{"host": null}']
)
def test_what_makes_no_sense_says_nothing(junk):
    assert Signs.parse(junk) == Signs()
    assert Signs().who == "process ? on ?" and Signs().words == ["it starts"]


def test_a_lock_of_another_version_is_read():
    old = b'{"machine": "m", "host": "h", "pid": 7, "beat": 2}'.ljust(512)
    assert Signs.parse(old) == Signs(machine="m", host="h", pid=7, beat=2)
    assert Signs.parse(b'{"pid": 7, "colour": "red"}') == Signs(pid=7)
