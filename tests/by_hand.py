"""Records of a ratio study whose errors are known."""

from pathlib import Path

from experiments.records.record import Record
from experiments.records.studies import write_study
from experiments.study.study import expand

ERRORS = {"no SE": 9.0, "gate fixed at 1/2": 8.8, "r = 2": 8.1, "r = 4": 8.2, "r = 8": 8.15,
          "r = 16": 8.1, "r = 32": 8.5}  # fmt: skip


def write_run(record: Record, error: float | None, **changes) -> None:
    """A record as `train` leaves it, with an error of our choice."""
    (record.path / "summary.json").unlink(missing_ok=True)
    record.begin()
    done = error is not None
    record.write_metrics([])
    record.append("metrics.jsonl", {"epoch": 1, "step": 9, "train_error": 60.0, "val_error": 62.0})
    record.append("metrics.jsonl", {"epoch": 2, "step": 18, "train_error": 50.0, "val_error": 55.0})
    machine = {"processor": "a processor", "device": "cpu"}
    record.write_environment({"precision": "bf16", "data": "x", "seconds": 1.0, **machine})
    se = record.config.se
    pace = 1.0 if se is None else 1.25  # hundredths of a second an image
    for epoch, delay in enumerate((3.0, 1.0, 2.0), start=1):  # other work, but for the second
        line = {"epoch": epoch, "images": 100, "seconds": delay * pace}
        record.append("timings.jsonl", line)
    summary = {
        "state": "done" if done else "diverged", "test_error": error, "test_images": 10_000,
        "train_images": 45_000, "epochs": 30,
        "parameters": 313_114 + (0 if se is None else 1000 // se.ratio),
        "multiply_adds": 47_106_560,
        "hidden": {} if se is None else {"2": [64 // se.ratio], "3": [128 // se.ratio]},
        "interventions": {},
    }  # fmt: skip
    record.finish(summary | changes)


def study(
    results: Path, seeds: int, recipe: str = "fast", dataset: str = "cifar10", skip=(), **odd
):
    """Records of a whole ratio study; `skip` names (row, seed) that are not there."""
    asked = expand("ratio", dataset=dataset, network="resnet29b", recipe=recipe, seeds=seeds)
    for label, config in asked.runs():
        if (label, config.seed) not in skip:
            write_run(Record(results, config), ERRORS[label] + 0.1 * config.seed, **odd)
    write_study(results, asked.record())
    return asked
