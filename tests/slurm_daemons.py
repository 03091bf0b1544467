"""A real Slurm on this machine for some tests: two cores, one node, everything in one folder.

    .venv/bin/python tests/slurm_daemons.py COMMAND...

runs a command with such a Slurm around it.
"""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from waiting import wait_for

COMMANDS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")

# A job that is queued again waits until its credential has expired: here not for two minutes. And
# as these cores are busy, patience: Slurm would end jobs, or use the node no more, for a late word.
CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=15
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0
MaxJobCount=20000
ReturnToService=2
KillWait=60
MessageTimeout=60
TCPTimeout=30
BatchStartTimeout=120
UnkillableStepTimeout=300
SlurmdTimeout=0
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def reason_to_skip() -> str:
    """Why there can be no Slurm here, or ""."""
    if os.geteuid():
        return "starting a Slurm needs root"
    if missing := [name for name in COMMANDS if shutil.which(name) is None]:
        return f"no {missing[0]}: `make cluster-tools` installs Slurm"
    if find_spec("submitit") is None:
        return "no submitit: `make cluster-tools` installs it"
    return ""


@contextmanager
def running() -> Iterator[dict[str, str]]:
    """Starts the daemons; gives what the environment of its clients needs.

    One Slurm at a time on a machine: the next one waits.
    """
    with open(Path(tempfile.gettempdir()) / "slurm-of-tests.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with daemons() as environment:
            yield environment


@contextmanager
def daemons() -> Iterator[dict[str, str]]:
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # short: it holds a socket
    folder.chmod(0o755)
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)
    conf = folder / "slurm.conf"
    host = socket.gethostname().partition(".")[0]
    conf.write_text(CONF.format(host=host, folder=folder, ports=free_ports()))
    environment = {"SLURM_CONF": str(conf)}
    own = {name: folder / f"munge.{name}" for name in ("socket", "pid", "log", "seed", "key")}
    files = [f"--{name}{'' if name == 'socket' else '-file'}={path}" for name, path in own.items()]
    commands = (  # each, and when it is ready for the next one
        (["munged", "--foreground", "--force", *files], own["socket"].exists),
        (["slurmctld", "-D", "-f", str(conf)], says(environment, "is UP", "scontrol", "ping")),
        (["slurmd", "-D", "-f", str(conf)], says(environment, "idle", "sinfo", "-h", "-o%T")),
    )
    started = []
    try:
        for command, is_ready in commands:
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            started.append(subprocess.Popen(command, **quiet, start_new_session=True))
            wait_for(is_ready)
        yield environment
    finally:
        with suppress(OSError, AssertionError):
            run(environment, "scancel", "--me")
            wait_for(lambda: not run(environment, "squeue", "--noheader"), seconds=120)
        for daemon in reversed(started):
            daemon.send_signal(signal.SIGTERM)
        for daemon in reversed(started):
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
        shutil.rmtree(folder, ignore_errors=True)


def run(environment: dict[str, str], *command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    return done.stdout.strip()


def says(environment: dict[str, str], word: str, *command: str) -> Callable[[], bool]:
    """Whether a command prints a word, as a question that can be asked again."""
    return lambda: word in run(environment, *command)


def free_ports() -> list[int]:
    sockets = [socket.socket() for _ in range(2)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


if __name__ == "__main__":
    if reason := reason_to_skip():
        sys.exit(reason)
    with running() as environment:
        sys.exit(subprocess.run(sys.argv[1:], env=os.environ | environment).returncode)
