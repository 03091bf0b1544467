"""Packs and reads what a run's record keeps of its gates: gates.npz. No torch here.

    class_names   (classes,)             as in the data set
    images        (classes,)             test images of each class
    blocks        (blocks,)              their names, SE_stage_block, in the network's order
    widths        (blocks,)              C of each, or as many of its channels as fit
    overall       (3, sum of C)          mean, standard deviation over all images, and that of the
                                         class means (each class with its share of the images)
    kept          (blocks,)              channels of each block that are kept by class
    channels      (sum of kept,)         their numbers, evenly spaced
    by_class      (2, classes, sum of kept)  mean and standard deviation within each class
    walk_*                               one image on its way through one block (see `Walk`)

Numbers are float16. By class as many channels are kept as fit into LIMIT: all of resnet29b's on
CIFAR-10, a sample of larger networks'; with more than 10 classes for seed 0 only. Of the largest
networks not even all channels over all classes fit: then there is a sample of these alone. Seeds
from SEEDS on keep none.
"""

import io
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from experiments.records.parsing import ConfigError

LIMIT = 128 * 1024  # bytes of the file
HEADERS = 6 * 1024  # of them, for what is not numbers
ROOM = LIMIT - 32 * 1024  # of them for the numbers over all classes, if they need so much
FEW_CLASSES = 10
SEEDS = 3  # of a cell whose gates are kept: those of more tell nothing else, and take room
NEARLY_ZERO = 1e-5  # a standard deviation below it has too few digits left in float16


@dataclass(frozen=True)
class Block:
    """Holds statistics of the gates of one block.

    mean, std, between         (C,): over all images; `between` is the deviation of the class means;
                               where not even these fit, of evenly spaced channels
    channels                   (k,): numbers of those that are kept by class; k may be 0
    class_mean, class_std      (classes, k)
    """

    mean: np.ndarray
    std: np.ndarray
    between: np.ndarray
    channels: np.ndarray
    class_mean: np.ndarray
    class_std: np.ndarray

    def class_share(self) -> np.ndarray:
        """Returns the share of each channel's variance over images that is between classes: (C',).

        It leaves out channels that vary too little for float16 (NEARLY_ZERO).
        """
        varies = self.std > NEARLY_ZERO
        return (self.between[varies] / self.std[varies]) ** 2


@dataclass(frozen=True)
class Walk:
    """Holds what one block computes from one test image.

    image     uint8 (H, W, 3)
    label     its class
    block     the block's name
    z, s      (C,): what was squeezed, and the gates
    channels  (n,): numbers of some, from the widest gate to the narrowest
    x         (n, h, w): what goes into the block on these channels; s * x comes out
    """

    image: np.ndarray
    label: int
    block: str
    z: np.ndarray
    s: np.ndarray
    channels: np.ndarray
    x: np.ndarray


@dataclass(frozen=True)
class Gates:
    class_names: list[str]
    images: np.ndarray
    blocks: dict[str, Block]
    walk: Walk | None


def small(numbers: np.ndarray) -> np.ndarray:
    """Returns numbers as float16; what is larger than its largest number becomes that."""
    largest = np.finfo(np.float16).max
    return np.clip(numbers, -largest, largest).astype(np.float16)


def pack_gates(gates: Gates, seed: int) -> bytes:
    """Returns the content of gates.npz, at most LIMIT bytes.

    The blocks come with all channels by class."""
    full = [len(block.mean) for block in gates.blocks.values()]
    widths = [min(width, most(full, ROOM // 6)) for width in full]  # three float16 a channel
    overall = [
        np.stack([block.mean, block.std, block.between])[:, spaced(len(block.mean), width)]
        for block, width in zip(gates.blocks.values(), widths, strict=True)
    ]
    classes = len(gates.class_names)
    arrays = {
        "class_names": np.array(gates.class_names),
        "images": np.asarray(gates.images, np.int32),
        "blocks": np.array(list(gates.blocks)),
        "widths": np.array(widths, np.int32),
        "overall": joined(overall),
    }
    if gates.walk is not None:
        walk = vars(gates.walk).items()
        arrays |= {
            f"walk_{name}": small(value) if name in ("z", "s", "x") else np.asarray(value)
            for name, value in walk
        }
    left = LIMIT - HEADERS - sum(array.nbytes for array in arrays.values())
    each = 2 * 2 * classes + 2  # bytes of a channel: two float16 a class, and its number
    keeps = (classes <= FEW_CLASSES or seed == 0) and widths == full
    kept = [min(width, most(widths, left // each if keeps else 0)) for width in widths]
    samples = [spaced(width, k) for width, k in zip(widths, kept, strict=True)]
    by_class = [
        np.stack([block.class_mean[:, sample], block.class_std[:, sample]])
        for block, sample in zip(gates.blocks.values(), samples, strict=True)
    ]
    arrays |= {
        "kept": np.array(kept, np.int32),
        "channels": np.concatenate(samples).astype(np.uint16),
        "by_class": joined(by_class),
    }
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def joined(parts: list[np.ndarray]) -> np.ndarray:
    """Joins arrays along their last axis, the channels, as float16."""
    return small(np.concatenate(parts, axis=-1))


def most(widths: list[int], room: int) -> int:
    """Returns how many channels a block may keep at most, so that all blocks' fit into `room`."""
    return max(k for k in range(max(widths) + 1) if sum(min(k, w) for w in widths) <= max(0, room))


def spaced(width: int, number: int) -> np.ndarray:
    """Returns `number` channel numbers, evenly spaced from the first to the last of `width`."""
    return np.linspace(0, width - 1, number).round().astype(int)


def unpack(path: Path) -> Gates:
    """Reads gates.npz. Raises ConfigError where it cannot be read."""
    try:
        with np.load(path) as file:
            arrays = dict(file)
        return parse(arrays)
    except (OSError, ValueError, KeyError, IndexError, EOFError, BadZipFile, zlib.error) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None


def parse(arrays: Mapping[str, np.ndarray]) -> Gates:
    def numbers(name: str) -> np.ndarray:
        return arrays[name].astype(np.float64)

    overall = np.split(numbers("overall"), arrays["widths"].cumsum()[:-1], axis=-1)
    kept = arrays["kept"].cumsum()[:-1]
    channels = np.split(arrays["channels"].astype(int), kept)
    by_class = np.split(numbers("by_class"), kept, axis=-1)
    blocks = {
        str(name): Block(*everywhere, sample, *classes)  # pyright: ignore[reportCallIssue]
        for name, everywhere, sample, classes in zip(
            arrays["blocks"], overall, channels, by_class, strict=True
        )
    }
    walk = None
    if "walk_block" in arrays:
        walk = Walk(
            image=arrays["walk_image"],
            label=int(arrays["walk_label"]),
            block=str(arrays["walk_block"]),
            z=numbers("walk_z"),
            s=numbers("walk_s"),
            channels=arrays["walk_channels"].astype(int),
            x=numbers("walk_x"),
        )
    return Gates(list(map(str, arrays["class_names"])), arrays["images"], blocks, walk)
