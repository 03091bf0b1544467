"""The built-in data set for when CIFAR is not there: ten textures, made in seconds from a seed."""

import numpy as np

CLASSES = ["stripes", "waves", "checks", "rings", "rays", "dots", "bars", "cross", "ramp", "blob"]
TRAIN, TEST, SIZE = 15_000, 5_000, 32


def make(seed: int = 0) -> dict[str, np.ndarray]:
    """The arrays of a prepared data set: N x 32 x 32 x 3 uint8 images and their labels.

    A class is a texture. Its direction, scale, place and two colours are drawn for each image, a
    second texture lies weakly over it and noise over both: neither one pixel nor the mean colour
    tells the class.
    """
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(TRAIN + TEST) % len(CLASSES))
    images = np.concatenate([draw(part, random) for part in np.array_split(labels, 20)])
    return {
        "train_images": images[:TRAIN],
        "train_labels": labels[:TRAIN],
        "test_images": images[TRAIN:],
        "test_labels": labels[TRAIN:],
        "class_names": np.array(CLASSES),
    }


def draw(labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Labels (N,) -> images (N, 32, 32, 3)."""
    n = len(labels)
    shape = textures(labels, random)
    other = textures(random.integers(0, len(CLASSES), n), random)
    mix = (shape + uniform(random, n, 0.0, 0.4) * other)[..., None]
    ground = random.uniform(-0.6, 0.6, (n, 1, 1, 3)).astype(np.float32)
    colour = random.uniform(0.3, 1, (n, 1, 1, 3)) * random.choice([-1, 1], (n, 1, 1, 3))
    noise = random.standard_normal((n, SIZE, SIZE, 3), dtype=np.float32)
    image = ground + mix * colour.astype(np.float32) + 0.25 * noise
    return np.clip(128 + 70 * image, 0, 255).astype(np.uint8)


def uniform(random: np.random.Generator, n: int, low: float, high: float) -> np.ndarray:
    return random.uniform(low, high, (n, 1, 1)).astype(np.float32)


def textures(labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Labels (N,) -> grey textures (N, 32, 32) from about -1 to 1."""
    result = np.empty((len(labels), SIZE, SIZE), np.float32)
    for label in range(len(CLASSES)):
        own = labels == label
        result[own] = texture(label, int(own.sum()), random)
    return result


def texture(label: int, n: int, random: np.random.Generator) -> np.ndarray:
    """`n` textures (n, 32, 32) of one class."""
    angle, phase = uniform(random, n, 0, 2 * np.pi), uniform(random, n, 0, 2 * np.pi)
    scale = uniform(random, n, 0.6, 1.0)
    row, column = np.meshgrid(*2 * [np.arange(SIZE, dtype=np.float32)], indexing="ij")
    x = column - uniform(random, n, 10, 22)
    y = row - uniform(random, n, 10, 22)
    u = x * np.cos(angle) + y * np.sin(angle)
    v = y * np.cos(angle) - x * np.sin(angle)
    match CLASSES[label]:
        case "stripes":
            return np.sin(scale * u + phase)
        case "waves":
            return np.sin(scale * u + 2 * np.sin(0.5 * v) + phase)
        case "checks":
            return 1.4 * np.sin(scale * u) * np.sin(scale * v)
        case "rings":
            return np.sin(scale * np.hypot(x, y) + phase)
        case "rays":
            return np.sin(np.round(8 * scale) * np.arctan2(y, x) + phase)
        case "dots":
            return 3 * np.maximum(np.sin(scale * u) * np.sin(scale * v), 0.3) - 1.6
        case "bars":
            return np.where(np.sin(0.6 * scale * u + phase) > 0.6, 1.2, -0.6)
        case "cross":
            return np.where(np.minimum(abs(u), abs(v)) < 2.5 * scale, 1.2, -0.5)
        case "ramp":
            return np.tanh(u / 8)
        case _:  # blob
            return 2 * np.exp(-((u / (9 * scale)) ** 2) - (v / (5 * scale)) ** 2) - 0.7
