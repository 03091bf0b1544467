"""Makes .venv exactly as requirements.lock says. `make` calls it, with any Python 3.

    set_up.py           makes it, or makes it anew
    set_up.py FILE      installs what a file of requirements names, too
    set_up.py clean     deletes it

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
PIP = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
NEEDED = (3, 11)


def main():
    asked = sys.argv[1] if sys.argv[1:] else str(WANTED)
    is_more = asked != str(WANTED)
    mark = VENV / f".{asked}" if is_more else READY
    with LOCK.open("a") as file:  # which stays: trainings hold this very file
        if is_more and is_current(mark, asked):
            return
        if is_in_use(file):
            print("a training uses .venv, which stays as it is until that ends", file=sys.stderr)
            sys.exit(int(is_more))
        fcntl.flock(file, fcntl.LOCK_EX)
        if asked == "clean":
            call(file, "rm", "-rf", str(VENV))
        elif not is_current(mark, asked):
            mark.unlink(missing_ok=True)
            install(file, asked) if is_more else make(file)
            mark.touch()


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


def is_current(mark, asked):
    return mark.exists() and mark.stat().st_mtime >= Path(asked).stat().st_mtime


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
    call(lock, *PIP, "--requirement", str(WANTED))


def install(lock, name):
    uv = ["uv", "pip", "install", "--quiet", "--python", PYTHON]
    call(lock, *(uv if shutil.which("uv") else PIP), "--requirement", name)


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
