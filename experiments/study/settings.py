"""Sets dotted keys in a config, as --set and a grid's cells do. No torch here."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from experiments.records.parsing import ConfigError, parse_yaml

LENGTHS = ("epochs", "images", "iterations")  # of a training: a recipe gives one of them
LENGTH_KEYS = {f"recipe.{name}" for name in LENGTHS}


def refuse_taken(settings: Mapping[str, Any], grid_name: str, keys: set[str]) -> None:
    """Refuses a --set that changes more than the grid leaves open."""
    for key in settings:
        refuse_own(f"--set {key}", key)
        for taken in sorted(keys):
            both_lengths = {key, taken} <= LENGTH_KEYS  # of which a recipe has one
            within = f"{key}.".startswith(f"{taken}.") or f"{taken}.".startswith(f"{key}.")
            if both_lengths or within:
                raise ConfigError(
                    f"--set {key}: the grid {grid_name!r} varies or fixes {taken}; "
                    "copy its file and change it there"
                )


OWN_FLAGS = {
    "dataset": "--dataset",
    "network": "--network",
    "seed": "--seeds",
    "recipe": "--recipe, or single settings such as recipe.epochs",
    "recipe.name": "--recipe",
    "code": "the grid file's own key code",
}


def refuse_own(where: str, key: str) -> None:
    """Refuses keys that are chosen for a whole study: a table never mixes two of them."""
    if key in OWN_FLAGS:
        raise ConfigError(f"{where}: use {OWN_FLAGS[key]}")


def set_key(data: dict[str, Any], key: str, value: Any) -> None:
    """Sets a dotted key in nested dicts."""
    *path, last = key.split(".")
    for name in path:
        data = data.setdefault(name, {})
        if not isinstance(data, dict):
            raise ConfigError(f"{key}: {name!r} holds a value, not keys")
    data[last] = deepcopy(value)  # what is set further down must not reach the giver


def parse_settings(texts: list[str]) -> dict[str, Any]:
    """Reads `--set key=value` as a dict: `1e-3` is a number, `[2,3]` a list, `null` nothing."""
    settings = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise ConfigError(f"--set {text!r}: write KEY=VALUE, for example recipe.epochs=2")
        for dotted, one in _flat(key, _parse_value(value)):
            if dotted in settings:
                raise ConfigError(f"--set {dotted}: given twice")
            settings[dotted] = one
    return settings


def _flat(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yields the dotted keys of a value: `se={position: pre}` says what `se.position=pre` does."""
    if not isinstance(value, dict) or not value:
        yield key, value
        return
    for name, inner in value.items():
        yield from _flat(f"{key}.{name}", inner)


def _parse_value(text: str) -> Any:
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    try:
        return parse_yaml(text, "--set")
    except ConfigError:
        return text
