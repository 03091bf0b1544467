"""Entry points of `torch.hub.load("PATH OF THIS CHECKOUT", "se_resnet50", source="local")`."""

dependencies = ["torch", "torchvision"]

from senet.networks import (  # noqa: E402, F401
    build,
    list_networks,
    se_resnet18,
    se_resnet34,
    se_resnet50,
    se_resnet101,
    se_resnet152,
)
