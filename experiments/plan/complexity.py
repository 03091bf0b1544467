"""Counts what the paper's cost columns list: RESULTS/complexity.json, for `analysis complexity`."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
import yaml

from experiments.records.files import write_json
from senet.config import SEConfig
from senet.cost import cost
from senet.networks import build

ROWS = Path(__file__).parents[2] / "analysis" / "costs.yaml"


def count_all(results: Path) -> Path:
    """Counts every row that can be built, on no device, and writes them by table and label."""
    counted: dict[str, dict[str, dict[str, Any]]] = {}
    for table, content in yaml.safe_load(ROWS.read_bytes()).items():
        for row in content["rows"]:
            if "build" in row:
                found = _count_one(**row["build"])
                counted.setdefault(table, {})[row["label"]] = found
    path = results / "complexity.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, counted)
    return path


def _count_one(name: str, se: dict[str, Any] | None, stride_on: str = "3x3") -> dict[str, Any]:
    """Counts a network with or without SE, on images of the size that it is made for."""
    with torch.device("meta"):
        config = None if se is None else SEConfig(**se)
        model = build(name, se=config, stride_on=stride_on)
        size = cast(int, model.size)
        return asdict(cost(model, size)) | {"size": size}
