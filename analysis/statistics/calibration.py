"""Computes how far a network's probabilities are from how often it is right."""

from pathlib import Path

import numpy as np

BINS = 15


def calibration_error(probability: np.ndarray, is_right: np.ndarray, bins: int = BINS) -> float:
    """Computes the expected calibration error in points (Naeini et al. 2015; Guo et al. 2017).

    The mean over images of how far the accuracy of their bin is from its mean probability.
    `probability`, (n,), is that of the predicted class, 0 to 1; `is_right`, (n,), says whether that
    is the true one. Bins are equally wide, closed above.
    """
    places = np.clip(np.ceil(np.asarray(probability, dtype=float) * bins).astype(int) - 1, 0, None)
    gaps = np.bincount(places, np.asarray(is_right, dtype=float) - probability, bins)
    return float(100 * np.abs(gaps).sum() / len(probability))


def measure_calibration(path: Path) -> float | None:
    """Returns a run's calibration error in points; None where it kept no predictions."""
    if not path.exists():
        return None
    with np.load(path) as file:
        if not {"predicted", "probability", "label"} <= set(file.files):  # of an older version
            return None
        probability = file["probability"].astype(float)
        return calibration_error(probability, file["predicted"] == file["label"])
