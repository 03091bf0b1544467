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

import pandas as pd
import pytest
from test_claims import around, made

from analysis import answer, readme, runs
from analysis.claims import judge, list_claims
from analysis.comparisons import MARGINS
from analysis.kinds import CAPTION
from analysis.limits import limits
from analysis.records import PLAIN, Study, by_group, find_studies
from analysis.stats import difference
from experiments.config import ConfigError
from experiments.origin import origin
from experiments.record import read_studies
from senet.config import SEConfig

ROOT = Path(__file__).parents[1]
RECORDS = Path(__file__).parent / "records"
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


def rebuild(folder: Path) -> str:
    """What `python -m analysis paper` says there, with no RESULTS given."""
    done = subprocess.run(
        [sys.executable, "-m", "analysis", "paper"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def contents(folder: Path) -> dict[Path, bytes]:
    paths = [*folder.joinpath("results").rglob("*"), folder / "README.md"]
    return {p.relative_to(folder): p.read_bytes() for p in paths if p.suffix in MADE}


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """A checkout after `make paper`, whose study is of the kept records."""
    folder = checkout(tmp_path_factory.mktemp("checkout"))
    home = folder / readme.HOME
    shutil.copytree(RECORDS / "runs", home / "runs")
    (home / "studies").mkdir()
    for grid in ("ratio", "nosqueeze"):
        [path] = (RECORDS / "studies").glob(f"{grid}-*")
        study = json.loads(path.read_text()) | {"demonstration": False}
        (home / "studies" / path.name).write_text(json.dumps(study))
    said = rebuild(folder)
    assert "results/published/runs.csv" in said and "README.md" in said
    return folder


@pytest.mark.slow
def test_paper_rebuilds_the_published_study_and_the_readme_to_the_byte(published, tmp_path):
    again = checkout(tmp_path)
    for name in ("runs", "studies"):
        shutil.copytree(published / readme.HOME / name, again / readme.HOME / name)
    shutil.copy(published / "README.md", again)
    rebuild(again)
    first, second = contents(published), contents(again)
    assert set(first) == set(second) and len(first) > 20
    assert [path for path in first if first[path] != second[path]] == []


@pytest.mark.slow
def test_the_readme_opens_with_the_answer_and_its_links_lead_somewhere(published):
    text = (published / "README.md").read_text()
    assert text.index("SE ends at") < text.index("![") < text.index("| verdict |")
    assert text.index("| verdict |") < text.index("## Two commands")
    for target in re.findall(r"\]\((results/published[^)]+)\)", text):
        assert (published / target).exists(), target
    assert "forest-cifar10-resnet29b-smoke.png" in text and "The error hardly depends on r" in text
    assert "NOT the official archive: 108 of its 60,000 images" in text
    page = (published / readme.HOME / "report.html").read_text()
    assert f"*{CAPTION}*" in text
    assert f"<figcaption>{CAPTION}<" in page.replace("&#39;", "'")
    assert "What these runs cannot show" in page and "NOT the official archive" in page
    sentence = re.search(r"\*\*(With `resnet29b`.*?)\*\*", text)[1].replace("`", "")
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
    assert [p for p in made_again if made_again[p] != committed.get(p)] == []
    assert set(committed) - set(made_again) <= {Path("results/README.md")}
    size = sum(path.stat().st_size for path in STUDY.rglob("*") if path.name != "checkpoint.pt")
    assert size < 30 * 2**20


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
    assert "SE ends at 9.00 %" in found["published"] and "forest" in found["published"]
    assert "No claim of the paper is judged" in found["published"]
    study.runs[["state", "test_error"]] = ["missing", float("nan")]
    found = readme.parts([study])
    assert "no result yet" in found["published"] and "forest" not in found["published"]


def said(studies: list[Study]) -> tuple[str, ...]:
    """The sentences on some studies."""
    members = by_group(studies)[GROUP]
    return tuple(answer.sentences(GROUP, members, judge(studies)))


@pytest.mark.parametrize(
    ("shift", "word"),
    [(-2.0, "lower"), (2.0, "higher"), (0.0, "alike"), (-0.2, "lower, within the margin")],
)
def test_the_first_sentence_says_which_way_it_went_and_how_far(shift, word):
    """SE minus plain, whichever of the two the study takes as its reference."""
    errors = {"r = 16": around(9 + shift), PLAIN: around(9.0)}
    for row in ("r = 2", "r = 4", "r = 8", "r = 32", "gate fixed at 1/2"):
        errors[row] = around(9 + shift)
    first, second = said([made("ratio", errors)])
    assert f"SE ends at {9 + shift:.2f} % test error" in first and "ends at 9.00 %" in first
    sign = re.escape(f"{shift:+.2f}")
    assert re.search(rf"difference of {sign} points \[.*?\] \({word}; n = 3 and 3\)", first)
    assert "differs by +0.00 points" in first
    assert second.startswith(f"Of the {len(list_claims())} claims")


def test_its_interval_holds_what_it_should():
    errors = {"r = 16": [8.0, 8.2, 8.4], PLAIN: [9.1, 9.0, 9.5]}
    [first, *_] = said([made("ratio", errors)])
    low, high = map(float, re.search(r"points \[(.*?), (.*?)\]", first).groups())
    assert low < difference(errors["r = 16"], errors[PLAIN]).estimate < high < 0


def test_wild_seeds_decide_nothing_and_one_seed_has_no_interval():
    wild = {row["label"]: [7.0, 9.0, 11.0] for row in made("ratio", {}).asked["rows"]}
    first, second = said([made("ratio", wild)])
    assert "(not decided; n = 3 and 3)" in first and "and 1 is not decided" in second
    one = {row: [9.0] for row in wild}
    first, second = said([made("ratio", one | {PLAIN: [9.5]})])
    assert "-0.50 points (no interval, nothing is decided; n = 1 and 1)" in first
    assert "[" not in first and "2 are not decided" in second


def test_what_is_missing_or_diverged_is_said():
    study = made("ratio", {})
    study.runs.loc[study.runs.row == "r = 2", "state"] = ["missing", "diverged", "done"]
    *_, last = said([study])
    assert last == "The study is not finished: 19 of 21 runs are done (1 missing, 1 diverged)."


def test_nothing_finished_is_no_answer():
    study = made("ratio", {})
    study.runs[["state", "test_error"]] = ["missing", float("nan")]
    first, second, third = said([study])
    assert first.endswith("SE and the plain network have no result yet.")
    assert "2 are not decided" in second and "0 of" in third
    assert limits(GROUP, [study], judge([study])) == []


def test_what_a_claim_came_to_is_named():
    errors = {"sigmoid": around(8.0), "softmax": around(12.0), "relu": around(7.0)}
    _, second = said([made("gate", errors)])
    assert "1 is confirmed (“Softmax is a poor gate”)" in second
    assert "1 is contradicted (“Sigmoid is best, tanh worse, ReLU worse than no SE”)" in second
    table = answer.table(judge([made("gate", errors)]))
    assert "| **confirmed** |" in table and "(paper -0.72)" not in table
    assert answer.table([]) == ""


def test_several_networks_are_each_compared_with_themselves():
    study = made("depth", {"SE-resnet20": around(8.0)})
    group = ("cifar10", "all", "fast")
    first = answer.difference_of_se(group, [study])
    assert "of `resnet20` by -1.00 points" in first and "(lower; n = 3 and 3)" in first


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
    assert "SE helps in each stage" in found["Not asked"]


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
    numbers = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
               "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen"]  # fmt: skip
    assert f"in {numbers[len(list_claims())]} statements" in text
    said = re.search(r"\(± ([\d.]+) points\s+on CIFAR-10, ± ([\d.]+) on CIFAR-100\)", text)
    assert tuple(map(float, said.groups())) == (MARGINS["cifar10"], MARGINS["cifar100"])


def test_every_choice_of_the_block_is_a_column():
    names = [column.name for column in runs.COLUMNS]
    assert len(set(names)) == len(names) and all(column.what for column in runs.COLUMNS)
    assert {f"se_{field.name}" for field in fields(SEConfig)} < set(names)
    assert isinstance(runs.frame([]), pd.DataFrame) and list(runs.frame([])) == names
