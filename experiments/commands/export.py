"""Writes weights of one seed a cell in float16, each with a model card: the command `export`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from experiments.commands.card import card
from experiments.data.datasets import DATASETS
from experiments.plan.options import Results
from experiments.processes.output import say
from experiments.records.files import write_bytes
from experiments.records.parsing import ConfigError, checked
from experiments.records.results import Result, read_result
from experiments.records.states import State
from experiments.records.states import state as state_of
from experiments.records.studies import read_studies
from experiments.records.study_file import runs_of

LARGEST = 1_200_000  # bytes
EXPORTED: Any = ("ratio", "control")  # typer passes a list


def export(
    grids: Annotated[list[str], typer.Argument(help="studies whose rows are exported")] = EXPORTED,
    results: Results = Path("results/local"),
    into: Annotated[Path | None, typer.Option(help="RESULTS/weights unless given")] = None,
) -> int:
    """Exports the weights of the first finished seed of each row, and returns the exit status.

    A network whose file is larger than LARGEST, or that has code of its own, is left out and named.
    Returns 1 where a row has no finished run with a checkpoint, or a study's file is damaged.
    Raises ConfigError, and writes nothing, where there is no such study or no checkpoint.
    """
    from senet.weights import PUBLISHED  # torch: not for --help

    asked = read_studies(results, lost := [])
    studies = [study for study in asked if study.grid in grids]
    if not studies:
        raise ConfigError("; ".join([f"{results} holds no study of {' or '.join(grids)}", *lost]))
    rows: dict[str, dict[str, None]] = {}  # of a cell: a study may share it with others
    first: dict[str, Path] = {}
    for study in studies:
        labels = {row.cell: row.label for row in study.rows}
        for path in runs_of(study, results):
            cell = path.parent.name
            rows.setdefault(cell, {})[labels[cell]] = None
            if (path / "checkpoint.pt").exists() and state_of(path) == State.DONE:
                first.setdefault(cell, path)
    if not first:
        raise ConfigError(f"{results}: no finished run of {' or '.join(grids)} has a checkpoint")
    folder = into or results / PUBLISHED.name
    folder.mkdir(parents=True, exist_ok=True)
    for cell, path in first.items():
        _export_run(path, list(rows[cell]), folder)
    for sentence in lost:
        say(sentence, style="red")
    missing = [cell for cell in rows if cell not in first]
    for cell in missing:
        say(f"{cell}: no finished run has a checkpoint", style="yellow")
    return 1 if missing or lost else 0


def _export_run(run: Path, rows: list[str], folder: Path) -> None:
    """Writes the weights of a finished run and their card, unless they are to be left out."""
    from experiments.train import checkpoint
    from senet.weights import CARD, FILE, pack_weights

    cell, result = run.parent.name, read_result(run)
    if result.config.code:
        return say(f"{cell}: left out, as it has code of its own")
    state = checkpoint.load(run / "checkpoint.pt", "cpu")
    if state["data"] != result.env["data"] or state["optimizer"] is not None:
        raise ConfigError(f"{run / 'checkpoint.pt'} is not of the finished run")
    about = describe(result, rows, class_names(run))
    content = checked(pack_weights, state["model"], about)
    if len(content) > LARGEST:
        return say(f"{cell}: left out, as it takes {len(content):,} bytes of {LARGEST:,}")
    (folder / cell).mkdir(exist_ok=True)
    write_bytes(folder / cell / FILE, content)
    text = card(cell, about).encode()
    write_bytes(folder / cell / CARD, text)
    say(f"{cell}: {len(content):,} bytes, {', '.join(rows)}")


def class_names(run: Path) -> list[str]:
    """Reads what the classes of a run's data set are called, from its predictions."""
    import numpy as np

    with np.load(run / "predictions.npz", allow_pickle=False) as file:
        return file["class_names"].tolist()


def describe(result: Result, rows: list[str], names: list[str]) -> dict[str, Any]:
    """Says what a network is: the header of its file (see senet/weights.py)."""
    config = result.config.model_dump(mode="json")
    options = {key: config[key] for key in ("width", "shortcut", "stride_on", "se")}
    source = DATASETS[result.config.dataset]
    return {
        "build": {"name": result.config.network, "classes": source.classes, **options},
        "rows": rows,
        "config": config,
        "test_error": result.summary["test_error"],
        "test_images": result.summary["test_images"],
        "data": result.env["data"],
        "mean": source.mean,
        "std": source.std,
        "class_names": names,
    }
