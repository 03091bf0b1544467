"""The packages stand on each other in one direction, and what names a module names one that is."""

import re

import pytest
import rooms
from conftest import ROOT

from analysis.figures.kinds import OF_A_GROUP
from experiments.commands import COMMANDS, MODULES
from experiments.launch.ray.connection import SENT


@pytest.mark.parametrize("module", rooms.SOURCES)
def test_imports_go_one_way(module):
    assert rooms.wrong(module, rooms.SOURCES[module].read_text()) == []


@pytest.mark.parametrize(
    ("module", "source", "found"),
    [
        ("experiments.train.train", "def f():\n    from analysis import read\n", ["analysis.read"]),
        ("experiments.records.lock", "import experiments.plan.rates", ["experiments.plan.rates"]),
        ("analysis.read", "if True:\n    import tracking.mirror", ["tracking.mirror"]),
        ("analysis.read", "from experiments.records.parsing import parse", []),
    ],
)
def test_an_import_in_the_wrong_place_is_found_in_a_function_too(module, source, found):
    assert rooms.wrong(module, source) == found


NAMED = re.compile(r"[\"']((?:senet|experiments|analysis|tracking)(?:\.\w+)+)[\"']")
NAMING = [*rooms.SOURCES.values(), *(ROOT / "tests").rglob("*.py"),
          *(ROOT / "benchmarks").glob("*.py")]  # fmt: skip


@pytest.mark.parametrize("path", NAMING, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_that_a_text_names_is_there(path):
    for name in NAMED.findall(path.read_text()):
        parts = name.split(".")  # of a module, of something in one, or of a part of that
        modules = [".".join(parts[:n]) for n in (len(parts), len(parts) - 1, len(parts) - 2)]
        assert rooms.is_there(name) or any(map(rooms.is_file, modules)), name


MADE_UP = [  # names of modules that the code puts together
    *(f"experiments.commands.{MODULES.get(name, name)}" for name in COMMANDS),
    *(f"analysis.figures.{kind}" for kind in ("study", "gates", *OF_A_GROUP)),
]


@pytest.mark.parametrize("name", MADE_UP)
def test_a_module_whose_name_is_put_together_is_there(name):
    assert rooms.is_file(name)


def test_ray_sends_its_nodes_all_that_they_run():
    tops = {name.partition(".")[0] for name in rooms.allowed("experiments.launch")}
    assert tops == set(SENT)


def test_the_picture_of_the_packages_is_that_of_the_code():
    page = rooms.PAGE.read_text()
    assert rooms.drawn(page) == page, "draw it anew: .venv/bin/python tests/rooms.py"


def test_every_file_that_the_page_names_is_there():
    names = re.findall(r"`((?!RESULTS)[\w/]+/[\w/]*(?:\.\w+)?)`", rooms.PAGE.read_text())
    assert len(names) > 20 and [name for name in names if not (ROOT / name).exists()] == []
