"""Chooses, packs and reads the images of CIFAR-10 mini, which lies in this repository.

    .venv/bin/python -m experiments.data.mini DATA_DIR/cifar10.npz

writes its files again, from all images of CIFAR-10 in the official order, with the same bytes where
Pillow has the same version of libwebp. The rule by which they are chosen has no random numbers: of
each class the first 250 training images are trained on, the next 100 are held out, and the first
200 test images are the test set. Images of which only a copy from JPEG was at hand are passed over.
Each part keeps the official order.

train.webp, test.webp  mosaics of tiles of 32 x 32 pixels, row by row; lossless
images.csv             the tiles: which part of which split, number in the official order, label
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.data.formats import CIFAR10_NAMES
from experiments.records.files import write_bytes

if TYPE_CHECKING:
    import numpy as np

FOLDER = Path(__file__).parent / "cifar10_mini"
EACH = {"training": 250, "held out": 100, "test": 200}  # images of a class in each part
COLUMNS, SIDE = 50, 32  # tiles in a row of a mosaic; pixels
FROM_JPEG = {  # numbers of the images whose copy at hand is not exact: 85 and 23
    "train": {
        1299, 1506, 2110, 3904, 3998, 4298, 5949, 7066, 7237, 7248, 7630, 8006, 8831, 8968, 9415,
        11027, 12762, 12834, 13546, 21493, 25728, 26098, 26927, 27621, 28435, 28670, 28728, 29694,
        29747, 31367, 31462, 31625, 31663, 32777, 33446, 33641, 33661, 34067, 34276, 34387, 34471,
        34825, 35160, 35646, 36733, 37329, 37474, 37567, 38089, 38384, 38925, 39069, 39358, 39385,
        39613, 39840, 39888, 39971, 41761, 41779, 42004, 42389, 42611, 43357, 43883, 44420, 44882,
        45168, 45240, 46175, 46435, 46538, 46624, 47393, 47597, 48081, 48124, 48333, 48821, 48836,
        49321, 49429, 49631, 49830, 49857,
    },
    "test": {
        1259, 1369, 1422, 1556, 2245, 2737, 2935, 3630, 3695, 3718, 4085, 4496, 5791, 5896, 6286,
        7580, 7707, 7724, 7832, 8117, 8541, 8551, 9254,
    },
}  # fmt: skip


def read(folder: Path) -> dict[str, Any]:
    """Reads the arrays of a prepared file; the images held out are the last training images."""
    import numpy as np
    from PIL import Image

    arrays: dict[str, Any] = {"class_names": np.array(CIFAR10_NAMES)}
    labels: dict[str, list[int]] = {"train": [], "test": []}
    with (folder / "images.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            labels["test" if row["part"] == "test" else "train"].append(int(row["label"]))
    for split, numbers in labels.items():
        with Image.open(folder / f"{split}.webp") as picture:
            arrays[f"{split}_images"] = tiles(np.asarray(picture.convert("RGB")))
        arrays[f"{split}_labels"] = np.array(numbers)
    return arrays


def choose(labels: dict[str, np.ndarray]) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yields (part, split, numbers of its images) by the rule, from all labels of each split."""
    import numpy as np

    for split, parts in (("train", ("training", "held out")), ("test", ("test",))):
        begin = 0
        for part in parts:
            chosen = []
            for label in range(len(CIFAR10_NAMES)):
                all_of_it = np.flatnonzero(labels[split] == label).tolist()
                exact = [number for number in all_of_it if number not in FROM_JPEG[split]]
                chosen += exact[begin : begin + EACH[part]]
            yield part, split, np.sort(chosen)
            begin += EACH[part]


def pack(images: dict[str, np.ndarray], labels: dict[str, np.ndarray], folder: Path) -> None:
    """Writes the files of CIFAR-10 mini into a folder, from all images of CIFAR-10 in its order.

    `images` and `labels` are by split, uint8 (N, 32, 32, 3) and (N,).
    """
    import numpy as np
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    numbers: dict[str, list[np.ndarray]] = {"train": [], "test": []}
    rows = ["part,number,label"]
    for part, split, chosen in choose(labels):
        numbers[split].append(chosen)
        rows += [f"{part},{number},{labels[split][number]}" for number in chosen]
    text = "\n".join([*rows, ""]).encode()
    write_bytes(folder / "images.csv", text)
    for split, parts in numbers.items():
        packed = io.BytesIO()
        picture = Image.fromarray(_mosaic(images[split][np.concatenate(parts)]))
        picture.save(packed, "webp", lossless=True, quality=75, method=6)
        content = packed.getvalue()
        write_bytes(folder / f"{split}.webp", content)


def _mosaic(images: np.ndarray) -> np.ndarray:
    """Lays images (N, 32, 32, 3) out in rows of COLUMNS tiles: (N / COLUMNS * 32, ..., 3)."""
    rows = images.reshape(-1, COLUMNS, SIDE, SIDE, 3)
    return rows.transpose(0, 2, 1, 3, 4).reshape(-1, COLUMNS * SIDE, 3)


def tiles(picture: np.ndarray) -> np.ndarray:
    """Cuts a mosaic into its images again."""
    rows = picture.reshape(-1, SIDE, COLUMNS, SIDE, 3)
    return rows.transpose(0, 2, 1, 3, 4).reshape(-1, SIDE, SIDE, 3)


if __name__ == "__main__":
    import numpy

    with numpy.load(sys.argv[1], allow_pickle=False) as every:
        both = ("train", "test")
        pack(
            {split: every[f"{split}_images"] for split in both},
            {split: every[f"{split}_labels"] for split in both},
            FOLDER,
        )
