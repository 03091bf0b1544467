"""Whatever stands in a file is read, or refused in a sentence: no traceback, hang or stray file.

`make fuzz` tries EXAMPLES=5000 of each kind, and more; the suite, a few.
"""

import json
import os
import shutil
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from conftest import RECORDS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis import write
from analysis.read import find_studies
from experiments.commands.look import look
from experiments.commands.status import status_lines
from experiments.data.datasets import load
from experiments.records.parsing import ConfigError
from experiments.records.studies import read_studies
from experiments.study.grid import GRIDS
from experiments.study.study import expand

FUZZ = settings(
    max_examples=int(os.environ.get("EXAMPLES", 15)),
    deadline=None,  # other work on the machine takes time, too: `read_all` ends a hang
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
ODD = st.sampled_from([
    None, True, -1, 0, 10**9, 10**30, 10**400, 1e308, float("inf"), float("nan"), "", " ", "..",
    "../../x", "/", "-x", "a/b", "a\nb", "|", "\x00", "\ud800", "<script>", "=1+1", "$x$", "{x}",
    "{label:>99999999}", "x" * 10_000, [], {}, [[]], {"a": {}},
])  # fmt: skip


def leaves(data, path=()):
    """The paths to all values in nested dicts and lists, those of dicts and lists among them."""
    if path:
        yield path
    items = data.items() if isinstance(data, dict) else ()
    for key, value in enumerate(data) if isinstance(data, list) else items:
        yield from leaves(value, (*path, key))


def put(data, path, value) -> None:
    for key in path[:-1]:
        data = data[key]
    data[path[-1]] = deepcopy(value)  # or it might come into itself


@st.composite
def damages(draw):
    """A function that damages some bytes."""
    kind, place = draw(st.sampled_from(["flip", "cut", "insert", "junk"])), draw(st.floats(0, 1))
    bit, more = draw(st.integers(0, 7)), draw(st.binary(min_size=1, max_size=40))

    def damage(data: bytes) -> bytes:
        at = min(int(place * len(data)), max(len(data) - 1, 0))
        return {
            "flip": data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :] if data else more,
            "cut": data[:at],
            "insert": data[:at] + more + data[at:],
            "junk": more,
        }[kind]

    return damage


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


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fails where a block takes more of the processor's time: it hangs."""

    def fail(*_) -> None:
        raise AssertionError(f"more than {seconds} s of the processor: it hangs")

    before = signal.signal(signal.SIGPROF, fail)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@within(60)
def read_all(results: Path) -> None:
    """What `status`, `tables` and `claims` do; a refusal is one sentence."""
    before = set(results.parent.iterdir())
    try:
        studies = read_studies(results)
        status_lines([look(study, results) for study in studies], results)
        write.tables(found := find_studies(results, []), results)
        write.claims(found, results)
    except ConfigError as error:
        assert "\n" not in str(error) and len(str(error)) < 2000
    assert set(results.parent.iterdir()) == before


@contextmanager
def restored(path: Path) -> Iterator[None]:
    """Writes a file after the block as it was before."""
    whole = path.read_bytes()
    try:
        yield
    finally:
        path.write_bytes(whole)


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
@given(data=st.data())
def test_edited_grids(tmp_path, data):
    source = data.draw(st.sampled_from(sorted(GRIDS.glob("*.yaml"))))
    grid = yaml.safe_load(source.read_bytes())
    put(grid, data.draw(st.sampled_from(list(leaves(grid)))), data.draw(ODD))
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(grid))
    expand_it(tmp_path)


@FUZZ
@given(damage=damages(), source=st.sampled_from(sorted(GRIDS.glob("*.yaml"))))
def test_damaged_grids(tmp_path, damage, source):
    (tmp_path / "own.yaml").write_bytes(damage(source.read_bytes()))
    expand_it(tmp_path)


@within(60)
def expand_it(folder: Path) -> None:
    try:
        expand(str(folder / "own.yaml"), dataset="cifar10", recipe="smoke").record()
    except ConfigError as error:
        assert "\n" not in str(error) and len(str(error)) < 20_000


@FUZZ
@given(damage=damages())
def test_damaged_data(tmp_path, data_dir, damage):
    whole = (data_dir / "cifar10.npz").read_bytes()
    (tmp_path / "cifar10.npz").write_bytes(damage(whole))
    try:
        load("cifar10", tmp_path)
    except ConfigError as error:
        assert "\n" not in str(error) and str(tmp_path / "cifar10.npz") in str(error)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


AXES = ", ".join(f"recipe.{key}: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]" for key in "abcdefghijkl")
CROSSED = f"title: x\ncells: [{{{AXES}}}]"


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    [BOMB, "a: &a [*a]", "cells: " + "[" * 5000, CROSSED],
    ids=["a bomb of aliases", "a list in itself", "deep", "too many rows"],
)  # fmt: skip
def test_a_grid_that_would_never_end_is_refused(tmp_path, text):
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(ConfigError, match="own"):
        expand(str(tmp_path / "own.yaml"), dataset="cifar10", recipe="smoke")


def test_a_data_file_that_cannot_be_read_is_not_called_damaged(tmp_path):
    (tmp_path / "cifar10.npz").mkdir()
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load("cifar10", tmp_path)


def test_one_unreadable_folder_stops_neither_status_nor_tables(one_study):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    folder = next(one_study.glob("runs/*/seed0"))
    mode = stat.S_IMODE(folder.stat().st_mode)
    folder.chmod(0)
    try:
        [study] = find_studies(one_study, [])
        assert len(study.damaged) == 1 and str(folder) in study.damaged[0]
        assert (
            "1 damaged"
            in status_lines([look(s, one_study) for s in read_studies(one_study)], one_study)[0]
        )
    finally:
        folder.chmod(mode)
