"""Reads off its text which rows a grid's own code adds, as there is no torch here."""

import ast
from dataclasses import dataclass
from pathlib import Path

from experiments.records.config import Code, RunConfig
from experiments.records.parsing import ConfigError
from senet.config import digest_of

TABLES = {"SQUEEZES", "EXCITATIONS", "GATES", "BLOCKS", "NETWORKS"}
OPAQUE = {"eval", "exec", "getattr", "globals", "setattr", "vars"}  # what they do is not in a text


@dataclass(frozen=True)
class OwnCode:
    """Describes a source file that adds choices of one's own.

    rows  the names that it gives to them; None where its text does not tell
    """

    code: Code
    rows: frozenset[str] | None

    def put(self, config: RunConfig) -> RunConfig:
        """Adds the code, which enters its id, to a config that may use one of its rows."""
        se = config.se
        used = {config.network, *((se.squeeze, se.excitation, se.gate, se.block) if se else ())}
        if self.rows is not None and not used & self.rows:
            return config.model_copy(update={"code": None})
        return config.model_copy(update={"code": self.code})


def read_own_code(path: Path) -> OwnCode:
    """Reads a grid's own code. Raises ConfigError where it is not there."""
    try:
        code = Code(file=path.name, digest=digest_of(path))
        return OwnCode(code, rows_of(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"code {path}: {getattr(error, 'strerror', error)}") from None


def rows_of(source: str) -> frozenset[str] | None:
    """Returns the names of the rows that a source adds or replaces: `GATES["mine"] = ...`.

    None where it may do more than that: where it has no other names for rows than those in its
    text, assigns to nothing of others, and reads tables only by `GATES["sigmoid"]`, it does not.
    """
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # told where the code is run
        return None
    items = [one for one in nodes if isinstance(one, ast.Subscript) and _name(one.value) in TABLES]
    known = {id(item.value) for item in items if isinstance(item.slice, ast.Constant)}
    if any(_is_opaque(node) for node in nodes if id(node) not in known):
        return None
    written = [one for one in items if not isinstance(one.ctx, ast.Load)]
    return frozenset(str(one.slice.value) for one in written if isinstance(one.slice, ast.Constant))


def _is_opaque(node: ast.AST) -> bool:
    """Tells whether a node may reach a table or another module in a way that its text hides."""
    match node:
        case ast.Attribute(value=ast.Name("self" | "cls")):
            return False
        case ast.Attribute(ctx=ast.Store() | ast.Del()):
            return True
        case ast.alias(name="*"):
            return True
        case ast.alias(name=name, asname=str(other)):
            return name in TABLES and other != name
        case ast.Constant(str(text)):
            return text in TABLES
    return _name(node) in TABLES | OPAQUE


def _name(node: ast.AST) -> str:
    """Returns the last name of an expression: `GATES` of GATES and block.GATES; "" for others."""
    match node:
        case ast.Name(name) | ast.Attribute(attr=name):
            return name
    return ""
