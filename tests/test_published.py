"""The published study: what the README says of it is computed, up to date, and true."""

import csv
import html
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
from PIL import Image
from test_claims import around, made

from analysis import answer, readme, runs, tables
from analysis.claims import judge, list_claims
from analysis.comparisons import MARGINS
from analysis.contrasts import read_contrasts
from analysis.forest import lines
from analysis.kinds import CAPTION
from analysis.limits import limits
from analysis.records import PLAIN, Study, by_group, find_studies
from experiments.config import ConfigError
from experiments.origin import origin
from experiments.record import read_studies
from senet.config import SEConfig

STUDY = ROOT / readme.HOME
HAS_STUDY = bool(read_studies(STUDY))
GROUP = ("cifar10", "resnet29b", "fast")
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
    paths = [*folder.joinpath("results").rglob("*"), folder / "README.md"]
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
    text = (published / "README.md").read_text()
    assert text.index("and the recipe `smoke`: ") < text.index("![") < text.index("| verdict |")
    assert text.index("| verdict |") < text.index("## Two commands")
    for target in re.findall(r"\]\((results/published[^)]+)\)", text):
        assert (published / target).exists(), target
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


def test_the_readme_is_up_to_date():
    """What stands between the markers is what `make paper` would write."""
    studies = find_studies(STUDY, []) if HAS_STUDY else []
    text = (ROOT / "README.md").read_text()
    assert readme.filled(text, readme.parts(studies)) == text


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
    found = readme.parts(find_studies(RECORDS, ["ratio"]))
    assert found["published"] == readme.DEMO and "nothing is published" in found["limits"]


def test_a_study_that_no_claim_is_about_is_published_all_the_same():
    study = made("excitation", {})
    study.runs["epochs"], study.runs["train_images"] = 30, 45_000
    found = readme.parts([study])
    assert "differ by less than 0.5 points" in found["published"] and "forest" in found["published"]
    assert "No claim of the paper is judged" in found["published"]
    study = made("excitation", {})
    study.runs[["state", "test_error"]] = ["missing", float("nan")]
    found = readme.parts([study])
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
    wild = {row["label"]: [7.0, 9.0, 11.0] for row in made("control", {}).asked["rows"]}
    [first, *_] = said([made("control", wild)])
    assert "no difference is decided, it may end" in first
    one = {row: [9.0] for row in wild}
    [first, *_] = said([made("control", one | {PLAIN: [9.5]}, seeds=1)])
    assert "no difference is decided (-0.50; no interval)" in first and "[" not in first


def test_the_opening_has_five_rows():
    lines = answer.opening([made("control", {PLAIN: around(12.0)})]).splitlines()
    assert len(lines) == 7 and lines[-1].startswith("| Squeeze-and-Excitation | 9.00 ± ")
    assert lines[-1].endswith("better |") and answer.opening([made("gate", {})]) == ""


def test_the_headline_is_of_the_group_that_is_declared_and_not_of_the_one_with_most_runs():
    declared = read_contrasts().groups
    seen = made("control", {}, recipe="short")
    assert declared.confirmatory == GROUP and declared.exploratory[2] == "short"
    assert answer.headline([seen, made("stage", {}, recipe="short"), made("gate", {})]) == GROUP
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
    text = (ROOT / "README.md").read_text()
    assert f"in {PAPERS} statements" in text and len(list_claims()) == PAPERS + 1
    said = re.search(r"\(± ([\d.]+) points\s+on CIFAR-10, ± ([\d.]+) on CIFAR-100\)", text)
    assert tuple(map(float, said.groups())) == (MARGINS["cifar10"], MARGINS["cifar100"])


def test_every_choice_of_the_block_is_a_column():
    names = [column.name for column in runs.COLUMNS]
    assert len(set(names)) == len(names) and all(column.what for column in runs.COLUMNS)
    assert {f"se_{field.name}" for field in fields(SEConfig)} < set(names)
    assert isinstance(runs.frame([]), pd.DataFrame) and list(runs.frame([])) == names


PAIR = re.compile(r"([+-]\d+\.\d\d) \[([+-]\d+\.\d\d), ([+-]\d+\.\d\d)\]")


@pytest.mark.skipif(not HAS_STUDY, reason="no study is published yet")
def test_each_pair_has_one_difference_interval_and_verdict_wherever_it_stands():
    """README, report, every .md, .tex and .csv, the claims and the forest plot's data, as kept."""
    studies = find_studies(STUDY, [])
    seen: dict[tuple[str, str], set[tuple]] = {}

    def see(study: Study, row: str, reference: str, text: str) -> None:
        match = PAIR.search(text)
        assert match, (row, reference, text)
        numbers = tuple(sorted(map(float, match.groups())))
        cells = study.cells[row], study.cells[reference]
        flipped = tuple(sorted(-x for x in numbers))
        seen.setdefault(tuple(sorted(cells)), set()).add(
            numbers if cells == tuple(sorted(cells)) else flipped
        )

    words: dict[tuple, set] = {}
    for study in studies:
        tex = (STUDY / "tables" / f"{study.name}.tex").read_text().replace(r"\$", "$")
        md = (STUDY / "tables" / f"{study.name}.md").read_text()
        page = (STUDY / "report.html").read_text()
        csv_rows = csv.DictReader((STUDY / "tables" / f"{study.name}.csv").read_text().splitlines())
        of_csv = {line["row"]: line for line in csv_rows}
        for row, reference in study.references.items():
            [line] = [x for x in md.splitlines() if x.startswith(f"| {row} ")]
            see(study, row, reference, line)
            name = row.replace("_", r"\_")
            [code] = [x for x in tex.splitlines() if re.match(rf" {re.escape(name)} +&", x)]
            see(study, row, reference, code)
            figures = [float(of_csv[row][f"difference{k}"]) for k in ("", "_low", "_high")]
            text = "{:+z.2f} [{:+z.2f}, {:+z.2f}]".format(*figures)
            see(study, row, reference, text)
            assert f"{text} {of_csv[row]['verdict']}".rstrip() in page
            key = tuple(sorted((study.cells[row], study.cells[reference])))
            words.setdefault(key, set()).add(of_csv[row]["verdict"])
    by_name = {study.asked["grid"]: study for study in studies}
    for found in judge(studies):
        for finding in found.findings:
            part = finding.part
            if len(part.rows) == len(part.minus) == 1 and part.measure == "error":
                see(by_name[part.grid], part.rows[0], part.minus[0], finding.evidence)
                assert finding.evidence in html.unescape((STUDY / "report.html").read_text())
                assert finding.evidence in (ROOT / "README.md").read_text()
    control = by_name["control"]
    for row, what in answer.FIRST.items():
        if row != PLAIN:
            [line] = [
                x
                for x in (ROOT / "README.md").read_text().splitlines()
                if what in x and x[0] == "|"
            ]
            see(control, row, PLAIN, line)
    for name, block in lines(studies).items():
        [study] = [s for s in studies if name.startswith(f"{s.asked['title']} (minus")]
        for line in block:
            see(study, line.label, study.references[line.label], answer.shown(line.found))
    assert len(seen) > 20
    assert {pair: found for pair, found in seen.items() if len(found) > 1} == {}
    assert {pair: found for pair, found in words.items() if len(found) > 1} == {}
