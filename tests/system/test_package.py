"""The package, installed where there is nothing of the checkout: what its user sees."""

import ast
import re
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import Distribution
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import pytest
from command_line import bare
from conftest import ROOT
from packaging.requirements import Requirement

from senet.weights import FILE, PUBLISHED

pytestmark = pytest.mark.slow
README = (ROOT / "README.md").read_text()
BLOCK = next(c for c in re.findall(r"```python\n(.*?)```", README, re.S) if "SqueezeExcite" in c)


def call(*words: str, folder: Path, **environment: str) -> str:
    """Runs a command where nothing of the checkout is; what it prints, its errors, too."""
    done = subprocess.run(
        words, cwd=folder, env=bare() | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Builds the wheel, of a copy: a build leaves files beside its sources."""
    folder = tmp_path_factory.mktemp("sources")
    own = ("pyproject.toml", "README.md", "LICENSE", "senet")
    for name in (*own, *(path.name for path in ROOT.glob("requirements*.txt"))):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    build = "from setuptools import build_meta; build_meta.build_wheel('.')"  # as pip calls it
    call(sys.executable, "-c", build, folder=folder)
    [made] = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory) -> str:
    """An environment of its own with the wheel, and the libraries of this one behind it."""
    folder = tmp_path_factory.mktemp("environment")
    call(sys.executable, "-m", "venv", "--without-pip", ".", folder=folder)
    python = str(folder / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "install"]
    if find_spec("pip") is None:  # as in an environment that uv made
        pip = ["uv", "pip", "install", "--python", python]
    call(*pip, "--no-deps", "--no-index", str(wheel), folder=folder)
    [site] = folder.glob("lib/python*/site-packages")
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    return python


def test_the_wheel_holds_senet_alone_with_its_types_and_kernels(wheel):
    with ZipFile(wheel) as file:
        names = {name for name in file.namelist() if ".dist-info/" not in name}
    there = {path.relative_to(ROOT) for path in (ROOT / "senet").rglob("*")}
    wanted = {str(path) for path in there if path.suffix in (".py", ".typed", ".cpp", ".h")}
    assert names == wanted and {"senet/py.typed", "senet/fast/kernels.cpp"} <= names


def test_the_extras_are_the_files_that_a_checkout_installs(wheel, tmp_path):
    with ZipFile(wheel) as file:
        file.extractall(tmp_path)
    [info] = tmp_path.glob("*.dist-info")
    found = {"": set(), "study": set(), "cluster": set()}
    for line in Distribution.at(info).requires or ():
        one = Requirement(line)
        extra = next((name for name in found if name and name in str(one.marker)), "")
        found[extra].add((one.name, str(one.specifier)))
    files = {"study": "requirements.txt", "cluster": "requirements-cluster.txt"}
    for extra, file in files.items():
        lines = [line.partition("#")[0].strip() for line in (ROOT / file).read_text().splitlines()]
        wanted = {(one.name, str(one.specifier)) for one in map(Requirement, filter(None, lines))}
        assert found[extra] == wanted
    assert found[""] < found["study"]


def test_all_that_the_package_imports_is_installed_with_it(wheel, tmp_path):
    """The environment of the other tests has the libraries of this one: they would not notice."""
    with ZipFile(wheel) as file:
        file.extractall(tmp_path)
    [info] = tmp_path.glob("*.dist-info")
    needed = map(Requirement, Distribution.at(info).requires or ())
    installed = {one.name for one in needed if one.marker is None}
    optional = {"timm"}  # of its blocks, where they are asked for
    imported = {"numpy"}  # by `Tensor.numpy`
    for path in (tmp_path / "senet").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").partition(".")[0])
    assert imported - sys.stdlib_module_names - {"senet", *optional} == installed


def test_the_readmes_block_runs_elsewhere(python, tmp_path):
    where = (
        "from senet.fast import kernels\n"
        "assert kernels.SOURCE.exists() and 'site-packages' in str(kernels.SOURCE)\n"
    )
    call(python, "-c", where + BLOCK, folder=tmp_path)
    code = (
        "import torch; from senet import SqueezeExcite; "
        "print(SqueezeExcite(64, ratio=8)(torch.ones(2, 64, 4, 4)).shape)"
    )
    assert "[2, 64, 4, 4]" in call(python, "-c", code, folder=tmp_path)


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="no weights are published")
def test_a_published_weight_is_loaded_elsewhere_and_by_the_hub(python, tmp_path):
    kept = sorted(PUBLISHED.glob(f"*/{FILE}"))[0].parent
    shutil.copytree(kept, tmp_path / kept.name)  # as it would come from a hub
    card = (tmp_path / kept.name / "README.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", card, re.S)
    check = (
        f"import torch\nhub = torch.hub.load({str(ROOT)!r}, 'published', {kept.name!r}, "
        "source='local')\nx = torch.ones(1, 3, 32, 32)\nassert torch.equal(model(x), hub(x))\n"
        "print(model)\n"
    )
    assert "ResNet" in call(python, "-c", code + check, folder=tmp_path)


def test_the_command_is_there_and_a_shell_completes_it(python, tmp_path):
    senet = str(Path(python).with_name("senet"))
    assert '"parameters"' in call(senet, "resnet20", "--json", folder=tmp_path)
    words = {"senet resnet50 --set ra": "ratio=", "senet senet1": "senet154"}
    for begun, completed in words.items():
        shell = {"COMP_WORDS": begun, "COMP_CWORD": str(len(begun.split()) - 1)}
        found = call(senet, folder=tmp_path, _SENET_COMPLETE="complete_bash", **shell)
        assert found.split() == [completed]
