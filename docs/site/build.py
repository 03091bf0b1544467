"""Builds the pages, the API reference and the report into one folder.

    .venv/bin/python docs/site/build.py [FOLDER]

FOLDER is `site` unless it is given. A link that leads nowhere ends it with status 1.
"""

import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from sphinx.cmd.build import build_main

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# What pages are and link to; the rest of a checkout, its environment above all, is not searched.
LINKED = (
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "docs", "results"),
    *(
        "senet",
        "experiments",
        "analysis",
        "benchmarks",
        "notebooks",
        "tests",
        "requirements-cluster.txt",
    ),
)
REPORT = ROOT / "results" / "published" / "report.html"
FIRST = '<meta http-equiv="refresh" content="0; url=README.html"><a href="README.html">README</a>\n'


def build(folder: Path) -> int:
    """Builds all of it; returns the exit status of Sphinx."""
    shutil.rmtree(folder, ignore_errors=True)
    with TemporaryDirectory() as place:
        for name in LINKED:  # copies: of a symbolic link its target would be the page
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, Path(place) / name)
        words = ["-q", "-b", "html", "--fail-on-warning", "--keep-going", "-c", str(HERE)]
        status = build_main([*words, "-d", f"{place}/.doctrees", place, str(folder)])
    if not status:
        shutil.copy(REPORT, folder / REPORT.name)
        (folder / "index.html").write_text(FIRST, encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1] if sys.argv[1:] else "site")))
