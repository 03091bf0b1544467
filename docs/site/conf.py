"""Configures Sphinx for `make site` (build.py).

Sphinx is well kept, reads the docstrings that are there, and refuses a link that leads nowhere.
"""

import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

project = "Squeeze-and-Excitation, ablated"
author = "The SE ablation authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
root_doc = "docs/site/index"
include_patterns = [
    "*.md",
    "docs/**.md",
    "benchmarks/[A-Z]*.md",  # verdicts.md is the template of docs/STATISTICS.md
    "results/*.md",
    "results/published/*.md",
]
html_theme = "furo"
html_title = project
html_copy_source = False
myst_heading_anchors = 4
myst_fence_as_directive: list[str] = []
autodoc_member_order = "bysource"
autodoc_typehints = "description"
napoleon_google_docstring = True
suppress_warnings = ["myst.header", "misc.highlighting_failure"]

LINK = re.compile(r"\[([^]]+)\]\(((?!https?:)[^)#]+)\)")
COLUMNS = re.compile(r"\S+(, \S+)* {2,}\S")  # how our docstrings begin a line of a list of names


def literal(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Shows code and lists of names in columns as they stand in the docstring, and | as itself."""
    found, is_list = [], False
    for before, line in zip(["", *lines], lines, strict=False):
        if not before and not is_list and (COLUMNS.match(line) or line.startswith("    ")):
            found += ["::", ""]
            is_list = True
        is_list &= bool(line)  # until the next empty line
        found.append(f"    {line}" if is_list else line.replace("|", "\\|"))
    lines[:] = found


def without_folders(app: Any, page: str, source: list[str]) -> None:
    """Turns links to folders into their texts: the site has pages and files."""
    place = Path(app.srcdir, page).parent
    source[0] = LINK.sub(lambda m: m[1] if (place / m[2]).is_dir() else m[0], source[0])


def setup(app: Any) -> None:
    app.connect("source-read", without_folders)
    app.connect("autodoc-process-docstring", literal, priority=100)  # before napoleon
