"""Writes the cost columns of the paper's tables, counted and published side by side."""

from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from analysis.tables.study import HOLE, block
from analysis.write import write_tables
from experiments.records.files import read_json
from experiments.records.parsing import ConfigError

ROWS = Path(__file__).parents[1] / "costs.yaml"
NOTES = [
    "Counted at 224 x 224 unless a row says otherwise, ResNets with the stride on the first 1x1 as "
    "in the paper, r = 16 and no biases in SE unless a row says otherwise.",
    "Multiply-adds are those of convolutions and linear layers; what SE pools and scales comes on "
    "top and stands in its own column, an operation for each element.",
]


def tables(results: Path) -> dict[str, pd.DataFrame]:
    """Returns table number -> a row for each network: published and counted, unrounded."""
    path = results / "complexity.json"
    if not path.exists():
        raise ConfigError(f"{path} is not there: make it with `make complexity`")
    counted = read_json(path)
    found = {}
    for number, table in yaml.safe_load(ROWS.read_bytes()).items():
        rows = [compare(row, counted[number].get(row["label"])) for row in table["rows"]]
        found[number] = pd.DataFrame(rows)
        found[number].attrs["title"] = table["title"]
    return found


def compare(row: dict[str, Any], count: dict[str, Any] | None) -> dict[str, Any]:
    count = count or {}
    return {
        "network": row["label"],
        "paper_gflops": row.get("gflops"),
        "multiply_adds": count.get("multiply_adds"),
        "se_elementwise": count.get("se_elementwise"),
        "paper_mparams": row.get("mparams"),
        "parameters": count.get("parameters"),
        "se_parameters": count.get("se_parameters"),
    }


def cells(table: pd.DataFrame) -> pd.DataFrame:
    """Returns a table of costs as text, rounded for reading."""
    columns = {
        "paper G": ("paper_gflops", "{:.2f}", 1),
        "counted G mult-adds": ("multiply_adds", "{:.3f}", 1e-9),
        "SE's pooling, scaling (G)": ("se_elementwise", "{:.4f}", 1e-9),
        "paper M param.": ("paper_mparams", "{:.1f}", 1),
        "counted parameters": ("parameters", "{:,.0f}", 1),
        "of them in SE": ("se_parameters", "{:,.0f}", 1),
    }
    shown = pd.DataFrame({"network": table.network})
    for name, (column, form, scale) in columns.items():
        missing = HOLE if column.startswith("paper") else "not built"
        if column != "paper_mparams" or not all(map(pd.isna, table[column])):
            values = (missing if pd.isna(x) else form.format(x * scale) for x in table[column])
            shown[name] = list(values)
    if all(x < 1 for x in table.paper_gflops.dropna()):  # small networks: the paper prints M
        shown["paper G"] = [HOLE if pd.isna(x) else f"{x:.3f}" for x in table.paper_gflops]
    return shown


def write(results: Path) -> tuple[list[Path], str]:
    """Writes RESULTS/tables/complexity-<number of the paper's table>.*; also returns the text."""
    found = {}
    for number, table in tables(results).items():
        title = f"{table.attrs['title']} (cost columns of Table {number} of the paper)"
        found[f"complexity-{number}"] = title, cells(table), NOTES, table
    parts = [block(title, shown, []) for title, shown, *_ in found.values()]
    return write_tables(found, results), "\n".join([*parts, *NOTES])
