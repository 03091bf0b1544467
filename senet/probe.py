"""What the gates of a network did: per channel and class, and how they are distributed by stage."""

from collections import Counter
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from senet.block import SqueezeExcite
from senet.config import stage_of

NEARLY_ZERO = 1e-5  # a standard deviation below it is rounding


@dataclass(frozen=True)
class GateStatistics:
    """Of one block over all images that the probe has seen (the paper's Figures 6 and 7).

    images  (classes,): how many there were of each class
    mean    (classes, C): of each channel's gate over the images of a class; NaN for none. Of what
            was squeezed the same, where it is asked for
    std     (classes, C): its standard deviation (of the population: n in the denominator)
    """

    images: Tensor
    mean: Tensor
    std: Tensor

    def overall(self) -> tuple[Tensor, Tensor, Tensor]:
        """(mean, std, std between classes) of each channel over all images: (C,) each.

        The last one is that of the class means, each class with its share of the images: its square
        is what the class explains of the variance.
        """
        seen = self.images > 0
        share = (self.images[seen] / self.images.sum())[:, None]  # (seen classes, 1)
        mean = (share * self.mean[seen]).sum(0)
        within = (share * self.std[seen] ** 2).sum(0)
        between = (share * (self.mean[seen] - mean) ** 2).sum(0)
        return mean, (within + between).sqrt(), between.sqrt()

    def class_share(self) -> Tensor:
        """The share of the variance over images that lies between classes, of the channels that
        vary: (C',)."""
        _, std, between = self.overall()
        varies = std > NEARLY_ZERO
        return (between[varies] / std[varies]).square()


class Sums:
    """Sums over the images of each class, of numbers (B, C) that come in batches.

    images come as is_class (classes, B), 1 where an image is of the class.
    """

    def __init__(self, first: Tensor, classes: int) -> None:
        self.origin = first  # (C,): sums around a typical value keep their digits
        self.sums = first.new_zeros(2, classes, len(first))  # of the numbers, and of their squares

    def add(self, numbers: Tensor, is_class: Tensor) -> None:
        numbers = numbers - self.origin
        # A product, as `index_add_` adds up in any order on a GPU.
        self.sums += is_class.to(numbers) @ torch.stack([numbers, numbers.square()])

    def statistics(self, images: Tensor) -> GateStatistics:
        """On the CPU; images (classes,) of each class."""
        first, second = (
            self.sums.cpu().double() / images[:, None]
        )  # 0 / 0 is NaN: no image, no mean
        variance = (second - first.square()).clamp(min=0)
        mean = first + self.origin.cpu().double()
        return GateStatistics(images.clone(), mean, variance.sqrt())


class GateProbe:
    """Records the gates of all SE blocks of a model, in one pass over the images.

        with GateProbe(model, classes=10) as probe:
            for x, y in batches:
                logits = probe(x, y)
        probe.statistics()["SE_2_1"].mean  # (10, 256)

    The model's outputs stay as they are, and its hooks come off at the end, also after an error.
    A gate for each pixel (squeeze "none") counts with its mean over the image.

    Args:
        model: with SqueezeExcite blocks; a plain network has no statistics.
        classes: how many there are.
    """

    def __init__(self, model: nn.Module, classes: int) -> None:
        self.model, self.classes = model, classes
        found = [module for module in model.modules() if isinstance(module, SqueezeExcite)]
        names = Counter(block.name for block in found)
        if twice := [name for name, number in names.items() if number > 1]:
            raise ValueError(f"two blocks are called {twice[0]!r}: give each a name of its own")
        self.blocks = {block.name: block for block in found}
        self.images = torch.zeros(classes, dtype=torch.float64)
        self.gates: dict[str, Sums] = {}  # by name of a block
        self.descriptors: dict[str, Sums] = {}  # of what was squeezed
        self.is_class: Tensor | None = None  # (classes, B) of the batch: 1 where it is the class
        self.handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> Self:
        for name, block in self.blocks.items():
            self.handles.append(block.gate.register_forward_hook(self.recorder(self.gates, name)))
            if not block.blind:
                record = self.recorder(self.descriptors, name)
                self.handles.append(block.squeeze[0].register_forward_hook(record))
        return self

    def __exit__(self, *_) -> None:
        for handle in self.handles:
            handle.remove()
        self.handles.clear()

    @torch.no_grad()
    def __call__(self, x: Tensor, labels: Tensor) -> Tensor:
        """The model's output for images (B, ...) of classes `labels` (B,); records its gates."""
        self.is_class = F.one_hot(labels, self.classes).T
        self.images += self.is_class.sum(1).cpu()
        return self.model(x)

    def recorder(self, kept: dict[str, Sums], name: str):
        def record(module: nn.Module, args: tuple[Tensor, ...], s: Tensor) -> None:
            s = s.detach().to(torch.float32 if s.device.type == "mps" else torch.float64)
            if s.dim() == 3:  # (B, HW, C): a gate for each pixel
                s = s.mean(1)
            if name not in kept:
                kept[name] = Sums(s[0], self.classes)
            kept[name].add(s, self.is_class)

        return record

    def statistics(self) -> dict[str, GateStatistics]:
        """By the block's name, SE_stage_block, in the order of the network; on the CPU."""
        return {name: sums.statistics(self.images) for name, sums in self.gates.items()}

    def squeezed(self) -> dict[str, GateStatistics]:
        """The same of what was squeezed, z, of the blocks that look at their input; of a squeeze
        of two rows (avgmax) of the first."""
        return {name: sums.statistics(self.images) for name, sums in self.descriptors.items()}


class GateHistograms:
    """How the gates of each stage are distributed over images and channels.

        with GateHistograms(model) as histograms:
            model(x)
        histograms.by_stage()["2"]["counts"]  # BINS numbers

    Only the first images are looked at, IMAGES of the first batch: this is to watch a training,
    and has to cost nothing. Gates that are fixed (excitation "constant") are left out.

    Args:
        model: with SqueezeExcite blocks; a plain network has no histograms.
    """

    IMAGES, BINS = 50, 20

    def __init__(self, model: nn.Module) -> None:
        found = [module for module in model.modules() if isinstance(module, SqueezeExcite)]
        self.blocks = [b for b in found if not b.blind or list(b.excite.parameters())]
        self.seen: dict[str, Tensor] = {}
        self.handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> Self:
        for block in self.blocks:
            self.handles.append(block.gate.register_forward_hook(self.recorder(block.name)))
        return self

    def __exit__(self, *_) -> None:
        for handle in self.handles:
            handle.remove()
        self.handles.clear()

    def recorder(self, name: str):
        def record(gate: nn.Module, args: tuple[Tensor, ...], s: Tensor) -> None:
            if name not in self.seen:
                s = s.detach()[: self.IMAGES].float()
                self.seen[name] = (s.mean(1) if s.dim() == 3 else s).cpu()  # (B, HW, C): as above

        return record

    def by_stage(self) -> dict[str, dict[str, float | list[int]]]:
        """Stage -> mean, std, low, high, counts: of BINS bins of one width from low to high.

        A stage with a gate that is not finite is left out. Ready for JSON: six digits are kept.
        """
        stages: dict[str, list[Tensor]] = {}
        for name, s in self.seen.items():
            stages.setdefault(stage_of(name), []).append(s.flatten())
        gates = {stage: torch.cat(parts) for stage, parts in stages.items()}
        return {stage: describe(s, self.BINS) for stage, s in gates.items() if s.isfinite().all()}


def describe(s: Tensor, bins: int) -> dict[str, float | list[int]]:
    low, high = s.min().item(), s.max().item()
    if not low < high:  # gates that are all the same
        low, high = low - 0.01, high + 0.01
    numbers = {"mean": s.mean().item(), "std": s.std().item(), "low": low, "high": high}
    counts = torch.histc(s, bins, low, high).long().tolist()
    return {name: float(f"{x:.6g}") for name, x in numbers.items()} | {"counts": counts}
