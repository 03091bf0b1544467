"""Reads the still pictures of the page, which are shown without scripts and on paper."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from analysis.page.captions import Caption

SIZE = re.compile(r'viewBox="0 0 ([\d.]+) ([\d.]+)"')
HEAD = re.compile(r"^.*?(?=<svg)", re.S)
META = re.compile(r"<metadata>.*?</metadata>", re.S)
BLANKS = re.compile(r"\s*\n\s*")
PLACES = re.compile(r' (?:d|x|y|points|transform)="[^"]*"')
DIGITS = re.compile(r"(\.\d\d)\d+")
SAFE = " /:=;,()'@!*+$[]{}|^-_.~?&"  # what an address within quotation marks may hold as it is


@dataclass(frozen=True)
class Picture:
    """Holds a figure as it stands in the page.

    kind           of figure, which is the end of its file's name
    source         the picture itself, as an address
    width, height  in pixels: a browser keeps its place, so that a refresh does not move the page
    alt, caption   what is seen, and what follows
    links          its files beside the page
    """

    kind: str
    title: str
    source: str
    width: int
    height: int
    alt: str
    caption: str
    links: list[str]


def read(kind: str, path: Path, words: Caption, title: str = "") -> Picture:
    """Reads a picture from its SVG."""
    text = path.read_text(encoding="utf-8")
    width, height = (round(float(size) * 4 / 3) for size in SIZE.search(text).groups())
    source = f"data:image/svg+xml,{quote(smaller(text), SAFE)}"
    return Picture(kind, title or kind, source, width, height, words.alt, words.text, links(path))


def smaller(svg: str) -> str:
    """Shortens an SVG without a visible change: it rounds places to a hundredth of a point."""
    svg = BLANKS.sub(" ", META.sub("", HEAD.sub("", svg, count=1)))
    return PLACES.sub(lambda place: DIGITS.sub(r"\1", place[0]), svg)


def links(path: Path) -> list[str]:
    """Returns the paths of a picture's other files, seen from the page."""
    return [f"figures/{path.with_suffix(suffix).name}" for suffix in (".png", ".pdf")]
