"""The report, the written tables, and the real records that the tests keep."""

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import by_hand
import pandas as pd
import pytest
import yaml
from command_line import analyse, bare
from conftest import RECORDS, ROOT
from page import Page

from analysis import write
from analysis.__main__ import main
from analysis.figures.kinds import KINDS
from analysis.read import find_studies, load_study
from analysis.statistics.power import by_plan
from analysis.statistics.power import text as power_text
from analysis.statistics.seeds import Plan, seeds_for_difference
from analysis.tables import study as tables
from experiments.study.grid import list_grids, read_grid
from experiments.study.study import expand

EXPECTED = Path(__file__).parents[2] / "expected"
PUBLISHED = yaml.safe_load((ROOT / "analysis/published.yaml").read_text())


def test_the_kept_records_are_real_and_whole():
    studies = find_studies(RECORDS, [])
    assert {study.asked.grid for study in studies} >= {
        "ratio", "squeeze", "gate", "stage", "position", "placement", "nosqueeze", "depth",
    }  # fmt: skip
    for study in studies:
        assert not study.damaged and study.asked.demonstration
        states = set(study.runs.state)
        assert states == ({"done", "missing"} if study.asked.grid == "depth" else {"done"})


EXPECTED_TABLES = sorted(path.name for path in EXPECTED.iterdir()) if EXPECTED.exists() else []


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED_TABLES)
def test_tables_and_verdicts_are_rebuilt_to_the_character(rebuilt, name):
    assert (rebuilt / "tables" / name).read_text() == (EXPECTED / name).read_text()


def test_something_is_expected():
    assert {Path(name).suffix for name in EXPECTED_TABLES} == {".md", ".tex", ".csv"}
    assert any(name.startswith("claims-") for name in EXPECTED_TABLES)


@pytest.mark.slow
def test_the_page_and_every_kind_of_picture_are_the_same_bytes_on_every_rebuild(rebuilt, tmp_path):
    again, figures = tmp_path / "again", tmp_path / "again" / "figures"
    shutil.copytree(rebuilt, again, ignore=shutil.ignore_patterns("tables", "report.html"))
    of_kind = {kind: sorted(figures.glob(f"*-{kind}.png")) for kind in KINDS}
    of_no_study = [kind for kind in KINDS if not of_kind[kind]]
    assert of_no_study == ["budget", "cost", "factorial", "tuning"]  # cost: of `control` alone
    some = [paths[0] for paths in of_kind.values() if paths] + [*figures.glob("forest-*.png")]
    for path in some:
        path.unlink()
    command = [sys.executable, "-m", "analysis", "paper", "--results", str(again)]
    subprocess.run(command, cwd=ROOT, env=bare() | {"PYTHONHASHSEED": "1"}, check=True)
    first, second = (
        {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        for folder in (rebuilt, again)
    )
    assert set(first) == set(second) and all(path.exists() for path in some)
    assert [path for path in first if first[path] != second[path]] == []


@pytest.mark.slow
def test_the_report_needs_no_other_file_and_says_everything(rebuilt):
    page = Page((rebuilt / "report.html").read_text())
    inside = [link for link in page.links if link.startswith("data:image/svg+xml,")]
    anchors = [link for link in page.links if link.startswith("#")]
    beside = [link for link in page.links if link.startswith("figures/")]
    outside = [link for link in page.links if not link.startswith(("data:", "#", "figures/"))]
    assert outside == ["https://arxiv.org/abs/1709.01507"]
    drawn = {f"figures/{path.name}" for path in (rebuilt / "figures").glob("*.p[nd][gf]")}
    assert set(beside) == drawn  # no figure is without its link
    assert {anchor[1:] for anchor in anchors} <= set(page.ids)
    assert len(inside) == page.tags.count("img") == page.tags.count("figure")
    for link in inside:
        assert ElementTree.fromstring(unquote(link.partition(",")[2])).tag.endswith("svg")
    said = " ".join(page.said.split())
    for study in find_studies(rebuilt, []):
        assert study.asked.title in said and study.asked.command in said
        for row in study.rows:
            assert row in said
    assert "the error hardly depends on r" in said and "not decided" in said
    for verdicts in write.verdicts(
        find_studies(rebuilt, [])
    ).values():  # ours in no count of theirs
        words = Counter(v.word for v in verdicts if not v.claim.is_ours)
        shown = (
            "confirmed",
            "contradicted",
            "not decided",
            *(["no record"] * ("no record" in words)),
        )
        counts = [f"{words[word]} {word}" for word in shown]
        assert f"The paper's: {', '.join(counts)}." in said
    commit = find_studies(rebuilt, ["ratio"])[0].runs["env.commit"].iloc[0]
    assert commit in said and "4db441c3e4de56a6" in said  # the data's fingerprint


@pytest.mark.slow
def test_what_show_draws_of_one_study_leaves_the_report_of_all_as_it_is(rebuilt, tmp_path):
    shutil.copytree(rebuilt, tmp_path / "results")
    page = tmp_path / "results/report.html"
    page.unlink()
    done = analyse("show", "squeeze", "--results", str(page.parent))
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith(f"figures, and {page}")
    assert page.read_bytes() == (rebuilt / "report.html").read_bytes()


@pytest.mark.slow
def test_a_demonstration_says_so_in_the_report_and_judges_nothing(tmp_path):
    shutil.copytree(RECORDS, tmp_path / "results")
    for path in (tmp_path / "results/studies").glob("*.json"):
        if not path.name.startswith("squeeze"):
            path.unlink()
    done = analyse("paper", "--results", str(tmp_path / "results"))
    assert done.returncode == 0, done.stderr
    assert "no claim is judged" in done.stdout
    page = Page((tmp_path / "results/report.html").read_text())
    assert "No claim of the paper is judged" in page.said and "A DEMONSTRATION" in page.said


HAS_LATEX = pytest.mark.skipif(not shutil.which("pdflatex"), reason="there is no pdflatex here")


def compile_latex(body: str, folder: Path) -> str:
    """What pdflatex says of a page with this body; it has to compile."""
    head = r"\documentclass{article}\usepackage{booktabs,graphicx,array,longtable}\begin{document}"
    (folder / "page.tex").write_text(f"{head}\n{body}\n\\end{{document}}\n")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"],
        cwd=folder, capture_output=True, text=True, errors="replace",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    return done.stdout


@HAS_LATEX
@pytest.mark.slow
def test_latex_compiles(rebuilt, tmp_path):
    paths = sorted((rebuilt / "tables").glob("*.tex"))
    inputs = [rf"\input{{{path}}}\clearpage" for path in paths]
    said = compile_latex("\n\n".join(inputs), tmp_path)
    assert "Missing character" not in said and "Overfull" not in said
    for path in paths:
        assert rf"\label{{tab:{path.stem}}}" in path.read_text()
        assert r"\caption{" in path.read_text()


@HAS_LATEX
def test_any_label_compiles(tmp_path):
    labels = ["100 %", "a_b", "a & b", "#1", "$x$", "x < y", "[2, 3]", "*star", "{a}", "~^"]
    text = tables.latex("50 % & more", pd.DataFrame({"a": labels, "±": labels}), ["100 %"])
    compile_latex(text, tmp_path)
    assert all(f"{{}}{label}" in text for label in ("[2, 3]", "*star"))  # or they are lost


@pytest.mark.parametrize("name", [n for n in list_grids() if read_grid(n)[1].table])
def test_published_figures_stand_in_the_tables_as_they_were_printed(tmp_path, name):
    dataset = read_grid(name)[1].dataset or "cifar10"
    study = load_study(tmp_path, expand(name, dataset=dataset, recipe="fast").record())
    shown = tables.as_text(study).set_index(study.asked.title)["paper's error (%)"]
    numbers = tables.numbers(study).set_index("row")
    printed = 0
    for row, figures in PUBLISHED[study.asked.table]["rows"].items():
        assert shown[row] == f"{figures['top1']:.2f}"
        for key, value in figures.items():
            assert numbers.loc[row, f"paper_{key}"] == value
            printed += 1
    names = [name for name in numbers if name.startswith("paper_")]
    assert printed == sum(numbers[name].notna().sum() for name in names)  # and nothing else
    assert printed >= len(PUBLISHED[study.asked.table]["rows"])


@pytest.mark.parametrize("spread", ["0", "-1", "nan", "much"])
def test_no_spread_is_no_power(spread, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["analysis", "power", "--spread", spread])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.startswith("error: ") and said.count("\n") == 1


def test_power_agrees_with_the_statistics():
    plan = Plan(0.2)
    said = power_text(by_plan("as given", "given", plan, 0.8), 0.8)
    rows = [line.split() for line in said.splitlines() if re.match(r"[\d. ]+$", line)]
    assert [float(points) for points, *_ in rows] == [0.1, 0.2, 0.3, 0.5, 1.0, 2.0]
    for points, needed, _, watched, _ in rows:
        assert int(needed) == seeds_for_difference(float(points), plan)
        assert int(needed) <= int(watched)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["power", "ratio", "--results", str(RECORDS)], "Seeds differ by "),
        (["power", "--spread", "0.2"], "Seeds differ by 0.20 points"),
        (["claims", "--results", str(RECORDS)], "no claim is judged"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_the_command_line_says_it_and_writes_nothing_here(words, said):
    done = analyse(*words)
    assert done.returncode == 0 and said in done.stdout, done.stderr
    assert sorted(path.name for path in RECORDS.iterdir()) == ["runs", "studies"]


def test_the_command_line_rebuilds_everything(tmp_path):
    by_hand.study(tmp_path, 2)
    done = analyse("show", "ratio", "--results", str(tmp_path))
    assert done.returncode == 0 and "Reduction ratio r (Table 10 of the paper)" in done.stdout
    names = {path.name for name in ("tables", "figures") for path in (tmp_path / name).glob("r*.*")}
    names |= {path.name for path in (tmp_path / "figures").glob("forest-*")}
    assert len(names) == 3 + 3 * 3  # a table; ratio, curves and the forest plot
    wrong = analyse("tables", "gate", "--results", str(tmp_path))
    assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1
    assert json.loads((tmp_path / "studies/ratio-cifar10-resnet29b-fast.json").read_text())


def test_tables_of_a_study_have_one_mechanism():
    [study] = find_studies(RECORDS, ["ratio"])
    found = write.tables_of(study)
    assert list(found) == [study.name, f"{study.name}-interventions"]
    for title, shown, lines, numbers in found.values():
        assert title and len(shown) and lines and len(numbers)
