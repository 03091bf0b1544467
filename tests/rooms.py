"""The packages of the project and what they import: read from the code.

    .venv/bin/python tests/rooms.py

draws them anew in docs/architecture.md.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
TOPS = ("senet", "experiments", "analysis", "tracking")
# Each may import those that it names, and what these may import.
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
SOURCES = {
    str(path.relative_to(ROOT).with_suffix("")).replace("/", "."): path
    for top in TOPS
    for path in sorted((ROOT / top).rglob("*.py"))
}


def package(module: str) -> str:
    """The package of BELOW that a module is in; a KeyError tells of one that is not there."""
    first, _, rest = module.partition(".")
    if first == "experiments":
        inside = rest.partition(".")[0]
        first += ".commands" if inside in ("", "__init__", "__main__") else f".{inside}"
    return next(name for name in BELOW if name == first)


def allowed(name: str) -> set[str]:
    """A package and all that are below it."""
    return {name}.union(*(allowed(below) for below in BELOW[name]))


def imported(source: str) -> set[str]:
    """The modules of ours that a source imports, in functions too."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            found.update(name if is_there(name) else node.module for name in inside)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return {name for name in found if name.partition(".")[0] in TOPS}


def is_file(module: str) -> bool:
    return (ROOT / f"{module.replace('.', '/')}.py").exists()


def is_there(module: str) -> bool:
    return is_file(module) or (ROOT / module.replace(".", "/")).is_dir()


def wrong(module: str, source: str) -> list[str]:
    """The imports of a source that go against the direction."""
    below = allowed(package(module))
    return sorted(name for name in imported(source) if package(name) not in below)


def picture() -> str:
    """Draws the packages as a Mermaid diagram: an arrow an import, but for those others imply."""
    edges: dict[str, set[str]] = {name: set() for name in BELOW}
    for module, path in SOURCES.items():
        mine = package(module)
        edges[mine] |= {package(name) for name in imported(path.read_text())} - {mine}

    def reached(name: str) -> set[str]:
        return edges[name].union(*(reached(below) for below in edges[name]))

    lines = []
    for name, below in edges.items():
        implied = set().union(*(reached(one) for one in below))
        lines += [f"    {name} --> {one}" for one in sorted(below - implied)]
    return "\n".join(["```mermaid", "flowchart TD", *lines, "```"])


def drawn(page: str) -> str:
    """A page with the picture as it is now."""
    return re.sub(r"```mermaid\n.*?```", lambda _: picture(), page, flags=re.S)


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text()))
