"""Builds Squeeze-and-Excitation networks: `build(name, se=SEConfig(...))`.

What needs torch is imported at its first use: `from senet import SEConfig` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from senet.config import SEConfig

if TYPE_CHECKING:
    from senet.block import SqueezeExcite
    from senet.grafts import graft
    from senet.networks import build, list_networks
    from senet.probe import GateProbe

__all__ = ["GateProbe", "SEConfig", "SqueezeExcite", "build", "graft", "list_networks"]

_HOMES = {
    "GateProbe": "senet.probe",
    "SqueezeExcite": "senet.block",
    "build": "senet.networks",
    "graft": "senet.grafts",
    "list_networks": "senet.networks",
}


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'senet' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
