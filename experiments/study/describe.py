"""Says in words by which command a study is trained, and how. No torch here."""

import json
import os
import shlex
from typing import TYPE_CHECKING

from experiments.records.recipes import recipe_row
from experiments.study.cells import ALL, DEFAULT_NETWORK, LENGTHS
from experiments.study.grid import show

if TYPE_CHECKING:
    from experiments.study.study import StudyDesign


def command_of(study: "StudyDesign") -> str:
    """Gives what trains a study, but for data set, recipe and its settings, and seeds."""
    kept = {k: v for k, v in study.settings.items() if not k.startswith("recipe.")}
    is_default = study.network == (ALL if study.grid.varies_network else DEFAULT_NETWORK)
    other = [] if is_default else ["--network", study.network]
    source = os.path.relpath(study.source) if os.path.isabs(study.source) else study.source
    if study.grid_name == study.source and not kept:
        return f"make ablation-{source}" + ("" if is_default else f" NETWORK={study.network}")
    for key, value in kept.items():
        other += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join([".venv/bin/python", "-m", "experiments", "run", source, *other])


def training_of(study: "StudyDesign") -> str:
    """Says a recipe in words: its name, what it is (of each family of networks, where each has its
    own), what --set changed."""
    rows = [recipe_row(study.recipe, cell.config.network) for cell in study.cells]
    whats = {row.recipe.name: row.about.what for row in rows}
    what = "; ".join(
        text if name == study.recipe else f"{name}: {text}" for name, text in whats.items()
    )
    changed = [f"{key} = {show(value)}" for key, value in study.settings.items()]
    if varied := {f"recipe.{name}" for name in LENGTHS} & study.grid.keys:
        changed.append(f"{varied.pop()}, which the rows name")
    return f"recipe {study.recipe} ({what})" + (f" but for {', '.join(changed)}" if changed else "")
