"""Records what the gates of a network do: per channel and class, and by stage."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from senet.block import se_blocks
from senet.config import stage_of
from senet.hooks import Hook, Hooks

NEARLY_ZERO = 1e-5  # a standard deviation below it is rounding


@dataclass(frozen=True)
class GateStatistics:
    """Sums up one block over all images that the probe has seen (the paper's Figures 6 and 7).

    images  (classes,): how many there were of each class
    mean    (classes, C): of each channel's gate over the images of a class; NaN for none. Of what
            was squeezed the same, where it is asked for
    std     (classes, C): its standard deviation (of the population: n in the denominator)
    """

    images: Tensor
    mean: Tensor
    std: Tensor

    def overall(self) -> tuple[Tensor, Tensor, Tensor]:
        """Computes (mean, std, std between classes) of each channel over all images: (C,) each.

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
        """Computes the share of the variance over images that lies between classes: (C',).

        Channels that do not vary are left out.
        """
        _, std, between = self.overall()
        varies = std > NEARLY_ZERO
        return (between[varies] / std[varies]).square()


class _Sums:
    """Adds up numbers (B, C) that come in batches, by the class of their image.

    The classes come as is_class (classes, B), 1 where an image is of the class.
    """

    def __init__(self, first: Tensor, classes: int) -> None:
        self.origin = first  # (C,): sums around a typical value keep their digits
        self.sums = first.new_zeros(2, classes, len(first))  # of the numbers, and of their squares

    def add(self, numbers: Tensor, is_class: Tensor) -> None:
        numbers = numbers - self.origin
        # A product, as `index_add_` adds up in any order on a GPU.
        self.sums += is_class.to(numbers) @ torch.stack([numbers, numbers.square()])

    def statistics(self, images: Tensor) -> GateStatistics:
        """Divides the sums by how many images (classes,) there were; the result is on the CPU."""
        first, second = self.sums.cpu().double() / images[:, None]  # no image: 0 / 0 is NaN
        variance = (second - first.square()).clamp(min=0)
        mean = first + self.origin.cpu().double()
        return GateStatistics(images.clone(), mean, variance.sqrt())


class GateProbe(Hooks):
    """Records the gates of all SE blocks of a model, in one pass over the images.

        with GateProbe(model, classes=10) as probe:
            for x, y in batches:
                logits = probe(x, y)
        probe.statistics()["SE_2_1"].mean  # (10, 256)

    The model's outputs stay as they are, and its hooks come off at the end, also after an error.
    A gate for each pixel (squeeze "none") counts with its mean over the image. A plain network
    has no statistics.
    """

    def __init__(self, model: nn.Module, classes: int) -> None:
        self.model, self.classes = model, classes
        self.images = torch.zeros(classes, dtype=torch.float64)
        self.gates: dict[str, _Sums] = {}  # by name of a block
        self.descriptors: dict[str, _Sums] = {}  # of what was squeezed
        self.is_class = torch.empty(0)  # (classes, B) of the batch: 1 where it is the class
        blocks = se_blocks(model).items()
        gates = [(block.gate, self._recorder(self.gates, name)) for name, block in blocks]
        squeezed = [
            (block.squeeze[0], self._recorder(self.descriptors, name))
            for name, block in blocks
            if not block.blind
        ]
        super().__init__(*gates, *squeezed)

    @torch.no_grad()
    def __call__(self, x: Tensor, labels: Tensor) -> Tensor:
        """Runs the model on images (B, ...) of classes `labels` (B,), and records its gates."""
        self.is_class = F.one_hot(labels, self.classes).T
        self.images += self.is_class.sum(1).cpu()
        return self.model(x)

    def _recorder(self, kept: dict[str, _Sums], name: str) -> Hook:
        def record(module: nn.Module, args: tuple[Tensor, ...], s: Tensor) -> None:
            s = s.detach().to(torch.float32 if s.device.type == "mps" else torch.float64)
            if s.dim() == 3:  # (B, HW, C): a gate for each pixel
                s = s.mean(1)
            if name not in kept:
                kept[name] = _Sums(s[0], self.classes)
            kept[name].add(s, self.is_class)

        return record

    def statistics(self) -> dict[str, GateStatistics]:
        """Returns the statistics of the gates, on the CPU, by block name (SE_stage_block).

        The blocks stand in the network's order.
        """
        return {name: sums.statistics(self.images) for name, sums in self.gates.items()}

    def squeezed(self) -> dict[str, GateStatistics]:
        """Returns the statistics of what was squeezed, z, for the blocks that look at their input.

        They are as those of `statistics`; of a squeeze of two rows (avgmax) they are the first's.
        """
        return {name: sums.statistics(self.images) for name, sums in self.descriptors.items()}


class GateHistograms(Hooks):
    """Records how the gates of each stage are distributed over images and channels.

        with GateHistograms(model) as histograms:
            model(x)
        histograms.by_stage()["2"]["counts"]  # BINS numbers

    Only the first images are looked at, IMAGES of the first batch: this is to watch a training,
    and has to cost nothing. Gates that are fixed (excitation "constant") are left out. A plain
    network has no histograms.
    """

    IMAGES, BINS = 50, 20

    def __init__(self, model: nn.Module) -> None:
        self.seen: dict[str, Tensor] = {}
        super().__init__(
            *(
                (block.gate, self._recorder(name))
                for name, block in se_blocks(model).items()
                if not block.blind or list(block.excite.parameters())
            )
        )

    def _recorder(self, name: str) -> Hook:
        def record(gate: nn.Module, args: tuple[Tensor, ...], s: Tensor) -> None:
            if name not in self.seen:
                s = s.detach()[: self.IMAGES].float()
                self.seen[name] = (s.mean(1) if s.dim() == 3 else s).cpu()  # (B, HW, C): as above

        return record

    def by_stage(self) -> dict[str, dict[str, float | list[int]]]:
        """Returns stage -> mean, std, low, high, counts: of BINS bins of one width, low to high.

        A stage with a gate that is not finite is left out. Ready for JSON: six digits are kept.
        """
        stages: dict[str, list[Tensor]] = {}
        for name, s in self.seen.items():
            stages.setdefault(stage_of(name), []).append(s.flatten())
        gates = {stage: torch.cat(parts) for stage, parts in stages.items()}
        return {stage: _describe(s, self.BINS) for stage, s in gates.items() if s.isfinite().all()}


def _describe(s: Tensor, bins: int) -> dict[str, float | list[int]]:
    low, high = s.min().item(), s.max().item()
    if not low < high:  # gates that are all the same
        low, high = low - 0.01, high + 0.01
    numbers = {"mean": s.mean().item(), "std": s.std().item(), "low": low, "high": high}
    counts = torch.histc(s, bins, low, high).long().tolist()
    return {name: float(f"{x:.6g}") for name, x in numbers.items()} | {"counts": counts}
