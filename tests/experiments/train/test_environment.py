"""Which step trains on a machine, and what its record says of that."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT

from experiments.commands import session
from experiments.records.parsing import ConfigError
from experiments.train import environment
from experiments.train.environment import pick_step, processor, provenance
from senet.fast import kernels


@pytest.mark.parametrize(
    ("flags", "step"),
    [({"avx", "avx2", "fma"}, "fused"), ({"avx2", "avx512f"}, "fused"),
     ({"sse2", "avx"}, "plain"), ({"asimd", "bf16"}, "plain"), (set(), "plain")],
)  # fmt: skip
def test_which_step_is_a_matter_of_the_instructions_and_not_of_a_clock(monkeypatch, flags, step):
    monkeypatch.setattr(environment, "processor", lambda: ("a processor", flags))
    assert pick_step("auto", "cpu") == step
    assert pick_step("fused", "cpu") == "fused"  # whoever asks for it gets it
    assert pick_step("plain", "cpu") == "plain" and pick_step("auto", "cuda:0") == "plain"
    with pytest.raises(ConfigError, match="compiler"):
        pick_step("fused", "cuda")


def test_no_compiler_means_the_plain_step_and_asking_for_the_other_is_refused():
    code = (
        "from experiments.train.environment import pick_step\n"
        "print(pick_step('auto', 'cpu'))\n"
        "pick_step('fused', 'cpu')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ | {"CXX": "/no/such/compiler"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == "plain\n"
    assert "recipe.step 'fused' needs a CPU and a C++ compiler" in done.stderr
    assert "/no/such/compiler" in done.stderr


BROKEN = {
    "failed": "echo a name; [ $# = 1 ] || { echo 'kernels.cpp: error: too new' >&2; exit 1; }",
    "hangs": "echo a name; [ $# = 1 ] || exec sleep 600",
}


@pytest.fixture
def unbuilt(tmp_path, monkeypatch):
    """Nothing compiled so far; the cache is an empty folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    kernels.built.cache_clear()
    yield tmp_path
    kernels.built.cache_clear()


@pytest.mark.skipif(
    not environment.FASTER_FUSED & processor()[1], reason="`auto` is plain on this processor"
)
@pytest.mark.parametrize(
    ("kind", "reason"),
    [("failed", "failed: kernels.cpp: error: too new"), ("hangs", "took more than 0.1 seconds"),
     ("cache", "nothing can be compiled in"), ("words", "CXX cannot be read")],
)  # fmt: skip
def test_why_there_are_no_kernels_is_said_once_and_stands_in_the_record(
    unbuilt, monkeypatch, kind, reason
):
    compiler = unbuilt / "compiler"
    compiler.write_text(f"#!/bin/sh\n{BROKEN.get(kind, 'exec c++ $@')}\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", f"{compiler} '" if kind == "words" else str(compiler))
    if kind == "hangs":
        monkeypatch.setattr(kernels, "PATIENCE", 0.1)
        monkeypatch.setattr(kernels, "version", lambda compiler: "a name")
    if kind == "cache":  # a file in the way: not even root can write there
        (unbuilt / "cache").write_text("")
    said = []
    monkeypatch.setattr(session, "say", lambda text, style: said.append(text))
    answered = lambda task, function, *args: function(*args)  # noqa: E731
    monkeypatch.setattr(session, "answered", answered)  # in this process
    session.prepare.cache_clear()
    for _ in range(2):
        session.prepare("auto", "cpu")
    assert len(said) == 1 and said[0].startswith("the step is plain, not fused: ")
    assert reason in said[0] and "\n" not in said[0]
    assert reason in provenance("cpu", "fp32", "plain", "auto")["kernels"]
    with pytest.raises(ConfigError, match=reason):
        pick_step("fused", "cpu")


def test_the_record_names_the_kernels_that_trained(unbuilt, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    path = kernels.compiled(["c++"])
    found = provenance("cpu", "fp32", "fused", "auto")["kernels"]
    assert found == f"{path.stem.removeprefix('kernels-')}, {kernels.version(['c++'])}"
    assert provenance("cpu", "fp32", "plain", "plain")["kernels"] == "none: recipe.step is 'plain'"
