"""Measures a whole grid, from the command to its tables and figures, beside its training."""

import sys
import tempfile
from pathlib import Path

from benchmarks.usage import usage
from experiments.records.files import read_json, write_json

CELLS = {  # number of cells -> what is varied
    1: {"se.ratio": [16]},
    8: {"se.ratio": [2, 4, 8, 16], "se.gate": ["sigmoid", "tanh"]},
    27: {"se.ratio": [2, 4, 8], "se.gate": ["sigmoid", "tanh", "relu"],
         "se.squeeze": ["avg", "max", "avgmax"]},
}  # fmt: skip
TRAINS = " to train"  # in the line that `run` prints before the first run


def measured(cells: int, workers: int, device: str, images: int) -> dict[str, float]:
    """Runs a grid of runs that train on so many images.

    Returns:
        cells, workers  how many, and how many at a time
        seconds         from the command to its end
        start_up        of them, until it knew what to train
        serial          share of workers x seconds in which none of them was in a run
        again           processor seconds of the same command once more, with nothing to train
    """
    with tempfile.TemporaryDirectory() as folder:
        results, data_dir = Path(folder) / "results", Path(folder) / "data"
        grid = Path(folder) / "grid.yaml"
        about = {"title": "A grid", "about": "How long does it take?", "controls": []}
        write_json(grid, about | {"cells": [CELLS[cells]]})  # JSON is YAML
        where = ("--dataset", "cifar10_mini", "--data-dir", str(data_dir))
        usage(sys.executable, "-m", "experiments", "data", *where)
        words = [str(grid), *where, "--recipe", "smoke", "--seeds", "1", "--track", "off"]
        words += ["--set", f"recipe.train_images={images}", "--results", str(results)]
        words += ["--device", device, "--workers", str(workers)]
        command = (sys.executable, "-m", "experiments", "run", *words)
        took, again = usage(*command), usage(*command)
        runs = [read_json(path) for path in results.glob("runs/*/*/env.json")]
        known = next(wall for text, _, wall in took.lines if TRAINS in text)
        serial = 1 - sum(env["seconds"] for env in runs) / (workers * took.wall)
        return {"cells": cells, "workers": workers, "seconds": took.wall, "start_up": known,
                "serial": serial, "again": again.cpu}  # fmt: skip
