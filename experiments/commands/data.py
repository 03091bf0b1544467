"""Makes a data set ready for training: the command `data`."""

from pathlib import Path

from experiments.data.datasets import DATASETS, load_data, origin, path_of
from experiments.data.prepare import prepare_any
from experiments.plan.options import DataDir, Dataset, Json
from experiments.processes.output import remark, say
from experiments.records.parsing import checked
from experiments.records.schema import Data
from senet.config import find_row


def data(
    dataset: Dataset = "auto", data_dir: DataDir = Path("data"), as_json: Json = False
) -> None:
    checked(find_row, "dataset", dataset, {"auto": None, **DATASETS})
    arrays = load_data(prepare_any(dataset, data_dir, remark if as_json else say), data_dir)
    found = Data(
        dataset=arrays.name,
        path=str(path_of(arrays.name, data_dir)),
        train_images=len(arrays.train_labels),
        test_images=len(arrays.test_labels),
        classes=tuple(arrays.class_names),
        fingerprint=arrays.fingerprint,
        origin=origin(arrays.name, arrays.fingerprint),
    )
    if as_json:
        return print(found.model_dump_json(indent=1))
    images = f"{found.train_images:,} training and {found.test_images:,} test images"
    say(f"{found.path}: {images}, fingerprint {found.fingerprint}")
