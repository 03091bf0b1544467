"""A study whose page is written, and what the page says."""

import html
import json
import re
import shutil
from pathlib import Path

import pytest
from conftest import RECORDS

from analysis.page import live
from experiments.records.studies import read_studies

NAME = "squeeze-cifar10-resnet29b-smoke"


@pytest.fixture
def results(tmp_path, monkeypatch) -> Path:
    """The kept records of two studies, one seed of each, and no rest between two writes."""
    monkeypatch.setattr(live, "REST", 0)
    shutil.copytree(RECORDS, tmp_path / "results")
    for path in (tmp_path / "results/studies").glob("*.json"):
        if not path.name.startswith(("squeeze", "nosqueeze")):
            path.unlink()
        else:
            path.write_text(json.dumps(json.loads(path.read_text()) | {"seeds": 1}))
    return tmp_path / "results"


def text_of(results: Path) -> str:
    path = results / "report.html"
    return path.read_text() if path.exists() else ""


def said(results: Path) -> str:
    """The page's text as it is read."""
    text = re.sub(r"<(script|style)\b.*?</\1>", " ", text_of(results), flags=re.S)
    return " ".join(html.unescape(re.sub("<[^>]*>", " ", text)).split())


def runs(results: Path) -> dict[str, Path]:
    """Label -> run of the followed study."""
    [study] = [study for study in read_studies(results) if study.name == NAME]
    return {row.label: results / "runs" / row.cell / "seed0" for row in study.rows}
