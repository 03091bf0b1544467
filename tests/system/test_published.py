"""The published study: what `make paper` writes of it is whole, up to date, and true."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import bare
from conftest import RECORDS, ROOT
from made import made
from page import Page
from PIL import Image

from analysis.figures.kinds import CAPTION
from analysis.page import readme
from analysis.read import find_studies
from analysis.tables import runs
from experiments.records.parsing import ConfigError
from experiments.records.studies import read_studies
from experiments.study.grid import PLAIN
from senet.config import SEConfig

STUDY = ROOT / readme.HOME
HAS_STUDY = bool(read_studies(STUDY))
MADE = (".md", ".tex", ".csv", ".png", ".pdf", ".svg", ".html")


def checkout(folder: Path) -> Path:
    """A copy of what `make paper` needs, without records."""
    for name in ("analysis", "experiments", "senet", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "README.md", folder)
    (folder / "results").mkdir()
    return folder


def rebuild(folder: Path, **environment: str) -> str:
    """What `python -m analysis paper` says there, with no RESULTS given."""
    command = [sys.executable, "-m", "analysis", "paper"]
    done = subprocess.run(
        command, cwd=folder, env=bare() | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def contents(folder: Path) -> dict[Path, bytes]:
    pages = (folder / "README.md", folder / "docs" / "findings.md")
    paths = [*folder.joinpath(readme.HOME).rglob("*"), *pages]
    return {p.relative_to(folder): p.read_bytes() for p in paths if p.suffix in MADE}


def is_alike(path: Path, first: bytes, second: bytes) -> bool:
    """Whether a file says the same: all of its bytes, but for what another processor draws.

    Its last bits turn a few pixels, in pictures and in those within a page; a PDF is there.
    """
    if path.suffix in (".pdf", ".svg"):
        return True
    if path.suffix == ".html":
        first, second = (re.sub(rb"data:image/svg[^\"]+", b"", page) for page in (first, second))
    if path.suffix != ".png":
        return first == second
    one, other = (np.asarray(Image.open(io.BytesIO(data))).astype(int) for data in (first, second))
    return one.shape == other.shape and (np.abs(one - other).max(axis=-1) > 16).mean() < 1e-4


@pytest.fixture(scope="module")
def published(once, rebuilt) -> Path:
    """A checkout after `make paper`, whose study is of the kept records; most of it was drawn."""

    def make(folder: Path) -> None:
        home = checkout(folder) / readme.HOME
        for name in ("runs", "figures"):
            shutil.copytree(rebuilt / name, home / name)
        (home / "studies").mkdir()
        for grid in ("ratio", "nosqueeze"):
            [path] = (rebuilt / "studies").glob(f"{grid}-*")
            shutil.copy(path, home / "studies")
        said = rebuild(folder)
        assert "results/published/runs.csv" in said and "README.md" in said

    return once("published", make)


@pytest.mark.slow
def test_the_readme_opens_with_the_answer_and_its_links_lead_somewhere(published):
    short = (published / "README.md").read_text()
    text = (published / "docs" / "findings.md").read_text()
    assert text.index("and the recipe `smoke`: ") < text.index("![") < text.index("| verdict |")
    assert short.index("and the recipe `smoke`: ") < short.index("![") < short.index("## Begin")
    assert "the error hardly depends on r: " in short and "depends on r (Table 10)" in text
    for page, said in ((published, short), (published / "docs", text)):
        for target in re.findall(r"\]\(((?:\.\./)?results/published[^)]+)\)", said):
            assert (page / target).exists(), target
    assert "forest-cifar10-resnet29b-smoke.png" in text and "the error hardly depends on r" in text
    assert "NOT the official archive: 108 of its 60,000 images" in text
    page = (published / readme.HOME / "report.html").read_text()
    assert f"*{CAPTION}*" in text
    said = " ".join(Page(page).said.split())
    assert CAPTION in said
    assert "What these runs cannot show" in page and "NOT the official archive" in page
    sentence = re.search(r"^(On CIFAR-10 with `resnet29b`.*?)$", text, re.M)[1].replace("`", "")
    assert sentence in said


@pytest.mark.slow
def test_a_row_a_run_and_no_column_without_a_description(published):
    home = published / readme.HOME
    rows = list(csv.DictReader(io.StringIO((home / "runs.csv").read_text())))
    asked = {path for study in find_studies(home, []) for path in study.runs.path}
    assert {row["run"] for row in rows} == {f"{p.parent.name}/{p.name}" for p in asked}
    assert len(rows) == len(asked)
    text = (home / "runs.md").read_text()
    described = re.findall(r"^\| `(\w+)` +\| +\w+ \| (\S.*?) *\|$", text, re.M)
    assert [name for name, _ in described] == list(rows[0])
    for row in rows:
        path = home / "runs" / row["run"]
        config, summary, env = (
            json.loads((path / f"{name}.json").read_text()) for name in ("config", "summary", "env")
        )
        assert float(row["test_error"]) == pytest.approx(summary["test_error"], rel=1e-9)
        assert int(row["parameters"]) == summary["parameters"]
        assert (row["commit"], row["data"]) == (env["commit"], env["data"])
        assert row["network"] == config["network"] and int(row["seed"]) == config["seed"]
        for field in fields(SEConfig):
            value = config["se"][field.name] if config["se"] else ""
            assert row[f"se_{field.name}"] == str(value)
    shared = next(row for row in rows if row["label"] == "cifar10-resnet29b-smoke-plain")
    assert shared["rows"].count(PLAIN) == 2  # one run, two studies


PAGES = [readme.README, readme.FINDINGS]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_up_to_date(page):
    """What stands between the markers is what `make paper` would write."""
    studies = find_studies(STUDY, []) if HAS_STUDY else []
    text = page.read_text()
    assert readme.filled(text, readme.parts(studies)[page]) == text


@pytest.mark.slow
@pytest.mark.skipif(not HAS_STUDY, reason="no study is published yet")
def test_every_committed_table_figure_and_page_is_what_paper_makes(tmp_path):
    folder = checkout(tmp_path)
    ignored = shutil.ignore_patterns("tables", "figures", "report.html", "runs.csv", "runs.md")
    shutil.copytree(STUDY, folder / readme.HOME, ignore=ignored)
    rebuild(folder, PYTHONHASHSEED="1")
    committed, made_again = contents(ROOT), contents(folder)
    assert set(made_again) == set(committed)
    assert [p for p in made_again if not is_alike(p, made_again[p], committed[p])] == []
    size = sum(path.stat().st_size for path in STUDY.rglob("*") if path.name != "checkpoint.pt")
    assert size < 30 * 2**20


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "alike"),
    [
        (lambda pixels: pixels ^ 1, True),  # the last bit
        (lambda pixels: np.roll(pixels, 1, axis=1), False),
        (lambda pixels: pixels[1:], False),
    ],
    ids=["a rounding", "moved by a pixel", "smaller"],
)
def test_a_picture_that_shows_something_else_is_noticed(rebuilt, change, alike):
    paths = sorted((rebuilt / "figures").glob("squeeze-*.png"))
    assert paths
    for path in paths:
        changed = io.BytesIO()
        Image.fromarray(change(np.asarray(Image.open(path)))).save(changed, "png")
        assert is_alike(path, path.read_bytes(), changed.getvalue()) == alike


def test_without_its_markers_the_readme_is_refused():
    with pytest.raises(ConfigError, match="markers"):
        readme.filled("# A README\n", {"published": "x"})


def test_demonstrations_answer_nothing():
    for found in readme.parts(find_studies(RECORDS, ["ratio"])).values():
        assert "forest-demo.png" in "".join(found.values())
        assert "nothing is published" in found["limits"]


def test_a_study_that_no_claim_is_about_is_published_all_the_same():
    study = made("excitation", {})
    study.runs["epochs"], study.runs["train_images"] = 30, 45_000
    found = readme.parts([study])[readme.FINDINGS]
    assert "is the same within 0.5 points" in found["published"] and "forest" in found["published"]
    assert "No claim of the paper is judged" in found["published"]
    study = made("excitation", {})
    study.runs[["state", "test_error"]] = ["missing", float("nan")]
    found = readme.parts([study])[readme.FINDINGS]
    assert "no run is finished" in found["published"] and "forest" not in found["published"]


def test_every_choice_of_the_block_is_a_column():
    names = [column.name for column in runs.COLUMNS]
    assert len(set(names)) == len(names) and all(column.what for column in runs.COLUMNS)
    assert {f"se_{field.name}" for field in fields(SEConfig)} < set(names)
    assert isinstance(runs.frame([]), pd.DataFrame) and list(runs.frame([])) == names
