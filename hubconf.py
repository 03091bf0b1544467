"""Offers networks to `torch.hub.load("PATH OF THIS CHECKOUT", "se_resnet50", source="local")`.

`torch.hub.load(".", "published", "r = 16", source="local")` is a network as the study trained it.
"""

from pathlib import Path

dependencies = ["numpy", "safetensors", "torch", "torchvision"]

from senet import weights  # noqa: E402
from senet.networks import (  # noqa: E402, F401
    build,
    list_networks,
    se_resnet18,
    se_resnet34,
    se_resnet50,
    se_resnet101,
    se_resnet152,
)

WEIGHTS = Path(__file__).parent / "results" / "published" / "weights"


def published(name: str, folder: str | Path = WEIGHTS):
    """Loads a network that was trained for the study, in eval mode: `senet.weights.published`.

    Its weights lie in this checkout, wherever `senet` was imported from.
    """
    return weights.published(name, folder)
