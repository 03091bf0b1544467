"""`export`: the weights of one seed a cell in float16, each with a model card."""

from pathlib import Path
from typing import Annotated, Any

import typer

from experiments.data.datasets import DATASETS
from experiments.plan.options import Results
from experiments.processes.output import say
from experiments.records.files import write_atomically
from experiments.records.origin import origin
from experiments.records.parsing import ConfigError, checked
from experiments.records.results import Result, read_result
from experiments.records.states import State
from experiments.records.states import state as state_of
from experiments.records.study_file import read_studies, runs_of

LARGEST = 1_200_000  # bytes

CARD = """\
# {network}: {rows}

A network of the ablation study of Squeeze-and-Excitation (Hu et al., arXiv 1709.01507), trained on
{dataset} with the recipe `{recipe}` and seed {seed}. License: MIT, as the code.

- Test error: {error:.2f} % of {images:,} images, ± {margin:.2f} (95 %, binomial: of these weights
  on other images; other seeds are in the study's tables), measured before rounding to float16.
- Input: images (B, 3, 32, 32) on a scale from 0 to 1, minus `mean` {mean}, over `std` {std}.
- Output: logits (B, {classes}) of {names}.
- The images, fingerprint `{data}`: {origin}.
- The file's header says all of this for programs: `senet.weights.read_about(path)`.

```python
from senet.weights import published

model = published("{cell}")
```
"""


def export(
    grids: Annotated[list[str], typer.Argument(help="of whose rows")] = ("ratio", "control"),
    results: Results = Path("results/local"),
    into: Annotated[Path | None, typer.Option(help="RESULTS/weights unless given")] = None,
) -> int:
    """Writes the weights of the first finished seed of every row of some studies.

    Args:
        results: where their records are, with checkpoints.
        grids: whose studies.
        into: the folder; RESULTS/weights unless it is given.

    Returns:
        0, or 1 where a row has no finished run with a checkpoint. A network whose file is larger
        than LARGEST, or that has code of its own, is left out and named.

    Raises:
        ConfigError: there is no such study, or no checkpoint; nothing is written.
    """
    from senet.weights import PUBLISHED  # torch: not for --help

    studies = [s for s in read_studies(results) if s.grid in grids]
    if not studies:
        raise ConfigError(f"{results} holds no study of {' or '.join(grids)}")
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
    missing = [cell for cell in rows if cell not in first]
    for cell in missing:
        say(f"{cell}: no finished run has a checkpoint", style="yellow")
    return 1 if missing else 0


def _export_run(run: Path, rows: list[str], folder: Path) -> None:
    """Writes the weights of a finished run and their card, unless they are to be left out."""
    from experiments.train import checkpoint
    from senet.weights import SUFFIX, pack

    cell, result = run.parent.name, read_result(run)
    if result.config.code:
        return say(f"{cell}: left out, as it has code of its own")
    state = checkpoint.load(run / "checkpoint.pt", "cpu")
    if state["data"] != result.env["data"] or state["optimizer"] is not None:
        raise ConfigError(f"{run / 'checkpoint.pt'} is not of the finished run")
    about = describe(result, rows, class_names(run))
    content = checked(pack, state["model"], about)
    if len(content) > LARGEST:
        return say(f"{cell}: left out, as it takes {len(content):,} bytes of {LARGEST:,}")
    write_atomically(folder / f"{cell}{SUFFIX}", lambda file: file.write(content))
    text = card(cell, about).encode()
    write_atomically(folder / f"{cell}.md", lambda file: file.write(text))
    say(f"{cell}{SUFFIX}: {len(content):,} bytes, {', '.join(rows)}")


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


def card(cell: str, about: dict[str, Any]) -> str:
    """Writes the model card: what the network is, for a person who has only the file."""
    config, wrong = about["config"], about["test_error"] / 100
    names = about["class_names"]
    return CARD.format(
        cell=cell,
        network=config["network"],
        rows=", ".join(about["rows"]),
        dataset=config["dataset"],
        recipe=config["recipe"]["name"],
        seed=config["seed"],
        error=about["test_error"],
        images=about["test_images"],
        margin=196 * (wrong * (1 - wrong) / about["test_images"]) ** 0.5,
        mean=tuple(about["mean"]),
        std=tuple(about["std"]),
        classes=len(names),
        names=", ".join(names),
        data=about["data"],
        origin=origin(config["dataset"], about["data"]),
    )
