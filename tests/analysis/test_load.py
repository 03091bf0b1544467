"""`analysis.load`: all runs as one typed frame."""

import pandas as pd
import pytest
from conftest import ROOT

import analysis
from analysis.read import find_studies
from analysis.tables.runs import COLUMNS, DTYPES
from experiments.records.parsing import ConfigError

HOME = "results/published"


def test_a_results_folder_is_one_typed_frame(monkeypatch):
    monkeypatch.chdir(ROOT)
    found = analysis.load(HOME)
    assert {name: str(kind) for name, kind in found.dtypes.items()} == {
        column.name: DTYPES[column.kind] for column in COLUMNS
    }
    kept = pd.read_csv(f"{HOME}/runs.csv")
    assert list(found.run) == list(kept.run)
    assert list(found.test_error) == pytest.approx(list(kept.test_error), nan_ok=True)
    assert list(found.se_ratio.isna()) == list(kept.se_ratio.isna())
    [study] = find_studies(HOME, ["ratio"])
    some = found[found.rows.str.contains("ratio-[^:]*: r = 4(?:;|$)")]
    assert list(some.test_error) == study.errors("r = 4")


def test_a_folder_without_a_study_is_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match="holds no study"):
        analysis.load(str(tmp_path))


def test_the_columns_that_the_docstring_names_are_there():
    listed = analysis.load.__doc__.split("lists all:")[1].split("Raises:")[0]
    lines = [line.strip() for line in listed.splitlines() if line.strip()]
    names = {name.strip() for line in lines for name in line.split("  ")[0].split(",")}
    names -= {"...", "se_*"}
    assert len(names) > 15 and names <= {column.name for column in COLUMNS}
