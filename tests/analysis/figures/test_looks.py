"""The colours of figures and page: apart from each other and from their ground, for all readers."""

import itertools
import re

import numpy as np
import pytest

from analysis.figures import style
from analysis.figures.looks import COLORS, VARIED
from analysis.page.report import colours

# Linear RGB of readers without red and without green cones (Machado et al. 2009).
SEEN = {
    "normal": np.eye(3),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                            [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                              [-0.011820, 0.042940, 0.968881]]),
}  # fmt: skip
XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                [0.0193339, 0.1191920, 0.9503041]])  # fmt: skip
GROUNDS = ("#ffffff", "#14181b")


def linear(color: str) -> np.ndarray:
    """The linear RGB of a colour of sRGB, (3,)."""
    parts = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """L*a*b* of linear RGB under daylight (CIE 1976), (3,)."""
    found = XYZ @ np.clip(rgb, 0, 1) / XYZ.sum(1)
    x, y, z = np.where(found > 0.008856, np.cbrt(found), 7.787 * found + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(one: str, other: str) -> float:
    """The contrast of two colours (WCAG)."""
    low, high = sorted(float(XYZ[1] @ linear(color)) for color in (one, other))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("at", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("reader", "least"), [("normal", 25), ("protanopia", 18),
                                               ("deuteranopia", 18)])  # fmt: skip
def test_each_two_colours_are_apart_for_every_reader(at, reader, least):
    """A difference of 2 is just seen side by side; thin lines and small marks need far more."""
    places = {name: lab(SEEN[reader] @ linear(both[at])) for name, both in COLORS.items()}
    apart = {
        pair: float(np.linalg.norm(places[pair[0]] - places[pair[1]]))
        for pair in itertools.combinations(places, 2)
    }
    assert {pair: far for pair, far in apart.items() if far < least} == {}


@pytest.mark.parametrize("at", [0, 1], ids=["light", "dark"])
def test_each_colour_is_seen_on_its_ground(at):
    assert min(contrast(both[at], GROUNDS[at]) for both in COLORS.values()) >= 3


def test_the_page_has_the_colours_of_the_figures():
    light, dark = colours().splitlines()
    for at, line in enumerate((light, dark)):
        assert dict(re.findall(r"--(\w+): (#\w+);", line)) == {n: b[at] for n, b in COLORS.items()}


def test_what_is_no_row_of_a_table_takes_no_colour_that_means_one():
    free = {COLORS[name][0] for name in VARIED}
    assert {color for color, _ in style.MARKS} <= free and set(style.PALETTE) == free
