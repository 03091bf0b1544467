"""The compiled kernels: their roundings, their file, and another processor."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from kernel_builds import BUILDS, of_build
from waiting import wait_for

from senet.fast import kernels


@given(
    st.sampled_from(BUILDS),
    st.lists(st.floats(width=32, allow_nan=False), min_size=16, max_size=16),
)
def test_bf16_is_rounded_as_by_torch(build, numbers):
    scale, zeros, ones = torch.tensor([numbers]), torch.zeros(16), torch.ones(16)
    one = torch.ones(1, 16, 1, 1, dtype=torch.bfloat16)
    out = torch.empty_like(one)
    with of_build(build):
        maps = {"x": one, "mean": zeros, "inverse": ones, "weight": scale, "bias": zeros}
        kernels.call("combine", **maps, y=out)  # 1 * scale + 0
    assert torch.equal(out.view(1, 16), (scale + 0).bfloat16())


AARCH64 = "aarch64-linux-gnu-g++"


@pytest.mark.skipif(
    not (shutil.which(AARCH64) and shutil.which("qemu-aarch64")),
    reason=f"needs {AARCH64} and qemu-aarch64 (Debian: g++-aarch64-linux-gnu, qemu-user)",
)
def test_on_aarch64_every_pass_gives_the_numbers_of_this_processor(tmp_path):
    """Of the passes of this processor, the other tests show that they are right."""
    source, found = ROOT / "tests" / "kernels_check.cpp", []
    for compiler, march, starts in (("c++", "native", []), (AARCH64, "armv8-a", ["qemu-aarch64"])):
        made = str(tmp_path / compiler)
        flags = [f"-march={march}", *(flag for flag in kernels.FLAGS if flag != "-shared")]
        flags += ["-O1", "-static"]  # -O3 takes three times as long
        subprocess.run([compiler, *flags, str(source), "-o", made], check=True)
        done = subprocess.run([*starts, made], capture_output=True, check=True)
        found.append(np.array(done.stdout.split(), float))
    here, there = found
    assert there[0] == 16  # bytes of a vector
    np.testing.assert_allclose(there[1:], here[1:], rtol=1e-5, atol=1e-5)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache, and kernels that are compiled in a moment."""
    source = tmp_path / "few.cpp"
    source.write_text("int few = 1;\n")
    monkeypatch.setattr(kernels, "SOURCE", source)
    monkeypatch.setattr(kernels, "SOURCES", (source,))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "senet"


def test_a_library_is_there_whole_or_not_at_all(tmp_path, cache):
    half = tmp_path / "half"  # a compiler that fails in the middle of writing
    half.write_text(
        "#!/bin/sh\n[ $1 = --version ] && exec c++ --version\n"
        "while [ $1 != -o ]; do shift; done\nprintf half > $2\nexit 1\n"
    )
    half.chmod(0o755)
    with pytest.raises(subprocess.CalledProcessError):
        kernels.compiled([str(half)])
    assert list(cache.iterdir()) == []
    whole = kernels.compiled(["c++"])
    assert [path.name for path in whole.parent.iterdir()] == [whole.name]
    assert ctypes.c_int.in_dll(ctypes.CDLL(str(whole)), "few").value == 1
    content = whole.read_bytes()
    assert kernels.compiled(["c++"]) == whole and whole.read_bytes() == content


@pytest.mark.parametrize("is_killed", [True, False])
def test_what_a_killed_compilation_leaves_is_deleted_and_no_other(tmp_path, cache, is_killed):
    sleeping, begun = tmp_path / "sleeping", tmp_path / "begun"
    sleeping.write_text(
        "#!/bin/sh\n[ $1 = --version ] && exec c++ --version\n"
        f"while [ $1 != -o ]; do shift; done\nprintf half > $2\necho $$ > {begun}\n"
        f"mv {begun} {begun}.pid\nexec sleep 1000\n"
    )
    sleeping.chmod(0o755)
    compiling = subprocess.Popen(
        [sys.executable, "-c", COMPILE, str(sleeping)], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    pid = tmp_path / "begun.pid"
    try:
        wait_for(pid.exists)
        if is_killed:
            compiling.kill()
            compiling.wait()
        whole = kernels.compiled(["c++"])
        left = {path.name for path in whole.parent.iterdir()} - {whole.name}
        assert len(left) == (0 if is_killed else 1)
    finally:
        compiling.kill()
        compiling.wait()
        os.kill(int(pid.read_text()), signal.SIGKILL)


COMPILE = "import sys; from senet.fast import kernels; kernels.compiled([sys.argv[1]])"


def test_a_library_is_on_the_disk_before_it_has_its_name(cache, monkeypatch):
    synced, fsync = [], os.fsync

    def note(file: int) -> None:
        assert not list(cache.glob("*.so"))
        synced.append(os.fstat(file).st_ino)
        fsync(file)

    monkeypatch.setattr(os, "fsync", note)
    assert kernels.compiled(["c++"]).stat().st_ino in synced


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"\x7fELF", "Exec format error"), (b"#!/nowhere/sh\n", "No such file")],
)
def test_a_compiler_that_cannot_be_run_is_told(tmp_path, monkeypatch, content, why):
    compiler = tmp_path / "cxx"
    compiler.write_bytes(content)
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    found, said = kernels.built.__wrapped__()
    assert found is None and said.startswith("CXX cannot be run: ") and why in said


def test_a_user_without_a_home_has_a_cache(monkeypatch, tmp_path):
    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", unknown)
    assert str(os.getuid()) in str(kernels.cache_folder())
