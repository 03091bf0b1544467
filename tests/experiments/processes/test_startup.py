"""What the commands import: their user waits for it before anything happens."""

import shutil
import subprocess
import sys

import pytest
from command_line import analyse, bare
from conftest import RECORDS, ROOT

TO_DRAW, TO_TRAIN = {"matplotlib", "seaborn"}, {"torch", "torchvision", "wandb", "ray"}
HEAVY = TO_DRAW | TO_TRAIN | {"numpy", "pandas", "scipy"}
COMMANDS = {
    "experiments --help": HEAVY,
    "experiments run --help": HEAVY,
    "experiments status": HEAVY,
    "experiments run squeeze": TO_TRAIN | TO_DRAW,  # which is finished, and drawn
    "analysis --help": TO_TRAIN | TO_DRAW,
    "analysis tables": TO_TRAIN | TO_DRAW,
    "analysis figures squeeze": TO_TRAIN | TO_DRAW,
}
MODULES = {  # what programs import
    "import analysis.__main__, analysis.figures.gates, analysis.page.report": TO_TRAIN,
    "import experiments.__main__": TO_TRAIN,
    "from senet import SEConfig; SEConfig(ratio=4)": TO_TRAIN,
    "import analysis.page.progress": TO_TRAIN | TO_DRAW,
    "import analysis.page.live": HEAVY,
}
TELL = """
import runpy, sys
module, *words = sys.argv[1:]
sys.argv = [module, *words]
try:
    runpy.run_module(module, run_name="__main__")
finally:
    print("imported", *sys.modules)
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """One finished study, with its tables and figures."""
    folder = tmp_path_factory.mktemp("startup") / "results"
    shutil.copytree(RECORDS / "runs", folder / "runs")
    (folder / "studies").mkdir()
    [study] = (RECORDS / "studies").glob("squeeze-*")
    shutil.copy(study, folder / "studies")
    assert analyse("show", RESULTS=str(folder)).returncode == 0
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_imports_only_what_it_uses(results, command):
    there = bare() | {
        "RESULTS": str(results), "DATASET": "cifar10", "RECIPE": "smoke", "SEEDS": "1",
    }  # fmt: skip
    call = [sys.executable, "-c", TELL, *command.split()]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, env=there)
    assert done.returncode == 0, done.stdout + done.stderr
    *said, imported = done.stdout.splitlines()
    assert not COMMANDS[command] & set(imported.split()), said
    assert command != "experiments run squeeze" or any("0 to train" in line for line in said)


def test_no_wish_for_a_window_of_matplotlibs_ends_a_command(results):
    (results / "figures" / ".drawn.json").unlink()
    there = bare() | {"RESULTS": str(results), "MPLBACKEND": "bogus"}
    call = [sys.executable, "-m", "analysis", "figures"]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, env=there)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("code", MODULES)
def test_a_module_imports_only_what_it_uses(code):
    call = [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and not MODULES[code] & set(done.stdout.split()), done.stderr
