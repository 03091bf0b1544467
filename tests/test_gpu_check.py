"""`make gpu-check` without a GPU: its sentence, and its steps on one that is not there."""

import json

import pytest
import torch
from command_line import call
from conftest import ROOT

from benchmarks import gpu_check
from benchmarks.gpu_check import STEPS, check, page
from benchmarks.gpu_checks import CHECKS
from experiments.processes import command
from experiments.train import environment

HERE = {"gpu": "A GPU", "driver": "1", "commit": "2"}


def main(*words: str, **environment: str):
    return call(*words, main=lambda: command.run(gpu_check.app), **environment)


@pytest.mark.parametrize(
    ("device", "says"),
    [(None, "device 'cuda' is not there: torch"), ("cuda:0", "device 'cuda:0' is not there"),
     ("cpu", "device 'cpu': the checks are of a GPU")],
)  # fmt: skip
def test_without_a_gpu_it_says_so_and_writes_nothing(device, says, monkeypatch, tmp_path):
    monkeypatch.setattr(gpu_check, "HERE", tmp_path)
    done = main(**{"DEVICE": device} if device else {})
    assert done.returncode == 2 and says in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.fixture
def steps(monkeypatch, tmp_path):
    """Four steps that end as the test says; gives the names of those that were asked."""
    monkeypatch.setattr(gpu_check, "machine", lambda device: HERE)
    asked: list[str] = []

    def end_as(**states: str) -> list[str]:
        asked.clear()
        for name in [*STEPS]:
            monkeypatch.delitem(STEPS, name)

        def answer(name):
            return lambda device: (asked.append(name) or states[name], f"{name} on {device} | so")

        for name in states:
            monkeypatch.setitem(STEPS, name, (f"about {name}", answer(name)))
        return asked

    return end_as


def found(folder) -> dict:
    return json.loads((folder / "gpu.json").read_text())


def test_it_goes_on_with_what_is_left(steps, tmp_path, capsys):
    asked = steps(a="passed", b="failed", c="measured", d="skipped")
    assert check("cuda:0", tmp_path) == 1 and asked == ["a", "b", "c", "d"]
    text = (tmp_path / "GPU.md").read_text()
    assert "Not green: b (failed), d (skipped)." in text and "| a | about a | passed |" in text
    assert "a on cuda:0 / so" in text  # a table of Markdown has no bar in a cell
    asked = steps(a="failed", b="passed", c="failed", d="passed")
    assert check("cuda:0", tmp_path) == 0 and asked == ["b", "d"]
    assert "All steps have passed, or were only to be measured (c)." in capsys.readouterr().out
    steps(a="passed", b="passed", c="passed", d="passed")
    (tmp_path / "gpu.json").unlink()
    assert check("cuda:0", tmp_path) == 0
    assert "All steps have passed." in (tmp_path / "GPU.md").read_text()


def test_what_was_done_before_it_was_stopped_is_kept(steps, tmp_path, monkeypatch):
    steps(a="passed", b="passed")
    monkeypatch.setitem(STEPS, "b", ("about b", lambda device: 1 / 0))
    with pytest.raises(ZeroDivisionError):
        check("cuda:0", tmp_path)
    assert list(found(tmp_path)["steps"]) == ["a"]
    assert "Not green: b (not run)." in (tmp_path / "GPU.md").read_text()
    asked = steps(a="failed", b="passed")
    assert check("cuda:0", tmp_path) == 0 and asked == ["b"]


@pytest.mark.parametrize("changed", HERE)
def test_another_machine_or_commit_begins_anew(steps, tmp_path, monkeypatch, changed):
    steps(a="passed")
    assert check("cuda:0", tmp_path) == 0
    monkeypatch.setattr(gpu_check, "machine", lambda device: HERE | {changed: "another"})
    asked = steps(a="failed")
    assert check("cuda:0", tmp_path) == 1 and asked == ["a"]
    assert found(tmp_path)["machine"][changed] == "another"


def test_the_page_that_it_writes_is_no_change_of_the_code(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(gpu_check, "gpu_facts", lambda device: {"gpu": device})
    (folder := tmp_path / "benchmarks").mkdir()
    own = [folder / name for name in ("GPU.md", "gpu.json", "measure.py")]
    for path in own:
        path.write_text("before")
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init"], ["add", "."], [*author, "commit", "-m", "one"]):
        assert environment.git(*words) is not None
    clean = gpu_check.machine("cuda:0")
    for path, is_change in zip(own, (False, False, True), strict=True):
        path.write_text("after")
        assert (gpu_check.machine("cuda:0") != clean) is is_change, path


@pytest.mark.parametrize(("rate", "state"), [(300_000.0, "passed"), (1.0, "failed")])
def test_the_goals_of_the_bench_decide(monkeypatch, rate, state):
    def in_rounds(cases, device, bench, progress):
        return {c.name: [rate if c.kind == "captured" else 1.0] for c in cases}, {}

    monkeypatch.setattr(gpu_check, "in_rounds", in_rounds)
    assert gpu_check.bench("cuda:0")[0] == state


def test_a_damaged_file_begins_anew(steps, tmp_path):
    (tmp_path / "gpu.json").write_text('{"machine": ')
    asked = steps(a="passed")
    assert check("cuda:0", tmp_path) == 0 and asked == ["a"]


def test_the_page_that_is_kept_has_every_step_and_claims_nothing():
    path = ROOT / "benchmarks" / "gpu.json"
    kept = json.loads(path.read_text()) if path.exists() else {"machine": None, "steps": {}}
    assert (ROOT / "benchmarks" / "GPU.md").read_text() == page(kept)
    assert set(CHECKS) < set(STEPS)
    if not kept["machine"]:
        assert "Not measured on a GPU" in page(kept) and "| passed |" not in page(kept)


@pytest.mark.parametrize(
    ("held", "output", "status", "state"),
    [(True, "9 passed", 0, "passed"), (True, "1 failed, 8 passed", 1, "failed"),
     (False, "1 failed, 8 passed", 1, "measured"), (True, "9 skipped", 0, "skipped"),
     (True, "no tests ran", 5, "failed"), (False, "no tests ran", 5, "failed"),
     (False, "1 error in 1s", 2, "failed"), (False, "1 failed, 1 error", 1, "failed"),
     (False, "pytest said nothing", -11, "failed")],
)  # fmt: skip
def test_tests_that_did_not_run_are_not_green(monkeypatch, held, output, status, state):
    done = type("Done", (), {"stdout": f"...\n{output}\n", "returncode": status})
    monkeypatch.setattr(gpu_check, "run", lambda words, device: done)
    assert gpu_check.loop_tests("cuda:0", held) == (state, output)


@pytest.mark.slow
def test_the_tests_of_the_loop_that_need_a_gpu_are_found(monkeypatch):
    monkeypatch.setenv("PYTEST_ADDOPTS", "-v")  # a user's own: the last line is another one
    state, last = gpu_check.loop_tests("cpu", held=False)
    assert state == ("measured" if torch.cuda.is_available() else "skipped"), last
    assert last.startswith("4 ")
