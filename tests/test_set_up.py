"""The environment is made once, by one process, and stays while a training imports from it."""

import fcntl
import os
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT
from waiting import wait_for

from experiments.train import environment

# Stands in for uv: makes an environment without packages, and notes that.
UV = """#!/bin/bash
case $1 in
  venv) echo "$@" >> calls; rm -rf .venv; {python} -m venv --without-pip .venv ;;
  pip) echo "$@" >> pips; {python} -c 'import time; time.sleep(0.5)'; test -e .venv/pyvenv.cfg ;;
esac
"""


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A fresh clone, as far as `make setup` needs one."""
    for name in ("Makefile", "set_up.py"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "requirements.lock").touch()
    (tmp_path / "bin").mkdir()
    uv = tmp_path / "bin" / "uv"
    uv.write_text(UV.format(python=sys.executable))
    uv.chmod(0o755)
    monkeypatch.setenv("PATH", f"{uv.parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def begin(clone) -> subprocess.Popen:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(["make", "setup"], cwd=clone, text=True, **pipes)


def test_several_at_once_make_it_once(clone):
    """A second one that clears it under the first leaves one without pyvenv.cfg, with which pip
    writes into the base Python."""
    processes = [begin(clone) for _ in range(3)]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    assert (clone / ".venv" / "pyvenv.cfg").exists()
    assert len((clone / "calls").read_text().splitlines()) == 1
    assert sum("setting up" in output for output in outputs) == 1


def test_what_a_killed_one_has_begun_is_waited_for(clone):
    """`timeout` kills the process alone; its pip goes on, and writes into .venv."""
    (clone / "bin" / "uv").write_text(
        "#!/bin/bash\n[ $1 = pip ] || exit 0\ntouch begun\nuntil [ -e end ]; do sleep 0.01; done\n"
    )
    process = subprocess.Popen([sys.executable, "set_up.py"], cwd=clone)
    wait_for((clone / "begun").exists)
    process.kill()
    process.wait()
    with (clone / ".venv.lock").open("a") as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (clone / "end").touch()
        fcntl.flock(file, fcntl.LOCK_EX)


def test_an_upgrade_waits_for_the_end_of_a_training(clone, monkeypatch):
    assert begin(clone).wait() == 0
    (clone / ".venv" / "imported.py").touch()
    installed = (clone / ".venv" / ".installed").stat().st_mtime
    os.utime(clone / "requirements.lock", (installed + 1, installed + 1))
    monkeypatch.setattr(environment, "ROOT", clone)
    monkeypatch.setattr(sys, "prefix", str(clone / ".venv"))
    file = environment.use()
    output, _ = (process := begin(clone)).communicate()
    assert process.returncode == 0 and "a training uses .venv" in output
    assert (clone / ".venv" / "imported.py").exists()
    os.close(file)
    os.utime(clone / "requirements.lock", (installed + 1, installed + 1))
    assert begin(clone).wait() == 0
    assert not (clone / ".venv" / "imported.py").exists()


def test_a_lock_that_one_training_holds_is_shared_with_others(clone, monkeypatch):
    monkeypatch.setattr(environment, "ROOT", clone)
    monkeypatch.setattr(sys, "prefix", str(clone / ".venv"))
    with (clone / ".venv.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        os.close(environment.use())


def make(clone, target: str) -> subprocess.CompletedProcess:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.run(["make", target], cwd=clone, text=True, **pipes)


def test_it_is_not_deleted_under_a_training_and_its_lock_never_is(clone):
    assert begin(clone).wait() == 0
    lock = clone / ".venv.lock"
    number = lock.stat().st_ino
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # as `use` does
        done = make(clone, "clean")
        assert done.returncode and "a training uses .venv" in done.stdout
        assert (clone / ".venv" / "pyvenv.cfg").exists()
    assert make(clone, "clean").returncode == 0
    assert not (clone / ".venv").exists() and lock.stat().st_ino == number
    assert make(clone, "clean").returncode == 0


def test_more_packages_are_installed_once_and_not_under_a_training(clone):
    (clone / "requirements-cluster.txt").touch()
    assert begin(clone).wait() == 0
    (clone / "pips").unlink()
    with (clone / ".venv.lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        done = make(clone, "cluster-packages")
        assert done.returncode and "a training uses .venv" in done.stdout
        assert not (clone / "pips").exists()
        fcntl.flock(file, fcntl.LOCK_UN)
        assert make(clone, "cluster-packages").returncode == 0
        fcntl.flock(file, fcntl.LOCK_SH)
        assert make(clone, "cluster-packages").returncode == 0  # there is nothing to do
    [call] = (clone / "pips").read_text().splitlines()
    assert call.startswith("pip install") and call.endswith("requirements-cluster.txt")
