"""Builds the named networks: `build("resnet50", se=SEConfig(ratio=4))`."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor, nn

from senet.block import OtherBlock, SqueezeExcite, pixels
from senet.config import SEConfig, find_row
from senet.grafts import GRAFTS, build_grafted
from senet.residual import Mixed, ResidualUnit, Unit, conv


@dataclass(frozen=True)
class Trunk:
    """Describes a residual network without its SE blocks.

    unit        what its residual units have in common
    blocks      units in each stage; the paper's numbers for the stages are 2, 3, ...
    width       of the first stage; doubled at each further one
    stem_width  channels that the stem gives
    stem        a row of STEMS
    classes     outputs
    size        height and width of the images that it is made for
    dropout     before the classifier
    """

    unit: Unit
    blocks: tuple[int, ...]
    width: int = 64
    stem_width: int = 64
    stem: str = "7x7"
    classes: int = 1000
    size: int = 224
    dropout: float = 0.0


def _layers(*parts: tuple[int, int, int, int]) -> list[nn.Module]:
    """Makes convolution, batch norm and ReLU for each (channels_in, channels, size, stride)."""
    return [
        layer
        for part in parts
        for layer in (conv(*part), nn.BatchNorm2d(part[1]), nn.ReLU(inplace=True))
    ]


STEMS: dict[str, Callable[[int], list[nn.Module]]] = {  # from the channels that come out
    "3x3": lambda width: _layers((3, width, 3, 1)),
    "3x3 conv": lambda width: [conv(3, width, 3)],
    "3x3 norm": lambda width: [conv(3, width, 3), nn.BatchNorm2d(width)],
    "7x7": lambda width: [*_layers((3, width, 7, 2)), nn.MaxPool2d(3, 2, padding=1)],
    "three 3x3": lambda width: [
        *_layers((3, width // 2, 3, 2), (width // 2, width // 2, 3, 1), (width // 2, width, 3, 1)),
        nn.MaxPool2d(3, 2, ceil_mode=True),
    ],
}

FINALS: dict[str, Callable[[int], nn.Module]] = {  # what follows the last unit, by order
    "post": lambda channels: nn.Identity(),
    "pre": lambda channels: nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True)),
    "relu": lambda channels: nn.ReLU(inplace=True),
}

BASIC, BOTTLENECK = Unit("basic"), Unit("bottleneck", expansion=4)
PRE_BASIC = Unit("basic", order="pre", shortcut="conv")
PRE_BOTTLENECK = replace(BOTTLENECK, order="pre", shortcut="conv")
NEXT = replace(BOTTLENECK, inner=2, groups=32)  # 32 x 4d: 128 = 2 x 64 channels in the 3x3
SENET = replace(BOTTLENECK, inner=4, groups=64, halved=True, kernel=3)  # 64 x 4d, section 7.4
SHAKE = Unit("basic", order="relu", shortcut="skewed", mix="shake")
SHAKE_NEXT = Unit("bottleneck", "relu", 4, inner=4, groups=4, shortcut="skewed", mix="even")

cifar = partial(Trunk, classes=10, size=32)
small = partial(cifar, width=16, stem_width=16)  # He et al. 2015, section 4.2

IMAGENET_BLOCKS = {
    "resnet18": (BASIC, (2, 2, 2, 2)),
    "resnet34": (BASIC, (3, 4, 6, 3)),
    "resnet50": (BOTTLENECK, (3, 4, 6, 3)),
    "resnet101": (BOTTLENECK, (3, 4, 23, 3)),
    "resnet152": (BOTTLENECK, (3, 8, 36, 3)),
}
PADDED = replace(BASIC, shortcut="pad")

NETWORKS: dict[str, Trunk] = {
    # CIFAR, He et al. 2015: basic units of depth 6n + 2, bottlenecks of depth 9n + 2
    **{f"resnet{6 * n + 2}": small(PADDED, (n,) * 3, stem="3x3") for n in (3, 5, 7, 9, 18)},
    **{f"resnet{9 * n + 2}b": small(BOTTLENECK, (n,) * 3, stem="3x3") for n in (3, 6, 12, 18)},
    # CIFAR with the widths of ImageNet
    **{f"{name}_cifar": cifar(*IMAGENET_BLOCKS[name], stem="3x3")
       for name in ("resnet18", "resnet34", "resnet50", "resnet101")},
    # CIFAR, pre-activation (He et al. 2016) and wide (Zagoruyko and Komodakis 2016)
    "preresnet20": small(PRE_BASIC, (3,) * 3, stem="3x3 conv"),
    "preresnet110": small(PRE_BASIC, (18,) * 3, stem="3x3 conv"),
    "preresnet164": small(PRE_BOTTLENECK, (18,) * 3, stem="3x3 conv"),
    **{f"wrn{6 * n + 4}_{k}": small(PRE_BASIC, (n,) * 3, width=16 * k, stem="3x3 conv")
       for n, k in ((2, 2), (2, 8), (4, 10))},
    # CIFAR, Shake-Shake (Gastaldi 2017)
    "shake26_2x32d": small(SHAKE, (4,) * 3, width=32, stem="3x3 norm"),
    "shake26_2x96d": small(SHAKE, (4,) * 3, width=96, stem="3x3 norm"),
    "shake29_2x4x64d": small(SHAKE_NEXT, (3,) * 3, width=64, stem="3x3 norm"),
    # ImageNet, as torchvision names them
    **{name: Trunk(*blocks) for name, blocks in IMAGENET_BLOCKS.items()},
    "resnext50_32x4d": Trunk(NEXT, (3, 4, 6, 3)),
    "resnext101_32x4d": Trunk(NEXT, (3, 4, 23, 3)),
    "senet154": Trunk(SENET, (3, 8, 36, 3), stem_width=128, stem="three 3x3", dropout=0.2),
}  # fmt: skip


class ResNet(nn.Module):
    """Computes logits (B, classes) from images (B, 3, H, W)."""

    def __init__(self, trunk: Trunk, se: SEConfig | None) -> None:
        super().__init__()
        self.size = trunk.size
        width, channels = trunk.width, trunk.stem_width
        stages = range(2, 2 + len(trunk.blocks))
        if se is not None and se.stages != "all" and not set(se.stages) <= set(stages):
            raise ValueError(f"stages {list(se.stages)}: this network has {list(stages)}")
        self.stem = nn.Sequential(*STEMS[trunk.stem](trunk.stem_width))
        for stage, blocks in zip(stages, trunk.blocks, strict=True):
            here = se if se is not None and (se.stages == "all" or stage in se.stages) else None
            units = OrderedDict()
            for block in range(1, blocks + 1):
                stride = 2 if block == 1 and stage > 2 else 1
                name = f"SE_{stage}_{block}"
                unit = ResidualUnit(trunk.unit, channels, width, stride, here, name)
                units[str(block)], channels = unit, unit.channels
            self.add_module(f"stage{stage}", nn.Sequential(units))
            width *= 2
        self.final = FINALS[trunk.unit.order](channels)
        self.dropout = nn.Dropout(trunk.dropout)
        self.classifier = nn.Linear(channels, trunk.classes)
        blocks = [one for one in self.modules() if isinstance(one, SqueezeExcite | OtherBlock)]
        theirs = {module for block in blocks for module in block.modules()}  # begin as they want
        for module in self.modules():
            # He et al. 2015b; on the meta device no numbers are made
            if isinstance(module, nn.Conv2d) and module not in theirs and not module.weight.is_meta:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def body(self) -> list[nn.Module]:
        """Lists what turns images (B, 3, H, W) into maps (B, C, h, w), first to last."""
        children = self.named_children()
        return [module for name, module in children if name not in ("dropout", "classifier")]

    def head(self, x: Tensor) -> Tensor:
        """Turns the maps (B, C, h, w) into logits (B, classes)."""
        features = pixels(x).mean(1)  # (B, C, h, w) -> (B, C)
        return self.classifier(self.dropout(features))

    def forward(self, x: Tensor) -> Tensor:
        for module in self.body():
            x = module(x)
        return self.head(x)


def list_networks() -> list[str]:
    """Lists the names that `build` knows."""
    return [*NETWORKS, *GRAFTS]


def build(
    name: str,
    se: SEConfig | Callable[[int], nn.Module] | None = None,
    classes: int | None = None,
    width: float = 1,
    shortcut: str | None = None,
    stride_on: str = "3x3",
    branch_scale: float = 1,
) -> nn.Module:
    """Builds a network by its trunk's name, with random weights.

    Args:
        name: one of `list_networks()`.
        se: the SE block and its places; None is the plain network; a function `channels -> Module`
            puts a block of your own at the end of every branch.
        classes: outputs; None takes the family's own, 10 on CIFAR and 1000 on ImageNet.
        width: multiplies every channel count, all of which must stay whole numbers.
        shortcut: a row of SHORTCUTS where a unit changes shape; None takes the family's own.
        stride_on: "3x3" as in torchvision or "1x1" as in the paper: the convolution of a
            bottleneck that has the stride.
        branch_scale: where the weights of the batch norm at the end of every residual branch begin:
            1/2 is the scale of a sigmoid gate at its start, without the gate; 0 is a start as
            identities (Goyal et al. 2017).

    Raises:
        ValueError: a name or a value that is not allowed, in one sentence that says what is.
    """
    if callable(se):
        se = SEConfig(block=se)  # pyright: ignore[reportArgumentType]: a name, where it is on file
    find_row("network", name, dict.fromkeys(list_networks()))
    if name in GRAFTS:
        if (width, shortcut, stride_on, branch_scale) != (1, None, "3x3", 1):
            raise ValueError(
                f"{name} comes from torchvision: it has no width, shortcut, stride_on, branch_scale"
            )
        return build_grafted(name, se, 1000 if classes is None else classes)
    trunk = NETWORKS[name]
    widths = [w * width for w in (trunk.width, trunk.stem_width)]
    if min(widths) < 1 or any(w != int(w) for w in widths):
        base = min(trunk.width, trunk.stem_width)
        raise ValueError(f"width {width:g}: {base} x width must be a whole number, 1 or more")
    unit = replace(trunk.unit, stride_on=stride_on, shortcut=shortcut or trunk.unit.shortcut)
    trunk = replace(
        trunk,
        unit=unit,
        width=int(widths[0]),
        stem_width=int(widths[1]),
        classes=trunk.classes if classes is None else classes,
    )
    network = ResNet(trunk, se)
    if branch_scale != 1:
        _scale_branches(network, branch_scale)
    return network


def _scale_branches(network: ResNet, scale: float) -> None:
    """Sets the weights of the batch norm at the end of every residual branch.

    Raises ValueError where a branch does not end in one: in pre-activation units.
    """
    for unit in network.modules():
        if not isinstance(unit, ResidualUnit):
            continue
        for branch in unit.branch.children() if isinstance(unit.branch, Mixed) else [unit.branch]:
            *_, last = branch.children()
            if not isinstance(last, nn.BatchNorm2d):
                raise ValueError(
                    f"branch_scale {scale:g}: the branches of pre-activation units end in a "
                    "convolution, not in a batch norm: choose another network"
                )
            nn.init.constant_(last.weight, scale)


se_resnet18 = partial(build, "resnet18", SEConfig())
se_resnet34 = partial(build, "resnet34", SEConfig())
se_resnet50 = partial(build, "resnet50", SEConfig())
se_resnet101 = partial(build, "resnet101", SEConfig())
se_resnet152 = partial(build, "resnet152", SEConfig())
