"""The published study's page in a real browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Tab, chromium
from conftest import ROOT

from analysis.page import report
from analysis.read import find_studies

HOME = ROOT / "results" / "published"
CONTROL, RATIO = (f"{name}-cifar10-resnet29b-short" for name in ("control", "ratio"))


@pytest.fixture(scope="module")
def tab(tmp_path_factory) -> Iterator[Tab]:
    with chromium(tmp_path_factory.mktemp("browser") / "profile") as found:
        yield found


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """The published study's page, from its records and the figures that are there."""
    studies = find_studies(HOME)
    figures = report.figures_there(studies, HOME)
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(report.render(studies, figures), encoding="utf-8")
    is_same = report.render(studies, figures) == path.read_text(encoding="utf-8")
    assert is_same  # the same bits every time
    return path


@pytest.fixture
def opened(tab, page) -> Tab:
    """The page on a screen of 1,440 pixels, as a reader finds it."""
    tab.size(1440, 900)
    tab.media()
    tab.errors.clear(), tab.requests.clear()
    tab.go(page)
    yield tab
    assert tab.errors == []
    assert {url.split(":")[0] for url in tab.requests} <= {"file", "data", "about"}
