"""Writes the file of a W&B sweep whose agents train our runs: the command `sweep`."""

import hashlib
import os
import shlex
from typing import Any

import yaml

from experiments.commands.studies import make_studies, name_runs, read_grids, slots_and_recipe
from experiments.plan.options import PlanOptions, takes
from experiments.processes.output import say
from experiments.records.files import write_text
from experiments.records.parsing import ConfigError
from experiments.records.room import check_writable
from experiments.study.study import StudyDesign


@takes(PlanOptions)
def sweep(options: PlanOptions) -> None:
    """Writes RESULTS/sweeps/GRIDS.yaml, and says what to do with it."""
    check_writable(options.results)
    dataset = "cifar10" if options.dataset == "auto" else options.dataset
    _, recipe = slots_and_recipe(options)
    studies = make_studies(read_grids(options), options, dataset, recipe)
    if tuned := [study.grid_name for study in studies if study.untuned]:
        raise ConfigError(
            f"grid {tuned[0]!r} tunes its rows: which runs follow is known only after its "
            "pilots, so that no sweep can list them; `run` trains both"
        )
    runs = [record.name for record in name_runs(studies, options.results)]
    names = "-".join(_part_of_name(study) for study in studies)
    path = options.results / "sweeps" / f"{names}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(_config(names, runs, _words(options, dataset, recipe)), sort_keys=False)
    write_text(path, text)
    say(f"wrote {path}: {len(runs)} runs")
    command = f".venv/bin/wandb sweep {shlex.quote(str(path))}"
    say(f"`{command}` makes the sweep, and names the command of its agents")


def _part_of_name(study: StudyDesign) -> str:
    """Names a grid in the name of a file: those of one's own also by where they lie."""
    digest = hashlib.sha256(os.path.realpath(study.source).encode(errors="surrogateescape"))
    return study.grid_name + (f"-{digest.hexdigest()[:8]}" if study.grid_file else "")


def _config(name: str, runs: list[str], command: list[str]) -> dict[str, Any]:
    """Makes a sweep over runs, whose agents call `run GRID --only NAME`.

    https://docs.wandb.ai/models/sweeps/define-sweep-configuration
    """
    return {
        "name": name,
        "program": "experiments/__main__.py",
        "method": "grid",
        "metric": {"name": "test/error", "goal": "minimize"},
        "parameters": {"only": {"values": runs}},
        "command": [".venv/bin/python", "-m", "experiments", "run", *command, "${args}"],
    }


def _words(options: PlanOptions, dataset: str, recipe: str) -> list[str]:
    """Says what was asked for in the words of `run`."""
    given: dict[str, Any] = {
        "dataset": dataset,
        "network": options.network,
        "recipe": recipe,
        "seeds": options.seeds,
        "device": options.device,
        "data-dir": options.data_dir,
        "results": options.results,
    }
    found = [word for k, v in given.items() if v is not None for word in (f"--{k}", str(v))]
    return [*options.grids, *found, *(w for text in options.settings for w in ("--set", text))]
