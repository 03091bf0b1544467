"""That the benchmark of size measures what it says, and a page says it; never a time."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from conftest import LINUX, ROOT, tiny
from hypothesis import given
from hypothesis import strategies as st
from rich.progress import Progress
from typer.testing import CliRunner
from waiting import wait_for

from analysis.page.readme import filled
from analysis.read import find_studies
from benchmarks import size
from benchmarks.records import ASKED, grow, kind
from benchmarks.usage import usage
from experiments.records.files import read_lines
from experiments.records.recipes import recipes
from experiments.records.record import Record
from experiments.train.train import train
from senet.fast import kernels

pytestmark = LINUX  # memory is counted in units of its own
KEPT = json.loads((ROOT / "benchmarks" / "size.json").read_text())


def python(code: str, **options):
    return usage(sys.executable, "-c", code, **options)


def test_memory_is_that_of_the_command_and_of_nobody_else():
    ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    some, more = (python(f"print(len(b'.' * {n} * 10**6))").memory for n in (50, 100))
    assert ours > 200 and some < 80  # torch is here, and not there
    assert more - some == pytest.approx(50, abs=2)


def test_processor_seconds_are_those_that_the_command_counts_itself():
    took = python("""if True:
        import time
        while time.process_time() < 0.3: pass
        print(time.process_time(), flush=True)
        time.sleep(0.5)""")
    [[text, cpu, wall]] = took.lines
    assert float(text) == pytest.approx(cpu, abs=0.03) and wall < took.wall
    assert float(text) <= took.cpu + 0.01 and took.cpu + 0.4 < took.wall


def test_what_a_command_is_run_for_ends_it_and_its_children():
    code = """if True:
        import subprocess
        child = subprocess.Popen(["sleep", "1000"])
        print(child.pid, "sent: 1", flush=True)
        print("sent: 2", flush=True)
        child.wait()"""
    took = python(code, until="(sent: .*){2}")
    child = int(took.lines[0][0].split()[0])
    assert took.text.endswith("sent: 1\nsent: 2\n")
    wait_for(lambda: state_of(child) in ("gone", "Z"))


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2]
    except FileNotFoundError:
        return "gone"


@pytest.mark.parametrize(
    ("code", "until"), [("print('no'); raise SystemExit(3)", ""), ("print('no')", "yes")]
)
def test_a_command_that_fails_ends_the_benchmark_with_what_it_said(code, until):
    with pytest.raises(SystemExit, match=r"ended with [03]:\nno"):
        python(code, until=until)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data_dir) -> dict[str, Record]:
    folder, found = tmp_path_factory.mktemp("trained"), {}
    for se in (None, {"excitation": "constant"}, {"ratio": 4}):
        config = tiny(se=se)
        found[kind(config)] = record = Record(folder, config)
        train(config, record, data_dir)
    return found


@pytest.mark.slow
def test_copies_are_records_that_the_analysis_takes_for_true(tmp_path, trained):
    assert sum(1 for _ in grow(tmp_path, 1, trained)) == size.ROW
    before = {path: path.read_bytes() for path in tmp_path.glob("runs/*/*/*")}
    assert sum(1 for _ in grow(tmp_path, 2, trained)) == size.ROW  # what is there is left alone
    assert all(path.read_bytes() == content for path, content in before.items())
    [study] = find_studies(tmp_path, [])
    assert len(study.done) == 2 * size.ROW and study.asked.seeds == 2
    assert study.done.test_error.nunique() > size.ROW
    find = ["find", tmp_path / "runs", "-type", "f", "-printf", "%s "]
    sizes = subprocess.run(find, capture_output=True, text=True, check=True).stdout.split()
    assert size.count(tmp_path) == {"files": len(sizes), "bytes": sum(map(int, sizes))}


@pytest.mark.slow
def test_a_tiny_size_from_end_to_end(tmp_path, monkeypatch):
    kernels.library()  # is kept for this process: the compiler is on the PATH of now
    monkeypatch.setenv("PATH", str(tmp_path))  # there is no Slurm
    found = size.measure([size.ROW], tmp_path, Progress(disable=True))
    [row] = found["finished"]
    assert list(row["took"]) == list(size.COMMANDS) and row["runs"] == size.ROW
    assert found["slurm"] == "" and len(found["planned"]) == 1
    assert "Slurm: not measured" in size.page(found) and "driver" not in size.page(found)
    assert json.loads(json.dumps(found)) == found
    run = next((tmp_path / "finished").glob("runs/*-ratio8-*/seed0"))
    assert len(read_lines(run / "metrics.jsonl")) == recipes()[ASKED["recipe"]].recipe.epochs
    assert json.loads((run / "summary.json").read_text())["test_images"] == 2000
    assert not list((tmp_path / "planned").glob("runs/*"))


def test_the_page_says_what_was_measured():
    text = size.PAGE.read_text()
    assert text == filled(text, {"size": size.page(KEPT)})
    assert [row["runs"] for row in KEPT["finished"]] == size.sizes_of(size.SIZES)


def test_what_is_reckoned_is_in_proportion():
    took = {name: [60.0, 500.0] for name in size.COMMANDS}
    row = {"runs": 1000, "files": 7000, "bytes": 10**8, "took": took}
    planned = {size.RUN: [2000, 9.0, 20.0, 700.0], size.SEND: [2000, 5.0, 8.0, None]}
    planned[size.STATUS] = [2000, 1.0, 2.0, 70.0]
    found = {"machine": {"processor": "one"}, "weights": [10**6, 3 * 10**6], "finished": [row]}
    said = size.page(found | {"slurm": "slurm 1", "planned": planned})
    for words in (
        "| 1,000 | 7,000 files, 0.10 GB | 60.0 s, 500 MB |",
        "| 2,000 | of that, to send them | 5.0 s | 8.0 s |  |",
        "takes 700 MB to send 2,000 runs, and for each 1,000 2.50 s of the processor",
        "`status` takes 0.50 s for each 1,000.", "7 files of 0.10 MB in all",
        "1.0 to 3.0 MB of trained weights", "up to 100 MB/s",
        "10,000 runs are 1.0 GB and up to 30 GB of weights",
        "100 minutes and 50.0 GB",
    ):  # fmt: skip
        assert words in said


@pytest.mark.parametrize(("sizes", "writes"), [(size.SIZES, True), (f"{size.ROW}", False)])
def test_only_the_sizes_of_the_page_are_written_into_it(sizes, writes, tmp_path, monkeypatch):
    page, app = tmp_path / "cluster.md", typer.Typer()
    page.write_text(before := "<!-- size -->\nold\n<!-- end of size -->\n")
    monkeypatch.setattr(size, "HERE", tmp_path)
    monkeypatch.setattr(size, "PAGE", page)
    monkeypatch.setattr(size, "measure", lambda *_: KEPT)  # measured in the tests above
    app.command()(size.main)
    done = CliRunner().invoke(app, ["--sizes", sizes])
    assert done.exit_code == 0 and size.page(KEPT) in done.stdout
    assert (tmp_path / "size.json").exists() == (page.read_text() != before) == writes


@given(st.sets(st.integers(1, 10**6), min_size=1))
def test_sizes_are_multiples_of_a_row(numbers):
    right = [number * size.ROW for number in numbers]
    assert size.sizes_of(",".join(map(str, right))) == sorted(right)
    with pytest.raises(typer.BadParameter, match=f"each a multiple of {size.ROW}"):
        size.sizes_of(",".join(map(str, [*right, right[0] + 1])))


@pytest.mark.parametrize("text", ["", "0", "-50", "50,", "x", "50.0"])
def test_what_is_no_number_of_runs_is_refused(text):
    with pytest.raises(typer.BadParameter, match="numbers of runs"):
        size.sizes_of(text)
