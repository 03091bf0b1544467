"""Whatever stands in a file is read, or refused in a sentence: no traceback, hang or stray file.

`make fuzz` tries EXAMPLES=5000 of each kind, and more; the suite, a few.
"""

import json
import os
import shutil
import stat
from pathlib import Path

import pytest
from conftest import RECORDS
from fuzzing import FUZZ, ODD, damages, leaves, one_sentence, put, restored, within
from hypothesis import given
from hypothesis import strategies as st
from somebody import as_somebody_else, let_all_in

from analysis import write
from analysis.read import find_studies
from experiments.commands.look import look_at_runs
from experiments.commands.status import status_lines
from experiments.data.datasets import load_data
from experiments.records.parsing import ConfigError
from experiments.records.studies import read_studies


@pytest.fixture(scope="module")
def one_study(tmp_path_factory):
    """A study of the kept records with its runs, alone."""
    folder = tmp_path_factory.mktemp("fuzz") / "results"
    [source] = (RECORDS / "studies").glob("squeeze-*")
    (folder / "studies").mkdir(parents=True)
    shutil.copy(source, folder / "studies")
    for row in json.loads(source.read_text())["rows"]:
        shutil.copytree(RECORDS / "runs" / row["cell"], folder / "runs" / row["cell"])
    return folder


@within(60)
def read_all(results: Path) -> None:
    """What `status`, `tables` and `claims` do; a refusal is one sentence."""
    before = set(results.parent.iterdir())
    with one_sentence():
        studies = read_studies(results)
        status_lines([look_at_runs(study, results) for study in studies], results)
        write.tables(found := find_studies(results, []), results)
        write.claims(found, results)
    assert set(results.parent.iterdir()) == before


@FUZZ
@given(data=st.data())
def test_damaged_records(one_study, data):
    paths = sorted(path for path in one_study.glob("runs/*/*/*") if path.is_file())
    path = data.draw(st.sampled_from(paths))
    damage = data.draw(damages())
    with restored(path):
        path.write_bytes(damage(path.read_bytes()))
        read_all(one_study)


@FUZZ
@given(data=st.data())
def test_edited_studies(one_study, data):
    [path] = (one_study / "studies").iterdir()
    study = json.loads(path.read_text())
    for _ in range(data.draw(st.integers(1, 2))):
        put(study, data.draw(st.sampled_from(list(leaves(study)))), data.draw(ODD))
    with restored(path):
        path.write_text(json.dumps(study))
        read_all(one_study)


@FUZZ
@given(data=st.data())
def test_edited_times(one_study, data):
    path = data.draw(st.sampled_from(sorted(one_study.glob("runs/*/*/timings.jsonl"))))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    put(lines, data.draw(st.sampled_from(list(leaves(lines)))), data.draw(ODD))
    with restored(path):
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        read_all(one_study)


@FUZZ
@given(damage=damages())
def test_damaged_data(tmp_path, data_dir, damage):
    whole = (data_dir / "cifar10.npz").read_bytes()
    (tmp_path / "cifar10.npz").write_bytes(damage(whole))
    with within(60), one_sentence():
        try:
            load_data("cifar10", tmp_path)
        except ConfigError as error:
            assert str(tmp_path / "cifar10.npz") in str(error)
            raise


def test_what_waits_for_ever_is_ended(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(AssertionError, match="of the clock: it hangs"), within(60, at_most=0.2):
        (tmp_path / "pipe").read_bytes()


def test_a_data_file_that_cannot_be_read_is_not_called_damaged(tmp_path):
    (tmp_path / "cifar10.npz").mkdir()
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_data("cifar10", tmp_path)


def test_one_unreadable_folder_stops_neither_status_nor_tables(one_study):
    let_all_in(one_study)
    folder = next(one_study.glob("runs/*/seed0"))
    mode = stat.S_IMODE(folder.stat().st_mode)
    folder.chmod(0)
    try:
        with as_somebody_else():
            [study] = find_studies(one_study, [])
            seen = [look_at_runs(study, one_study) for study in read_studies(one_study)]
            line = status_lines(seen, one_study)[0]
        assert len(study.damaged) == 1 and str(folder) in study.damaged[0]
        assert "1 damaged" in line
    finally:
        folder.chmod(mode)
