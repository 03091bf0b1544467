"""`data`: a data set, ready for training."""

from pathlib import Path

from experiments.data.datasets import DATASETS, load, path_of, prepare_any
from experiments.plan.options import DataDir, Dataset
from experiments.processes.output import say
from experiments.records.parsing import checked
from senet.config import choose


def data(dataset: Dataset = "auto", data_dir: DataDir = Path("data")) -> None:
    """Fetches and prepares a data set, checks it, and says what it holds."""
    checked(choose, "dataset", dataset, {"auto": None, **DATASETS})
    arrays = load(prepare_any(dataset, data_dir, say), data_dir)
    images = f"{len(arrays.train_labels):,} training and {len(arrays.test_labels):,} test images"
    say(f"{path_of(arrays.name, data_dir)}: {images}, fingerprint {arrays.fingerprint}")
