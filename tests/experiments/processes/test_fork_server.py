"""The fork server is started, and waited for, in a way that leaves Ctrl-C its effect."""

import os
import resource
import signal
import subprocess
import sys

import pytest
from command_line import bare
from conftest import ROOT

from experiments.processes import fork_server

SLOW = """
import os, time
parent = os.getppid()
print("imports", flush=True)
while os.getppid() == parent:  # for as long as its user lives
    time.sleep(0.01)
"""
USER = """
import multiprocessing, signal, sys
from experiments.processes import fork_server
multiprocessing.set_forkserver_preload(["experiments.processes.orphans", "slow"])
try:
    fork_server.warm_up()
    print("ready", flush=True)  # signals are its own again
    fork_server.start_process(print, "never")
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_ctrl_c_does_not_wait_for_what_the_fork_server_imports(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    process = subprocess.Popen(
        [sys.executable, "-c", USER], cwd=ROOT, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=bare() | {"PYTHONPATH": f"{ROOT}:{tmp_path}"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert {process.stdout.readline() for _ in range(2)} == {"imports\n", "ready\n"}
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate()
    assert (process.returncode, output, errors) == (130, "", "")


def test_once_it_runs_no_signal_is_lost_while_a_process_starts(monkeypatch):
    fork_server.warm_up()
    ignored, set_handler = [], signal.signal

    def set_and_tell(number, handler):
        ignored.append(handler == signal.SIG_IGN)
        return set_handler(number, handler)

    monkeypatch.setattr(signal, "signal", set_and_tell)
    fork_server.start_process(print).join()
    assert ignored and not any(ignored)


def test_a_process_with_a_thousand_open_files_waits_for_the_fork_server():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < 1200:
        pytest.skip(f"{most} open files are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], 1200), most))
    ends = []
    try:
        ends += [os.open(os.devnull, os.O_RDONLY) for _ in range(1050)]
        fork_server.wait_until_ready()
    finally:
        for end in ends:
            os.close(end)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
