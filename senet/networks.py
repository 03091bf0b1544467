"""The named networks: `build("resnet29b", se=SEConfig(ratio=4))`."""

from collections import OrderedDict
from dataclasses import dataclass, replace

from torch import Tensor, nn

from senet.block import pixels
from senet.config import SEConfig, choose
from senet.residual import ResidualUnit, conv


@dataclass(frozen=True)
class Trunk:
    """A CIFAR ResNet (He et al. 2015, section 4.2) without its SE blocks.

    unit      "basic" or "bottleneck"
    blocks    units in each stage; the paper's numbers for them are 2, 3 and 4
    shortcut  where a unit changes shape: "pad" or "projection"
    width     channels of the stem; doubled at each stage, times 4 at a bottleneck's end
    """

    unit: str
    blocks: tuple[int, ...]
    shortcut: str
    width: int = 16
    classes: int = 10


NETWORKS: dict[str, Trunk] = {
    **{f"resnet{6 * n + 2}": Trunk("basic", (n, n, n), "pad") for n in (3, 5, 7, 9, 18)},
    **{f"resnet{9 * n + 2}b": Trunk("bottleneck", (n, n, n), "projection") for n in (3, 6, 12, 18)},
}


class ResNet(nn.Module):
    """Images (B, 3, 32, 32) -> logits (B, classes)."""

    def __init__(self, trunk: Trunk, se: SEConfig | None, stride_on: str) -> None:
        super().__init__()
        width = channels = trunk.width
        stages = range(2, 2 + len(trunk.blocks))
        if se is not None and se.stages != "all" and not set(se.stages) <= set(stages):
            raise ValueError(f"stages {list(se.stages)}: this network has {list(stages)}")
        self.stem = nn.Sequential(
            OrderedDict(
                conv=conv(3, width, 3), norm=nn.BatchNorm2d(width), relu=nn.ReLU(inplace=True)
            )
        )
        for stage, blocks in zip(stages, trunk.blocks, strict=True):
            has_se = se is not None and (se.stages == "all" or stage in se.stages)
            units = []
            for block in range(1, blocks + 1):
                units.append(
                    ResidualUnit(
                        trunk.unit,
                        channels,
                        width,
                        stride=2 if block == 1 and stage > 2 else 1,
                        shortcut=trunk.shortcut,
                        stride_on=stride_on,
                        se=se if has_se else None,
                        name=f"SE_{stage}_{block}",
                    )
                )
                channels = units[-1].channels
            self.add_module(f"stage{stage}", nn.Sequential(*units))
            width *= 2
        self.classifier = nn.Linear(channels, trunk.classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # He et al. 2015b
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        for name, module in self.named_children():
            if name != "classifier":
                x = module(x)
        return self.classifier(pixels(x).mean(1))  # (B, C, H, W) -> (B, C) -> (B, classes)


def list_networks() -> list[str]:
    """The names that `build` knows."""
    return list(NETWORKS)


def build(
    name: str,
    se: SEConfig | None = None,
    classes: int | None = None,
    width: float = 1,
    shortcut: str | None = None,
    stride_on: str = "3x3",
) -> nn.Module:
    """A network by its trunk's name, with random weights.

    Args:
        name: one of `list_networks()`: resnet20 ... resnet110 are basic, resnet29b ... resnet164b
            bottleneck CIFAR networks.
        se: the SE block and its places; None is the plain network.
        classes: outputs; None takes the family's own (10 on CIFAR).
        width: multiplies every channel count; 16 x width must be a whole number.
        shortcut: "pad" or "projection" where a unit changes shape; None takes the family's own.
        stride_on: "3x3" or "1x1", the convolution of a bottleneck that has the stride.

    Raises:
        ValueError: a name or a value that is not allowed, in one sentence that says what is.
    """
    trunk = choose("network", name, NETWORKS)
    channels = trunk.width * width
    if channels < 1 or channels != int(channels):
        raise ValueError(
            f"width {width:g}: {trunk.width} x width must be a whole number, 1 or more"
        )
    trunk = replace(
        trunk,
        width=int(channels),
        classes=trunk.classes if classes is None else classes,
        shortcut=trunk.shortcut if shortcut is None else shortcut,
    )
    return ResNet(trunk, se, stride_on)
