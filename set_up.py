"""Makes .venv exactly as requirements.lock says. `make` calls it, with any Python 3.

One process at a time does that, and the others wait for it. Trainings hold a shared lock on the
same file (`use` of experiments/train/environment.py): while there is one, the environment that it
imports from stays as it is.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

VENV, LOCK, WANTED = Path(".venv"), Path(".venv.lock"), Path("requirements.lock")
READY = VENV / ".installed"
PYTHON = str(VENV / "bin" / "python")
NEEDED = (3, 11)


def main():
    with LOCK.open("a") as file:
        if is_in_use(file):
            print("a training uses .venv, which stays as it is until that ends", file=sys.stderr)
            return
        fcntl.flock(file, fcntl.LOCK_EX)
        if not is_current():
            READY.unlink(missing_ok=True)
            make(file)
            READY.touch()


def is_in_use(file):
    """Tells whether others hold the lock, shared, and there is something that they use."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        pass
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(file, fcntl.LOCK_UN)
        return READY.exists()
    except BlockingIOError:  # somebody makes it
        return False


def is_current():
    return READY.exists() and READY.stat().st_mtime >= WANTED.stat().st_mtime


def make(lock):
    if shutil.which("uv"):
        print("setting up .venv with uv (about half a minute)", flush=True)
        call(lock, "uv", "venv", "--quiet", "--clear", "--python", ">=3.11", str(VENV))
        call(lock, "uv", "pip", "sync", "--quiet", "--python", PYTHON, str(WANTED))
        return
    print("setting up .venv with pip (a minute or two)", flush=True)
    if sys.version_info < NEEDED:
        sys.exit("Python 3.11 or newer is needed: python3 is " + sys.version)
    call(lock, sys.executable, "-m", "venv", "--clear", str(VENV))
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    call(lock, *pip, "--requirement", str(WANTED))


def call(lock, *words):
    """Runs a command; exits with its status where it fails. pip never writes outside of .venv.

    It holds the lock, too: where we are killed it goes on, and nobody may clear .venv under it.
    """
    guard = {**os.environ, "PIP_REQUIRE_VIRTUALENV": "1"}
    done = subprocess.run(words, env=guard, pass_fds=[lock.fileno()])
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
