"""What several tests need: a tiny prepared data set, and settings that train in a moment."""

import json
import multiprocessing.util
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from command_line import VARIABLES, analyse
from filelock import FileLock

from experiments.launch.local import Local
from experiments.records.config import RunConfig
from experiments.records.parsing import parse
from experiments.records.record import Record
from experiments.records.studies import write_study
from experiments.records.study_file import StudyFile
from experiments.study.settings import parse_settings
from experiments.study.study import StudyDesign, expand
from senet.custom import TABLES

for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "PY_COLORS", "CLICOLOR_FORCE",
             "COLUMNS", "LINES"):  # fmt: skip
    os.environ.pop(name, None)  # what is printed is compared as text
os.environ |= dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost")

# Other work on the machine takes time, too.
hypothesis.settings.register_profile("suite", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("suite")
torch.set_num_threads(1)  # as in a run
multiprocessing.util.get_temp_dir()  # its sockets lie there: before a test names a deeper folder

ROOT = Path(__file__).parents[1]
RECORDS = Path(__file__).parent / "records"

TINY = {
    "name": "tiny", "epochs": 2, "batch_size": 16, "train_images": 48, "holdout": 32,
    "curve_images": 16, "test_images": 40, "intervention_images": 10,
}  # fmt: skip


LINUX = pytest.mark.skipif(
    sys.platform != "linux", reason="it looks into /proc, or at a pipe of Linux"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first, so that in the end no process waits for one that has begun
    late: those that wait for a cluster, then those with the most tests that train. Those that are
    not run count, too: what stands beside them takes long as well."""
    weights: dict[Path, list[int]] = {}
    for item in items:
        weight = weights.setdefault(item.path, [0, 0, 0])
        marks = [item.get_closest_marker(name) is not None for name in ("cluster", "slow")]
        weight[:] = [weight[0] + marks[0], weight[1] + marks[1], weight[2] + 1]
    items.sort(key=lambda item: weights[item.path], reverse=True)


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Makes of `--dist loadfile` one that keeps to the order of the files, and gives all tests with
    a Slurm to one process, as there is one Slurm at a time."""
    from xdist.scheduler import LoadFileScheduling

    class LoadFiles(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "slurm" if "slurm.py::" in nodeid else super()._split_scope(nodeid)

    config.option.loadscopereorder = False
    return LoadFiles(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch) -> None:
    """What a user has set for the command line reaches no test."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def signals_as_in_a_new_process() -> Iterator[None]:
    """What was called in this process leaves its handlers to no other test, to no fixture of the
    next file, and to no process that a test forks."""
    reset_signals()
    yield
    reset_signals()


def reset_signals() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def tables_as_before() -> Iterator[None]:
    """Rows that a test adds to the block's tables, also by a page's code or by a run in this
    process, are for that test alone: another one tries every row there is."""
    before = {setting: dict(table) for setting, table in TABLES.items()}
    yield
    for setting, table in TABLES.items():
        table.clear()
        table.update(before[setting])
    for name in [name for name in sys.modules if name.startswith("own_")]:
        del sys.modules[name]


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A folder with a `cifar10` of 200 images in which a class is a brightness."""
    random = np.random.default_rng(0)
    labels = np.arange(200) % 10
    images = random.integers(0, 40, (200, 32, 32, 3)) + 20 * labels[:, None, None, None]
    images = images.astype(np.uint8)
    folder = tmp_path_factory.mktemp("data")
    np.savez(
        folder / "cifar10.npz",
        train_images=images[:120], train_labels=labels[:120],
        test_images=images[120:], test_labels=labels[120:],
        class_names=np.array([f"class {i}" for i in range(10)]),
    )  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def once(tmp_path_factory) -> Callable[[str, Callable[[Path], None]], Path]:
    """Gives the folder of a name, which `make(folder)` has filled once for all processes of
    pytest-xdist, in the way of its documentation. To be read only."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root

    def made(name: str, make: Callable[[Path], None]) -> Path:
        folder, is_made = root / name, root / f"{name}.made"
        with FileLock(root / f"{name}.lock"):
            if not is_made.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                is_made.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def rebuilt(once) -> Path:
    """The kept records, as if their trainings had been long enough to prove something, and all that
    `python -m analysis paper` makes of them. To be read only."""

    def make(folder: Path) -> None:
        shutil.copytree(RECORDS, folder, dirs_exist_ok=True)
        for path in (folder / "studies").glob("*.json"):
            study = json.loads(path.read_text())
            path.write_text(json.dumps(study | {"demonstration": False}))
        done = analyse("paper", RESULTS=str(folder))
        assert done.returncode == 0, done.stdout + done.stderr

    return once("rebuilt", make)


def kept_data(digest: str) -> Path:
    """Where a node keeps a data set that was sent to it."""
    return Path(tempfile.gettempdir()) / f"se-ablation-data-{os.getuid()}" / digest[:16]


def tiny(**changes) -> RunConfig:
    recipe = TINY | changes.pop("recipe", {})
    return parse(
        RunConfig, {"dataset": "cifar10", "network": "resnet20", "recipe": recipe} | changes
    )


def tiny_settings(**changes) -> list[str]:
    """The same for the command line."""
    values = {key: value for key, value in TINY.items() if key != "name"} | changes
    return [word for k, v in values.items() for word in ("--set", f"recipe.{k}={v}")]


def tiny_words(**changes) -> list[str]:
    """What makes any grid a tiny one on the command line."""
    where = ["--dataset", "cifar10", "--network", "resnet20", "--recipe", "smoke"]
    return [*where, *tiny_settings(**changes)]


def tiny_study(grid: str, seeds: int = 1, **changes) -> StudyDesign:
    """What `tiny_words` ask for."""
    settings = parse_settings([word for word in tiny_settings(**changes) if word != "--set"])
    asked = {"dataset": "cifar10", "network": "resnet20", "recipe": "smoke", "seeds": seeds}
    return expand(grid, **asked, settings=settings)


def with_changes(study: StudyFile, **changes) -> StudyFile:
    """What was asked for, with other values of some keys."""
    return parse(StudyFile, study.plain() | changes)


def train_study(study: StudyDesign, results: Path, data_dir: Path) -> None:
    """Trains what `run` would, and draws nothing."""
    write_study(results, study.record())
    with Local(["cpu"] * 2, data_dir) as local:
        list(local.train([Record(results, config) for _, config in study.runs()]))


def write_grid(folder: Path) -> str:
    """The path of a grid of two rows: no SE, and r = 4."""
    path = folder / "own.yaml"
    path.write_text("title: Own\ncontrols: [plain]\nreference: '4'\ncells: [{se.ratio: [4]}]\n")
    return str(path)
