"""The packages stand on each other in one direction, and what names a module names one that is."""

import ast
import re

import pytest
from conftest import ROOT

# Each may import those that it names, and what these may import; a package that is not named here
# is refused.
BELOW = {
    "senet": [],
    "experiments.records": ["senet"],
    "experiments.processes": ["experiments.records"],
    "experiments.study": ["experiments.records"],
    "experiments.data": ["experiments.records"],
    "experiments.train": ["experiments.processes", "experiments.data"],
    "experiments.plan": ["experiments.study", "experiments.train"],
    "experiments.launch": ["experiments.plan"],
    "analysis": ["experiments.study", "experiments.processes", "experiments.data"],
    "tracking": ["experiments.launch", "analysis"],
    "experiments.commands": ["tracking"],
}
SOURCES = [path for top in ("senet", "experiments", "analysis", "tracking")
           for path in (ROOT / top).rglob("*.py")]  # fmt: skip


def package(module: str) -> str:
    """The package of BELOW that a module is in."""
    parts = module.split(".")
    if module in ("experiments", "experiments.__main__"):
        return "experiments.commands"
    return ".".join(parts[: 2 if parts[0] == "experiments" else 1])


def allowed(name: str) -> set[str]:
    return {name}.union(*(allowed(below) for below in BELOW[name]))


def imported(source: str) -> set[str]:
    """The modules of ours that a source names in an import, wherever it stands in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            found.update(name if find(name) else node.module for name in inside)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return {name for name in found if name.split(".")[0] in {n.split(".")[0] for n in BELOW}}


def is_file(module: str) -> bool:
    return (ROOT / f"{module.replace('.', '/')}.py").exists()


def find(module: str) -> bool:
    return is_file(module) or (ROOT / module.replace(".", "/")).is_dir()


def wrong(module: str, source: str) -> list[str]:
    mine = allowed(package(module))
    return [name for name in imported(source) if package(name) not in mine]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path):
    module = str(path.relative_to(ROOT).with_suffix("")).replace("/", ".")
    assert wrong(module.removesuffix(".__init__"), path.read_text()) == []


@pytest.mark.parametrize(
    ("module", "source", "found"),
    [
        ("experiments.train.train", "def f():\n    from analysis import load\n", ["analysis.load"]),
        ("experiments.records.lock", "import experiments.plan.rates", ["experiments.plan.rates"]),
        ("analysis.load", "if True:\n    import tracking.mirror", ["tracking.mirror"]),
        ("analysis.load", "from experiments.records.config import parse", []),
    ],
)  # fmt: skip
def test_an_import_in_the_wrong_place_is_found_in_a_function_too(module, source, found):
    assert wrong(module, source) == found


NAMED = re.compile(r"[\"']((?:senet|experiments|analysis|tracking)(?:\.\w+)+)[\"']")


@pytest.mark.parametrize("path", [*SOURCES, *(ROOT / "tests").rglob("*.py"),
                                  *(ROOT / "benchmarks").glob("*.py")],
                         ids=lambda path: str(path.relative_to(ROOT)))  # fmt: skip
def test_a_module_that_a_text_names_is_there(path):
    for name in NAMED.findall(path.read_text()):
        parts = name.split(".")  # of a module, or of something in one
        modules = [".".join(parts[:n]) for n in (len(parts), len(parts) - 1, len(parts) - 2)]
        assert find(name) or any(is_file(module) for module in modules), name
