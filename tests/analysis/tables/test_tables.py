"""The tables and what stands under them, from records made by hand."""

import csv
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import scipy.stats
import yaml
from by_hand import ERRORS, study, write_run
from command_line import analyse
from conftest import ROOT

from analysis import write
from analysis.figures import study as figures
from analysis.read import find_studies, load_study
from analysis.study import Study
from analysis.tables import complexity
from analysis.tables import study as tables
from analysis.tables.notes import notes
from experiments.records.files import read_sealed, write_sealed
from experiments.records.record import Record
from experiments.records.studies import write_study
from experiments.study.study import expand


def written(found: Study, results: Path, suffix: str) -> str:
    paths = write.tables([found], results)
    return next(p for p in paths if p.name == f"{found.name}.{suffix}").read_text()


def test_a_table_to_the_character(tmp_path):
    study(tmp_path, 3, skip=[("r = 4", 2)])
    [found] = find_studies(tmp_path, ["ratio"])
    lines = written(found, tmp_path, "md").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    assert lines[0] == "## Reduction ratio r (Table 10 of the paper)"
    assert rows[0] == [
        "Reduction ratio r", "test error (%)", "minus r = 16 (points)", "parameters",
        "paper's error (%)",
    ]  # fmt: skip
    # Every row of three has the variance 0.01, that of two 0.005; the pool has 13 degrees.
    pooled = (6 * 2 * 0.01 + 0.005) / 13
    two, three = (8 * pooled + 0.005) / 9, (8 * pooled + 2 * 0.01) / 10
    t = scipy.stats.t.ppf(0.975, 13)  # of a difference: Satterthwaite's are more than the pool's
    one = scipy.stats.t.ppf(0.975, 10) * math.sqrt(three / 3)
    full, part = t * math.sqrt(2 * three / 3), t * math.sqrt(two / 2 + three / 3)
    assert rows[2] == [
        "no SE", f"9.10 ± {one:.2f}", f"+0.90 [{0.9 - full:+.2f}, {0.9 + full:+.2f}] worse",
        "313,114", "23.30",
    ]  # fmt: skip
    assert rows[3][4] == "–"
    half = scipy.stats.t.ppf(0.975, 9) * math.sqrt(two / 2)
    assert rows[5] == [
        "r = 4", f"8.25 ± {half:.2f} (2 of 3 runs)",
        f"+0.05 [{0.05 - part:+.2f}, {0.05 + part:+.2f}]", "313,364", "22.25",
    ]  # fmt: skip
    assert rows[7][2] == "–"  # the reference itself
    said = "\n".join(notes(found))
    assert "Not in the means: 1 missing." in said and "8 degrees of freedom" in said
    assert "Seeds differ by 0.10 points" in said and "with n = 2" in said
    assert "DEMONSTRATION" not in said


def test_the_csv_holds_the_unrounded_numbers(tmp_path):
    study(tmp_path, 2)
    [found] = find_studies(tmp_path, [])
    rows = list(csv.DictReader(written(found, tmp_path, "csv").splitlines()))
    assert [row["row"] for row in rows] == list(ERRORS)
    assert float(rows[0]["test_error"]) == pytest.approx(9.05)
    half = scipy.stats.t.ppf(0.975, 7) * math.sqrt(0.005 / 2)  # no more degrees than the pool's
    assert float(rows[0]["half_width"]) == pytest.approx(half, 1e-4)
    assert float(rows[0]["welch_low"]) < float(rows[0]["difference_low"])
    assert rows[0]["parameters"] == "313114" and rows[1]["paper_top1"] == ""


def test_latex_is_booktabs(tmp_path):
    study(tmp_path, 2)
    [found] = find_studies(tmp_path, [])
    text = written(found, tmp_path, "tex")
    assert r"\toprule" in text and r"\bottomrule" in text and r"(\%)" in text
    assert r"$\pm$" in text and "±" not in text.split(r"\begin")[1]


def test_one_seed_and_a_demonstration_say_so(tmp_path):
    study(tmp_path, 1, recipe="demo")
    [found] = find_studies(tmp_path, [])
    text = " ".join(write.texts([found])[0].split())
    assert "±" not in text.split("Data cifar10")[0]
    assert (
        "A DEMONSTRATION" in text
        and "`DATASET=cifar10 RECIPE=fast SEEDS=5 make ablation-ratio`" in text
    )
    assert "n = 1" in text
    assert "WARNING: the plain network ends at 9.0 %" in text


def test_cifar10_mini_is_named_in_the_table_and_on_the_figure(tmp_path):
    study(tmp_path, 1, recipe="demo", dataset="cifar10_mini")
    [found] = find_studies(tmp_path, [])
    assert "CIFAR-10 mini: 2,500 training" in written(found, tmp_path, "md")
    assert "DATASET=cifar10 RECIPE=fast" in write.texts([found])[0]
    assert "CIFAR-10 mini" in figures.errors(found).get_suptitle()


def test_a_run_that_diverged_or_failed_is_shown_and_never_averaged(tmp_path):
    asked = study(tmp_path, 2)
    runs = {(label, config.seed): Record(tmp_path, config) for label, config in asked.runs()}
    write_run(runs["r = 2", 0], None)
    write_run(runs["r = 8", 0], None)
    write_run(runs["r = 8", 1], None)
    (runs["r = 32", 0].path / "summary.json").unlink()
    runs["r = 32", 0].fail("out of memory", "no room")
    [found] = find_studies(tmp_path, [])
    shown = tables.as_text(found).set_index("Reduction ratio r")
    assert shown["test error (%)"]["r = 2"].endswith("(1 of 2 runs)")
    assert shown["test error (%)"]["r = 8"] == "diverged"
    assert shown["test error (%)"]["r = 32"].startswith("8.60")
    assert "Not in the means: 3 diverged, 1 failed." in notes(found)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"precision": "fp32", "processor": "another processor"},
         ["precisions: bf16, fp32",
          "processors, and times are not compared: a processor, another processor"]),
        ({"step": "fused"}, ["steps of training, and times are not compared: fused, plain"]),
    ],
    ids=["precision", "step"],
)  # fmt: skip
def test_a_run_that_was_computed_in_another_way_is_named(tmp_path, changes, what):
    asked = study(tmp_path, 1)
    path = Record(tmp_path, asked.cells[0].config).path / "env.json"
    write_sealed(path, read_sealed(path) | changes)
    [found] = find_studies(tmp_path, [])
    mixed = [note for note in notes(found) if "MIXED" in note]
    assert mixed == [f"MIXED: these runs have different {kinds}." for kinds in what]


def test_runs_on_other_data_are_shown_and_never_averaged(tmp_path):
    asked = study(tmp_path, 3)
    path = Record(tmp_path, asked.cells[3].config).path / "env.json"
    write_sealed(path, read_sealed(path) | {"data": "y"})
    [found] = find_studies(tmp_path, [])
    assert len(found.of("r = 4")) == 2
    said = " ".join(notes(found))
    assert "OTHER DATA: 1 runs" in said and "fingerprint y, not x" in said
    shown = tables.as_text(found).set_index("Reduction ratio r")["test error (%)"]
    assert shown["r = 4"].endswith("(2 of 3 runs)")


def test_fewer_seeds_asked_for_later_hide_none(tmp_path):
    study(tmp_path, 3)
    write_study(tmp_path, expand("ratio", dataset="cifar10", network="resnet29b", recipe="fast",
                                 seeds=1).record())  # fmt: skip
    [found] = find_studies(tmp_path, [])
    assert set(tables.numbers(found).seeds) == {3}


def test_a_study_without_any_result_is_all_holes(tmp_path):
    asked = expand("ratio", dataset="cifar10", network="resnet29b", recipe="demo")
    found = load_study(tmp_path, asked.record())
    assert set(tables.as_text(found)["test error (%)"]) == {"–"}
    assert set(tables.numbers(found).seeds) == {0}
    assert figures.errors(found) and figures.ratio(found)


def test_the_terminals_table_fits_a_hundred_columns(tmp_path):
    study(tmp_path, 3)
    [text] = write.texts(find_studies(tmp_path, []))
    table = text.split("Data cifar10")[0]
    assert max(map(len, table.splitlines())) <= 100 and "worse" in table


def test_what_is_written_is_utf_8_whatever_the_locale(tmp_path):
    study(tmp_path, 1)
    [path] = (tmp_path / "studies").iterdir()
    whole = read_sealed(path) | {"title": "Réduction \N{GREEK SMALL LETTER RHO}"}
    write_sealed(path, whole)
    plain = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    words = [sys.executable, "-m", "analysis", "tables", "--results", str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, env=plain, capture_output=True)
    assert done.returncode == 0, done.stderr
    table = tmp_path / "tables" / f"{path.stem}.md"
    assert "Réduction \N{GREEK SMALL LETTER RHO}" in table.read_text(encoding="utf-8")


KEYS = ("parameters", "multiply_adds", "se_parameters", "se_elementwise")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda counted: {}, "has no count of 'ResNet-50'"),
        (lambda counted: counted | {"10": 5}, "10: 5 is not allowed"),
        (lambda counted: counted | {"10": {}}, "has no count of 'no SE'"),
        (lambda counted: put(counted, {}), "the key 'tables.10.r = 2.parameters' is missing"),
        (lambda counted: put(counted, dict.fromkeys(KEYS, "x")), "'x' is not allowed"),
        (lambda counted: put(counted, dict.fromkeys(KEYS, 10**30)), "is not allowed"),
    ],
)
def test_counts_that_were_edited_are_one_sentence(tmp_path, harm, words):
    costs = yaml.safe_load(complexity.ROWS.read_bytes())
    counted = {
        number: {row["label"]: dict.fromkeys(KEYS, 7) for row in table["rows"] if "build" in row}
        for number, table in costs.items()
    }
    path = tmp_path / "complexity.json"
    path.write_text(json.dumps(counted))
    assert analyse("complexity", "--results", str(tmp_path)).returncode == 0
    path.write_text(json.dumps(harm(counted)))
    done = analyse("complexity", "--results", str(tmp_path))
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith(f"error: {path}") and words in done.stderr


def put(counted: dict, count: dict) -> dict:
    return counted | {"10": counted["10"] | {"r = 2": count}}
