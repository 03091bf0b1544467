"""Entry points of `torch.hub.load("PATH OF THIS CHECKOUT", "se_resnet50", source="local")`.

`torch.hub.load(".", "published", "r = 16", source="local")` is a network as the study trained it.
"""

dependencies = ["safetensors", "torch", "torchvision"]

from senet.networks import (  # noqa: E402, F401
    build,
    list_networks,
    se_resnet18,
    se_resnet34,
    se_resnet50,
    se_resnet101,
    se_resnet152,
)
from senet.weights import published  # noqa: E402, F401
