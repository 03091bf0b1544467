"""Reads YAML and JSON as typed values, or raises a `ConfigError` that names what is wrong.

That is one sentence with the key, the value and what is allowed. No torch here.
"""

import json
import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from senet.config import find_row, shortened

Model = TypeVar("Model", bound=BaseModel)
_MOST_VALUES = 100_000  # of a YAML file


class ConfigError(ValueError):
    """Says in one sentence for the user what is wrong in a command, config, grid or data file."""


class Strict(BaseModel):
    """Refuses unknown keys, and text where a number belongs: nothing is guessed."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


def parse(model: type[Model], data: Any, where: str = "") -> Model:
    """Returns `data` (plain dicts, lists, numbers, text) as a model.

    Raises ConfigError of one sentence where it does not fit."""
    try:
        return model.model_validate_json(json.dumps(data))  # JSON: lists may become tuples
    except ValidationError as error:
        sentence = _explain(error, model)
    except (TypeError, ValueError, RecursionError) as error:  # a date, a set, a list in itself
        sentence = str(error)
    raise ConfigError(f"{where}: {sentence}" if where else sentence)


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Says in one sentence what pydantic found first: the key, the value, what is allowed."""
    # A key that is unknown explains one that is missing.
    problems = sorted(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    first = problems[0]
    parts = list(map(str, first["loc"]))
    path = [part for part in parts if "[" not in part] or parts  # without pydantic's own names
    key, given = ".".join(path), first["input"]
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        allowed = _fields_at(model, path[:-1])
        try:
            find_row("key", path[-1], allowed)
        except ValueError as unknown:
            return str(unknown).replace(repr(path[-1]), repr(key), 1)
    if first["type"] == "json_invalid":  # of what YAML and JSON can write
        return "a text has a lone surrogate in it, which is half of a character"
    if first["type"] in ("missing", "missing_argument"):
        return f"the key {key!r} is missing"
    says = " or ".join(
        problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        for problem in problems
        if problem["loc"][: len(path)] == first["loc"][: len(path)]
    )
    if first["type"] == "value_error":
        return f"{key}: {says}" if key else says
    says = says.replace("valid array", "list").replace("an object", "keys with values")
    return f"{key}: {shortened(given)} is not allowed: it should be {says}"


def _fields_at(model: Any, path: list[str]) -> list[str]:
    """Returns the names of the fields of the model or dataclass at this path."""
    for name in path:
        if name.isdigit():  # the place in a list of them
            continue
        annotation = model.model_fields[name].annotation
        options = getattr(annotation, "__args__", (annotation,))
        model = next(option for option in options if option is not type(None))
    return [f.name for f in fields(model)] if is_dataclass(model) else list(model.model_fields)


def checked(function, *args):
    """Calls a function of `senet`, whose ValueError is one sentence, as part of a config."""
    try:
        return function(*args)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads a YAML file whose top level is a mapping, in which no key may stand twice."""
    try:
        if path.is_fifo() or path.is_char_device():  # which would never end
            raise ConfigError(f"{path}: not a file")
        data = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: a mapping of keys to values is expected")
    return data


def parse_yaml(text: str, where: str) -> Any:
    """Returns what a YAML text says: plain values, not too many.

    Raises ConfigError, which begins with `where`.
    """
    try:
        data = yaml.load(text, _Loader)
        if _size(data, {}) <= _MOST_VALUES:
            return data
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ConfigError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from None
    raise ConfigError(f"{where}: more than {_MOST_VALUES:,} values, written out")


def _size(data: Any, known: dict[int, int]) -> int:
    """Counts the values in YAML's data: what `*` repeats counts each time, though it is there once.

    Raises RecursionError where something is in itself.
    """
    if id(data) not in known:
        parts = [*data, *data.values()] if isinstance(data, dict) else data
        parts = parts if isinstance(data, dict | list) else ()
        known[id(data)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(data)]


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice, and reads 1e-3 as a number, as YAML 1.2 does."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := {key for key in keys if keys.count(key) > 1}:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {sorted(map(str, twice))[0]!r} stands twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("+-0123456789")
)
