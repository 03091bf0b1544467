"""The published study: what the README says of it is computed, up to date, and true."""

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
from conftest import RECORDS, ROOT, bare
from made import around, made
from PIL import Image

from analysis.figures.kinds import CAPTION
from analysis.load import Study, by_group, find_studies
from analysis.page import answer, readme
from analysis.page.limits import limits
from analysis.statistics import lengths
from analysis.statistics.claims import judge, list_claims
from analysis.statistics.comparisons import MARGINS
from analysis.statistics.contrasts import read_contrasts
from analysis.tables import runs
from analysis.tables import study as tables
from experiments.records.origin import origin
from experiments.records.parsing import ConfigError
from experiments.records.study_file import read_studies
from experiments.study.grid import PLAIN
from experiments.study.study import expand
from senet.config import SEConfig

STUDY = ROOT / readme.HOME
HAS_STUDY = bool(read_studies(STUDY))
GROUP = ("cifar10", "resnet29b", "medium")
MADE = (".md", ".tex", ".csv", ".png", ".pdf", ".html")


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
    paths = [*folder.joinpath("results").rglob("*"), *pages]
    return {p.relative_to(folder): p.read_bytes() for p in paths if p.suffix in MADE}


def is_alike(path: Path, first: bytes, second: bytes) -> bool:
    """Whether a file says the same: all of its bytes, but for what another processor draws.

    Its last bits turn a few pixels, in pictures and in those within a page; a PDF is there.
    """
    if path.suffix == ".pdf":
        return True
    if path.suffix == ".html":
        first, second = (
            re.sub(rb"data:image/png;base64,[^\"]+", b"", page) for page in (first, second)
        )
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
def test_paper_rebuilds_the_published_study_and_the_readme_to_the_byte(published, tmp_path):
    again = checkout(tmp_path)
    for name in ("runs", "studies", "figures"):
        shutil.copytree(published / readme.HOME / name, again / readme.HOME / name)
    rebuild(again, PYTHONHASHSEED="1")
    first, second = contents(published), contents(again)
    assert set(first) == set(second) and len(first) > 20
    assert [path for path in first if first[path] != second[path]] == []


@pytest.mark.slow
def test_the_readme_opens_with_the_answer_and_its_links_lead_somewhere(published):
    short = (published / "README.md").read_text()
    text = (published / "docs" / "findings.md").read_text()
    assert text.index("and the recipe `smoke`: ") < text.index("![") < text.index("| verdict |")
    assert short.index("and the recipe `smoke`: ") < short.index("![") < short.index("## Begin")
    assert "the error hardly depends on r (Table 10): " in short
    for page, said in ((published, short), (published / "docs", text)):
        for target in re.findall(r"\]\(((?:\.\./)?results/published[^)]+)\)", said):
            assert (page / target).exists(), target
    assert "forest-cifar10-resnet29b-smoke.png" in text and "the error hardly depends on r" in text
    assert "NOT the official archive: 108 of its 60,000 images" in text
    page = (published / readme.HOME / "report.html").read_text()
    assert f"*{CAPTION}*" in text
    assert f"<figcaption>{CAPTION}<" in page.replace("&#39;", "'")
    assert "What these runs cannot show" in page and "NOT the official archive" in page
    sentence = re.search(r"^(On CIFAR-10 with `resnet29b`.*?)$", text, re.M)[1].replace("`", "")
    assert sentence in re.sub(r"\s+", " ", page).replace("&#39;", "'").replace("&amp;", "&")


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
    rebuild(folder)
    committed, made_again = contents(ROOT), contents(folder)
    committed = {p: c for p, c in committed.items() if p.parts[:2] != ("results", "local")}
    assert set(made_again) == set(committed) - {Path("results/README.md")}
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
    for path in (rebuilt / "figures").glob("squeeze-*.png"):
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
    assert "differ by less than 0.5 points" in found["published"] and "forest" in found["published"]
    assert "No claim of the paper is judged" in found["published"]
    study = made("excitation", {})
    study.runs[["state", "test_error"]] = ["missing", float("nan")]
    found = readme.parts([study])[readme.FINDINGS]
    assert "no run is finished" in found["published"] and "forest" not in found["published"]


def said(studies: list[Study]) -> tuple[str, ...]:
    """The sentences on some studies."""
    members = by_group(studies)[GROUP]
    return tuple(answer.sentences(GROUP, members, judge(studies)))


@pytest.mark.parametrize(
    ("shift", "text"),
    [
        (-2.0, "SE ends 2.00 points lower than the plain network (-2.00 ["),
        (2.0, "SE ends 2.00 points higher than the plain network (+2.00 ["),
        (0.0, "SE and the plain network differ by less than 0.5 points (+0.00 ["),
        (-0.2, "within the margin)"),
    ],
)
def test_the_first_sentence_is_the_finding(shift, text):
    """SE minus plain, whichever of the two the study takes as its reference."""
    rows = made("control", {}).rows
    errors = {row: around(9 + shift) for row in rows} | {PLAIN: around(9.0)}
    for study in (made("control", errors), made("squeeze", {"avg": around(9 + shift)})):
        first, second = said([study])[:2]
        assert text in first
        assert second.startswith((f"Of {PAPERS} statements", "No claim of the paper"))


PAPERS = sum(not claim.is_ours for claim in list_claims())


def test_its_interval_is_the_one_of_the_table():
    study = made("control", {"SE": [8.0, 8.2, 8.4], PLAIN: [9.1, 9.0, 9.5]})
    [first, *_] = said([study])
    row = tables.numbers(study).set_index("row").loc[PLAIN]
    assert f"[{-row.difference_high:+.2f}, {-row.difference_low:+.2f}]" in first


def test_wild_seeds_decide_nothing_and_one_seed_has_no_interval():
    wild = {row.label: [7.0, 9.0, 11.0] for row in made("control", {}).asked.rows}
    [first, *_] = said([made("control", wild)])
    assert "no difference is decided: SE may end" in first
    one = {row: [9.0] for row in wild}
    [first, *_] = said([made("control", one | {PLAIN: [9.5]}, seeds=1)])
    assert "no difference is decided (-0.50; no interval)" in first and "[" not in first


def test_the_opening_has_five_rows():
    lines = answer.opening([made("control", {PLAIN: around(12.0)})]).splitlines()
    assert len(lines) == 7 and lines[-1].startswith("| Squeeze-and-Excitation | 9.00 ± ")
    assert lines[-1].endswith("better |") and answer.opening([made("gate", {})]) == ""


def across(slope: float, longest: int = 5) -> Study:
    """A study across lengths in which SE's error falls by so many points more with a doubling."""
    rows = expand("budget", dataset="cifar10", recipe="medium").record().rows
    steps = {f"{60_000 * 2**n:,}": n for n in range(5)}
    errors = {}
    for row in rows:
        n = steps[row.levels["images"]]
        mean = 30 - 4 * n + (slope * n if row.label.startswith("SE,") else 0)
        errors[row.label] = around(mean) if n < longest else []
    return made("budget", errors)


@pytest.mark.parametrize(
    ("slope", "says"),
    [
        (-0.3, "from 60,000 to 960,000 images seen, SE gains 0.30 points on three gates"),
        (+0.3, "from 60,000 to 960,000 images seen, SE loses 0.30 points to three gates"),
        (
            0.0,
            "the distance of SE to three gates that never see the image changes by less than 0.5",
        ),
    ],
)
def test_a_study_across_lengths_is_answered_first(slope, says):
    study, control = across(slope), made("control", {})
    assert answer.headline([control, study]) == GROUP
    first, *_ = answer.sentences(GROUP, [control, study], [])
    assert says in first
    table = answer.opening([control, study])
    assert "| network (960,000 images) |" in table and len(table.splitlines()) == 8
    shown = lengths.cells(study)
    assert list(shown["images seen"][:2]) == ["60,000", "120,000"] and len(shown) == 7
    [picture] = readme.picture(GROUP, [study], "")
    assert f"{study.name}-budget.png" in picture


def test_a_study_across_lengths_that_is_under_way_says_what_is_there():
    study = across(-0.3, longest=3)
    first, *_ = answer.sentences(GROUP, [study], [])
    assert "from 60,000 to 240,000 images seen, SE gains 0.30" in first and "960" not in first
    assert "(240,000 images)" in answer.opening([study])
    assert answer.headline([across(-0.3, longest=2), made("control", {}, recipe="short")]) != GROUP


def test_the_headline_is_of_the_group_that_is_declared_and_not_of_the_one_with_most_runs():
    declared = read_contrasts().groups
    seen = made("control", {}, recipe="short")
    assert declared.confirmatory == GROUP and declared.exploratory[2] == "short"
    assert answer.headline([seen, made("stage", {}, recipe="short"), made("control", {})]) == GROUP
    assert answer.headline([seen, made("gate", {})]) == declared.exploratory
    assert answer.headline([seen]) == declared.exploratory
    [group] = by_group([seen])
    assert any("exploratory" in text for text in answer.sentences(group, [seen], []))


def test_what_is_missing_or_diverged_is_said():
    study = made("ratio", {})
    study.runs.loc[study.runs.row == "r = 2", "state"] = ["missing", "diverged", "done"]
    *_, last = said([study])
    assert last == "The study is not finished: 19 of 21 runs are done (1 missing, 1 diverged)."


def test_nothing_finished_is_no_answer():
    study = made("ratio", {})
    study.runs[["state", "test_error"]] = ["missing", float("nan")]
    first, second, third = said([study])
    assert first.endswith("no run is finished yet.")
    assert "3 not decided" in second and "0 of" in third
    assert limits(GROUP, [study], judge([study])) == []


def test_what_a_claim_came_to_is_named():
    errors = {"sigmoid": around(8.0), "softmax": around(12.0), "relu": around(7.0)}
    _, second = said([made("gate", errors)])
    assert "1 confirmed, 2 contradicted, 0 not decided. Of our own: “Softmax" in second
    table = answer.table(judge([made("gate", errors)]))
    assert "| **confirmed** |" in table and "(paper -0.72)" not in table
    assert answer.table([]) == ""


def test_what_these_runs_cannot_show_is_counted():
    study = made("ratio", {PLAIN: [8.0, 9.0, 10.0]})
    study.runs["epochs"], study.runs["train_images"] = 30, 45_000
    study.runs["env.commit"] = ["a"] * 10 + ["b"] * 11
    study.runs["env.data"] = "b30be469dc7c1349"
    found = dict(limits(GROUP, [study], judge([study])))
    assert list(found) == ["Recipe", "Data", "Seeds", "Machines", "The paper", "Not asked"]
    assert "images 45,000, epochs 30" in found["Recipe"]
    assert "NOT checked against the official archive" in found["Data"]
    assert "Rows have 3 of the 3 seeds" in found["Seeds"] and "n = 3 only" in found["Seeds"]
    assert found["Machines"] == "These runs mix 2 commits."
    study.runs.loc[study.runs.seed == 0, "delay"] = [1.5] * 6 + [2.0]
    found = dict(limits(GROUP, [study], judge([study])))
    assert "In 7 of 21 runs the median epoch took from 1.5 to 2.0 times" in found["Times"]
    assert "SE in a single stage" in found["Not asked"]


@pytest.mark.parametrize(
    ("dataset", "fingerprint", "is_official"),
    [("cifar100", "b30be469dc7c1349", True), ("cifar100", "0" * 16, False),
     ("cifar10", "4db441c3e4de56a6", False), ("cifar10", "0" * 16, False),
     ("synthetic", "0" * 16, False)],
)  # fmt: skip
def test_only_the_official_images_are_called_so(dataset, fingerprint, is_official):
    text = origin(dataset, fingerprint)
    assert ("NOT" not in text and "made here" not in text) == is_official


def test_the_readmes_own_counts_are_those_of_the_code():
    text = (ROOT / "docs" / "results.md").read_text()
    assert f"in {PAPERS} statements" in text and len(list_claims()) == PAPERS + 1
    said = re.search(r"\(± ([\d.]+) points\s+on CIFAR-10, ± ([\d.]+) on CIFAR-100\)", text)
    assert tuple(map(float, said.groups())) == (MARGINS["cifar10"], MARGINS["cifar100"])


def test_every_choice_of_the_block_is_a_column():
    names = [column.name for column in runs.COLUMNS]
    assert len(set(names)) == len(names) and all(column.what for column in runs.COLUMNS)
    assert {f"se_{field.name}" for field in fields(SEConfig)} < set(names)
    assert isinstance(runs.frame([]), pd.DataFrame) and list(runs.frame([])) == names
