"""Keeps images on the device, where one gather cuts and flips a batch that is then normalised."""

import threading
from collections.abc import Iterator
from copy import copy
from typing import Self

import numpy as np
import torch
from torch import Tensor

from experiments.data.datasets import DATASETS, Arrays
from experiments.data.holdout import held_out
from experiments.records.config import Recipe

SHARED: dict[tuple, tuple] = {}  # what `shared` keeps
SHARING = threading.Lock()
PAD = 4  # zero-padding on each side before the random crop (He et al. 2015, section 4.2)


class Images:
    """Holds uint8 images and their labels on a device, and makes batches of them.

    Args:
        images: uint8 (N, 32, 32, 3).
        labels: (N,).
        mean, std: of the pixels by channel, on a scale from 0 to 1.
        padded: keeps the images zero-padded, as `shuffled` needs them.

    Batches are float32 (B, 3, 32, 32) in channels-last memory, and labels (B,).
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: torch.device,
        padded: bool = False,
    ) -> None:
        self.device = device
        self.pad = PAD if padded else 0
        self.size = images.shape[1]
        side = self.size + 2 * self.pad
        # A fourth, empty channel makes a pixel one int32: a gather moves it in one go.
        pixels = torch.zeros(len(images), side, side, 4, dtype=torch.uint8)
        inside = slice(self.pad, self.pad + self.size)
        pixels[:, inside, inside, :3] = torch.from_numpy(images)
        self.pixels = pixels.view(torch.int32).reshape(-1).to(device)  # (N * side * side,)
        self.labels = torch.from_numpy(labels).to(device)
        scale = 1 / (255 * torch.tensor(std, dtype=torch.float32))
        self.scale = scale.to(device)
        self.shift = (-255 * torch.tensor(mean, dtype=torch.float32) * scale).to(device)

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, number: int | None) -> Self:
        """Returns the first `number` images, or all where it is None."""
        some = copy(self)
        some.labels = self.labels[:number]
        return some

    def image(self, number: int) -> np.ndarray:
        """Returns one image as it was given: uint8 (H, W, 3)."""
        side = self.size + 2 * self.pad
        inside = slice(self.pad, self.pad + self.size)
        pixels = self.pixels.view(-1, side, side)[number, inside, inside].cpu().contiguous()
        return pixels.view(torch.uint8).unflatten(-1, (self.size, 4))[..., :3].numpy()

    def in_order(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields every image once, in order, neither cropped nor flipped."""
        for which in torch.arange(len(self), device=self.device).split(batch_size):
            corner = torch.full_like(which, self.pad)
            flip = torch.zeros_like(which, dtype=torch.bool)
            yield self.cut(which, corner, corner, flip), self.labels[which]

    def shuffled(
        self, batch_size: int, generator: torch.Generator, cutout: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields every image once, in random order, each cropped and flipped on its own.

        The last batch is smaller where the number does not divide. All random numbers of the
        epoch are drawn at its start, so that `generator`, which is on the images' device, has one
        state between two epochs. `cutout` is the side of a square that is blanked at a random place
        of each image, which may reach over its edge (DeVries and Taylor 2017); 0 is none.
        """
        draws = self.draw(generator, cutout)
        for numbers in torch.arange(len(self), device=self.device).split(batch_size):
            yield self.batch(draws, numbers, cutout)

    def draw(self, generator: torch.Generator, cutout: int = 0) -> Tensor:
        """Draws an epoch's order, top, left and flip: int64 (4, N).

        With cutout also the row and the column of its square: (6, N).
        """
        n, options = len(self), {"device": self.device, "generator": generator}
        order = torch.randperm(n, **options)
        corner = torch.randint(2 * self.pad + 1, (2, n), **options)
        flip = torch.randint(2, (n,), **options)
        draws = [order[None], corner, flip[None]]
        if cutout:
            draws.append(torch.randint(self.size, (2, n), **options))
        return torch.cat(draws)

    def batch(self, draws: Tensor, numbers: Tensor, cutout: int = 0) -> tuple[Tensor, Tensor]:
        """Makes a batch of the places `numbers` (B,) of the drawn epoch, as `shuffled` does."""
        which, top, left, flip, *centre = draws[:, numbers]
        x = self.cut(which, top, left, flip.bool())
        if cutout:
            x = self.blank(x, centre[0], centre[1], cutout)
        return x, self.labels[which]

    def blank(self, x: Tensor, row: Tensor, column: Tensor, side: int) -> Tensor:
        """Sets a square around (row, column), each (B,), to zero, which is the mean colour."""
        steps = torch.arange(self.size, device=self.device)
        inside = [
            (steps >= centre[:, None] - side // 2) & (steps < centre[:, None] + (side + 1) // 2)
            for centre in (row, column)
        ]  # (B, 32) each
        return x.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0.0)

    def cut(self, which: Tensor, top: Tensor, left: Tensor, flip: Tensor) -> Tensor:
        """Cuts windows of padded images by number, corner and flip: (B,) each -> (B, 3, 32, 32)."""
        steps, side = torch.arange(self.size, device=self.device), self.size + 2 * self.pad
        rows = top[:, None] + steps  # (B, 32)
        columns = left[:, None] + torch.where(flip[:, None], self.size - 1 - steps, steps)
        index = (which[:, None] * side + rows)[:, :, None] * side + columns[:, None, :]
        window = self.pixels[index].view(torch.uint8).unflatten(-1, (self.size, 4))[..., :3]
        return (window * self.scale + self.shift).permute(0, 3, 1, 2)  # NHWC memory


def split(
    arrays: Arrays, recipe: Recipe, device: torch.device
) -> tuple[Images, Images | None, Images]:
    """Returns the images to train on, those of the curves (None without a holdout), to test on."""
    training, curve = held_out(arrays, recipe)
    source = DATASETS[arrays.name]

    def images(pixels: np.ndarray, labels: np.ndarray, padded: bool = False) -> Images:
        return Images(pixels, labels, source.mean, source.std, device, padded)

    return (
        images(arrays.train_images[training], arrays.train_labels[training], padded=True),
        images(arrays.train_images[curve], arrays.train_labels[curve]) if len(curve) else None,
        images(arrays.test_images[: recipe.test_images], arrays.test_labels[: recipe.test_images]),
    )


def shared(
    arrays: Arrays, recipe: Recipe, device: torch.device
) -> tuple[Images, Images | None, Images]:
    """Returns the images to train on, of the curves and to test on, which all runs here share.

    They are those of `split`. Each device keeps the last ones, for runs that ask for the same ones
    after another.
    """
    key = (arrays.name, arrays.fingerprint, recipe.holdout, recipe.train_images)
    key += (recipe.curve_images, recipe.test_images, device)
    with SHARING:
        if key not in SHARED:
            for other in [other for other in SHARED if other[-1] == device]:
                del SHARED[other]
            SHARED[key] = split(arrays, recipe, device)
            if device.type == "cuda":  # before another stream reads it
                torch.cuda.current_stream(device).synchronize()
        return SHARED[key]
