"""Data: what a batch holds, and what is refused or fetched."""

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as TF

from experiments.data.datasets import Arrays, load_data
from experiments.data.holdout import held_out
from experiments.data.images import PAD, Images
from experiments.data.prepare import prepare, prepare_any
from experiments.records.config import Recipe
from experiments.records.parsing import ConfigError

SILENT = lambda text, style=None: None  # noqa: E731
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def some(n: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8), random.integers(0, 10, n)


def usual(image: np.ndarray) -> torch.Tensor:
    """What torchvision makes of an image: (3, 32, 32)."""
    return TF.normalize(TF.to_tensor(image), MEAN, STD)


def test_images_in_order_are_torchvisions():
    pixels, labels = some(10)
    images = Images(pixels, labels, MEAN, STD, torch.device("cpu"), padded=True)
    batches = list(images.in_order(4))
    assert [len(y) for _, y in batches] == [4, 4, 2]
    x = torch.cat([x for x, _ in batches])
    torch.testing.assert_close(x, torch.stack([usual(i) for i in pixels]), rtol=1e-5, atol=1e-6)
    assert torch.equal(torch.cat([y for _, y in batches]), torch.from_numpy(labels))
    assert batches[0][0].is_contiguous(memory_format=torch.channels_last)


def test_every_window_is_torchvisions_crop_and_flip():
    pixels, labels = some(1)
    images = Images(pixels, labels, MEAN, STD, torch.device("cpu"), padded=True)
    padded = TF.pad(torch.from_numpy(pixels[0]).permute(2, 0, 1), PAD)
    for top in range(2 * PAD + 1):
        for left in range(2 * PAD + 1):
            for flip in (False, True):
                window = TF.crop(padded, top, left, 32, 32)
                window = TF.hflip(window) if flip else window
                ours = images.cut(*(torch.tensor([v]) for v in (0, top, left, flip)))[0]
                theirs = TF.normalize(window / 255, MEAN, STD)
                torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_an_epoch_has_every_image_once_and_draws_crops_and_flips_evenly():
    n = 4000
    pixels = np.zeros((n, 32, 32, 3), np.uint8)
    pixels[:, 12, 13] = 255  # one bright pixel tells crop and flip
    images = Images(pixels, np.arange(n), (0, 0, 0), (1, 1, 1), torch.device("cpu"), padded=True)
    random = torch.Generator().manual_seed(0)
    batches = list(images.shuffled(96, random))
    numbers = torch.cat([y for _, y in batches])
    assert torch.equal(numbers.sort().values, torch.arange(n))
    assert not torch.equal(numbers, torch.arange(n))
    assert [len(y) for _, y in batches] == [96] * 41 + [64]
    row, column = torch.cat([x for x, _ in batches])[:, 0].flatten(1).argmax(1).div(
        torch.tensor([[32], [1]]), rounding_mode="floor"
    ) % torch.tensor([[32], [32]])  # fmt: skip
    assert set(row.tolist()) == set(range(12 - PAD, 12 + PAD + 1))
    flipped = 31 - 13
    assert set(column.tolist()) == set(range(13 - PAD, 13 + PAD + 1)) | set(
        range(flipped - PAD, flipped + PAD + 1)
    )
    counts = torch.bincount(row - 8)
    assert (counts.double() / n - 1 / 9).abs().max() < 5 * (8 / 81 / n) ** 0.5  # five sigma
    assert not torch.equal(torch.cat([y for _, y in images.shuffled(96, random)]), numbers)


@pytest.mark.parametrize("side", [1, 7, 16])
def test_cutout_blanks_a_square_that_may_reach_over_the_edge(side):
    n = 600
    pixels = np.full((n, 32, 32, 3), 255, np.uint8)
    images = Images(pixels, np.arange(n), (0, 0, 0), (1, 1, 1), torch.device("cpu"), padded=False)
    x = torch.cat([x for x, _ in images.shuffled(100, torch.Generator().manual_seed(1), side)])
    blank = (x == 0).all(1)  # (n, 32, 32)
    rows, columns = blank.any(2), blank.any(1)
    assert torch.equal(blank, rows[:, :, None] & columns[:, None, :]), "a rectangle"
    for hit in (rows.sum(1), columns.sum(1)):
        assert hit.max() == side and hit.min() >= (side + 1) // 2
    centres = {
        (r.nonzero().min().item(), c.nonzero().min().item())
        for r, c in zip(rows, columns, strict=True)
    }
    assert len(centres) > n / 4, "each image has its own place"


def arrays(train: int, test: int = 4) -> Arrays:
    a, b = some(train), some(test)
    return Arrays("cifar10", *a, *b, tuple("abcdefghij"), "x")


def test_the_same_images_are_held_out_whatever_the_recipe_trains_on():
    data = arrays(600)
    everything = Recipe(name="own", epochs=1, holdout=100)
    training, curve = held_out(data, everything)
    assert len(training) == 500 and len(curve) == 100
    assert sorted([*training, *curve]) == list(range(600))
    fewer = everything.model_copy(update={"train_images": 50, "curve_images": 10})
    assert held_out(data, fewer)[0].tolist() == training[:50].tolist()
    assert held_out(data, fewer)[1].tolist() == curve[:10].tolist()
    none = everything.model_copy(update={"holdout": 0})
    assert len(held_out(data, none)[0]) == 600 and len(held_out(data, none)[1]) == 0


@pytest.mark.parametrize(
    ("name", "number", "left"),
    [("holdout", 600, 599), ("train_images", 501, 500),
     ("test_images", 5, 4)],
)  # fmt: skip
def test_too_few_images_are_refused(name, number, left):
    recipe = Recipe(**{"name": "own", "epochs": 1, "holdout": 100, name: number})
    with pytest.raises(ConfigError) as error:
        held_out(arrays(600), recipe)
    assert f"recipe.{name} {number}: cifar10 has 600 training and 4 test" in str(error.value)
    assert str(error.value).endswith(f"of which {left} are left for it")


def prepared(folder, **changes):
    data = {
        "train_images": some(20)[0], "train_labels": some(20)[1],
        "test_images": some(8)[0], "test_labels": some(8)[1],
        "class_names": np.array(list("abcdefghij")),
    } | changes  # fmt: skip
    path = folder / "cifar10.npz"
    np.savez(path, **{key: value for key, value in data.items() if value is not None})
    return path


def test_an_existing_file_is_used_as_it_is(tmp_path):
    path = prepared(tmp_path)
    before = path.read_bytes()
    prepare("cifar10", tmp_path, SILENT)
    data = load_data("cifar10", tmp_path)
    assert path.read_bytes() == before
    assert np.array_equal(data.train_images, some(20)[0]) and data.train_labels.dtype == np.int64
    changed = some(20)[0].copy()
    changed[0, 0, 0, 0] ^= 1
    prepared(tmp_path, train_images=changed)
    assert load_data("cifar10", tmp_path).fingerprint != data.fingerprint


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_images": some(20)[0][:, :28]}, "train_images has the shape (20, 28, 32, 3)"),
        ({"train_images": some(20)[0].astype(float)}, "of float64, not N x 32 x 32 x 3 of uint8"),
        ({"train_labels": some(20)[1] + 5}, "not from 0 to 9"),
        ({"train_labels": some(20)[1] / 2}, "of float64, not N of whole numbers"),
        ({"train_labels": some(19)[1]}, "20 train_images but 19 train_labels"),
        ({"test_images": None}, "the array 'test_images' is missing"),
        ({"class_names": np.array(["a"])}, "1 class_names for 10 classes"),
        ({"test_images": np.zeros((0, 32, 32, 3), np.uint8)}, "test_images has the shape (0,"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path, changes, message):
    prepared(tmp_path, **changes)
    with pytest.raises(ConfigError) as error:
        load_data("cifar10", tmp_path)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text"])
def test_a_damaged_file_is_an_error_and_never_a_reason_to_fall_back(tmp_path, damage):
    path = prepared(tmp_path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    new = {"truncated": content[:-200], "flipped": content, "empty": b"", "text": b"hello"}
    path.write_bytes(new[damage])
    with pytest.raises(ConfigError, match="is damaged"):
        load_data(prepare_any("auto", tmp_path, SILENT), tmp_path)


def test_a_missing_file_says_how_to_get_it(tmp_path):
    with pytest.raises(ConfigError, match="make data DATASET=cifar100"):
        load_data("cifar100", tmp_path)
