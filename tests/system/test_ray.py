"""Runs on the nodes of a real Ray cluster, which share no folder with the driver; one dies."""

import ipaddress
import os
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import faults
import psutil
import pytest
from command_line import bare, start, workers
from conftest import ROOT, kept_data, tiny_words, write_grid
from waiting import wait_for

from experiments.records.files import digest_of_file
from experiments.records.record import Record
from experiments.records.results import read_result
from experiments.records.states import state
from experiments.train.train import train

HAS_RAY = find_spec("ray") is not None
pytestmark = [
    pytest.mark.slow,
    pytest.mark.cluster,
    pytest.mark.skipif(not HAS_RAY, reason="no ray: `make cluster-tools` installs it"),
]


@pytest.fixture(scope="module")
def cluster():
    """A head without a core, and a node with one. A node that is gone is missed within seconds."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Questions, of which five in a row are not answered; a busy node has ten seconds for each.
    soon = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 200}
    head = {"num_cpus": 0, "_system_config": soon}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


# The driver's disk is its own: nobody else sees what lies there.
ALONE = """
mount -t tmpfs tmpfs {place} || exit 77
cp -r {data} {place}/data && {python} -m experiments {words}
status=$?
cp -r {place}/results {out}
exit $status
"""


def test_a_node_that_dies_costs_a_resume_and_no_bit(tmp_path, data_dir, cluster):
    node = cluster.add_node(num_cpus=1)
    place, out = tmp_path / "place", tmp_path / "out"
    place.mkdir()
    sent = kept_data(digest_of_file(data_dir / "cifar10.npz"))
    grid = faults.write_grid(tmp_path, "held, 4", [], faults.cells("held", 4, 8))
    words = tiny_words(epochs=8, train_images=32)
    words = ["run", grid, *words, "--checkpoint-every", "0s"]
    script = ALONE.format(
        place=place, data=data_dir, out=out, python=sys.executable, words=shlex.join(words)
    )
    there = {"RESULTS": f"{place}/results", "DATA_DIR": f"{place}/data", "SEEDS": "2"}
    driver = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=bare() | there | {"LAUNCHER": "ray", "RAY_ADDRESS": cluster.address},
    )

    def both_train() -> bool:
        seen = Path(f"/proc/{driver.pid}/root{place}/results/runs")
        return driver.poll() is not None or len(list(seen.glob("*/*/checkpoint.pt"))) > 1

    wait_for(both_train)  # and have told of an epoch
    cluster.remove_node(node, allow_graceful=False)
    (tmp_path / "mended").touch()
    output, errors = driver.communicate()
    if driver.returncode == 77:
        pytest.skip("needs the right to mount a tmpfs")
    assert driver.returncode == 0, output + errors
    assert output.count("its node was lost") == 1
    found = list(out.glob("runs/*/seed*"))
    assert len(found) == 4 and not list(out.glob("runs/*/*/lock"))
    resumed = []
    for path in found:
        ours = read_result(path)
        assert ours.env["commit"], "the driver knows it"
        resumed += ours.env.get("resumed", [])
        theirs = Record(tmp_path / "alone", ours.config)
        shutil.copytree(out / "code", tmp_path / "alone" / "code", dirs_exist_ok=True)
        train(ours.config, theirs, data_dir)
        for name in ("metrics.jsonl", "summary.json", "predictions.npz", "config.json"):
            assert (path / name).read_bytes() == (theirs.path / name).read_bytes(), name
    assert len(resumed) == 1 and resumed[0]["step"] > 0 and "commit" not in resumed[0]
    assert sent.exists()  # the nodes saw neither the results nor the data
    shutil.rmtree(sent)


def test_ctrl_c_brings_the_checkpoints_home(tmp_path, data_dir, cluster):
    there = {"LAUNCHER": "ray", "RAY_ADDRESS": cluster.address, "DATA_DIR": str(data_dir)}
    results = tmp_path / "results"
    words = [write_grid(tmp_path), *tiny_words(epochs=4000)]
    driver = start("run", *words, **there, RESULTS=str(results))
    wait_for(lambda: workers(results, steps=2))
    os.killpg(driver.pid, signal.SIGINT)
    output, errors = driver.communicate()
    assert driver.returncode == 130 and "Traceback" not in output + errors, output + errors
    assert "stopping: 1 runs write their checkpoints" in output
    (kept,) = results.glob("runs/*/*/checkpoint.pt")
    assert state(kept.parent) == "interrupted" and not (kept.parent / "lock").exists()


def test_ray_of_one_machine_listens_to_that_machine_alone(tmp_path, data_dir):
    there = {"LAUNCHER": "ray", "WORKERS": "1", "DATA_DIR": str(data_dir)}
    words = [write_grid(tmp_path), *tiny_words(epochs=4000)]
    driver = start("run", *words, **there, RESULTS=str(tmp_path / "results"))
    wait_for(lambda: driver.poll() is not None or workers(tmp_path / "results", steps=2))
    addresses = set()
    for process in psutil.Process(driver.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # a helper that has just ended
            connections = process.net_connections("tcp")
            found = [one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN]
            addresses |= set(map(ipaddress.ip_address, found))
    os.killpg(driver.pid, signal.SIGINT)
    output, errors = driver.communicate()
    assert driver.returncode == 130, output + errors
    mapped = {getattr(address, "ipv4_mapped", None) or address for address in addresses}
    assert mapped and all(address.is_loopback for address in mapped), mapped
