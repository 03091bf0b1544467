"""CIFAR-10 mini: what is in the repository is what its rule chooses of CIFAR-10."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from test_data import SILENT

from experiments.data import mini
from experiments.data.datasets import caveat, load_data, origin
from experiments.data.holdout import held_out
from experiments.data.prepare import prepare
from experiments.records.config import Recipe

PARTS = {"training": 2500, "held out": 1000, "test": 2000}


@pytest.fixture(scope="module")
def prepared(once):
    folder = once("mini", lambda folder: prepare("cifar10_mini", folder, SILENT))
    return load_data("cifar10_mini", folder)


def table() -> list[dict[str, str]]:
    with (mini.FOLDER / "images.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_each_part_is_balanced_exact_and_in_the_official_order():
    rows = table()
    assert list(dict.fromkeys(row["part"] for row in rows)) == list(PARTS)
    for part, images in PARTS.items():
        labels = [int(row["label"]) for row in rows if row["part"] == part]
        numbers = [int(row["number"]) for row in rows if row["part"] == part]
        assert np.bincount(labels).tolist() == [images / 10] * 10
        assert numbers == sorted(set(numbers))
        assert not mini.FROM_JPEG["test" if part == "test" else "train"] & set(numbers)
    train = [row["number"] for row in rows if row["part"] != "test"]
    assert len(set(train)) == 3500, "none is trained on and held out"
    assert sum(map(len, mini.FROM_JPEG.values())) == 108


def test_the_held_out_images_are_its_own_whatever_a_recipe_asks_for(prepared):
    usual = Recipe(name="own", epochs=1, train_images=512)
    training, curve = held_out(prepared, usual)
    assert usual.holdout == 5000 and curve.tolist() == list(range(2500, 3500))
    assert len(training) == 512 and training.max() < 2500
    assert np.bincount(prepared.train_labels[curve]).tolist() == [100] * 10
    every = held_out(prepared, Recipe(name="own", epochs=1))[0]
    assert sorted(every) == list(range(2500)) and every[:512].tolist() == training.tolist()


def test_it_is_never_called_cifar_10_alone(prepared):
    assert "CIFAR-10 mini: 2,500 training" in caveat("cifar10_mini")
    assert "images of CIFAR-10" in origin(prepared.name, prepared.fingerprint)
    assert "NOT" in origin(prepared.name, "0" * 16)


def test_what_is_packed_is_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(mini, "EACH", {"training": 10, "held out": 5, "test": 5})
    random = np.random.default_rng(0)
    images = {split: random.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
              for split, n in (("train", 3000), ("test", 2000))}  # fmt: skip
    labels = {split: random.permutation(np.arange(len(images[split])) % 10) for split in images}
    folders = [tmp_path / "once", tmp_path / "again"]
    for folder in folders:
        mini.pack(images, labels, folder)
    names = sorted(path.name for path in folders[0].iterdir())
    assert names == ["images.csv", "test.webp", "train.webp"]
    for name in names:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
    arrays = mini.read(folders[0])
    for split, size in (("train", 150), ("test", 50)):
        numbers = np.concatenate([n for _, s, n in mini.choose(labels) if s == split])
        assert len(numbers) == size
        assert np.array_equal(arrays[f"{split}_images"], images[split][numbers])
        assert np.array_equal(arrays[f"{split}_labels"], labels[split][numbers])


def test_it_is_what_the_rule_chooses_of_cifar_10(prepared):
    path = Path(os.environ.get("DATA_DIR", "data")) / "cifar10.npz"
    if not path.exists():
        pytest.skip("needs CIFAR-10")
    rows = table()
    with np.load(path) as every:
        for split in ("train", "test"):
            of_it = [row for row in rows if (row["part"] == "test") == (split == "test")]
            numbers = [int(row["number"]) for row in of_it]
            labels = every[f"{split}_labels"]
            assert np.array_equal(getattr(prepared, f"{split}_images"),
                                  every[f"{split}_images"][numbers])  # fmt: skip
            assert np.array_equal(getattr(prepared, f"{split}_labels"), labels[numbers])
            exact = [n for n in range(len(labels)) if n not in mini.FROM_JPEG[split]]
            seen, first = dict.fromkeys(range(10), 0), []
            for number in exact:
                seen[labels[number]] += 1
                if seen[labels[number]] <= len(of_it) // 10:
                    first.append(number)
            assert sorted(numbers) == first
