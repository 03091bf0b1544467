"""Writes the cost columns of the paper's tables, counted and published side by side."""

from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import yaml
from pydantic import Field

from analysis.tables.study import HOLE, block
from analysis.write import write_tables
from experiments.records.files import read_json
from experiments.records.parsing import ConfigError, parse
from experiments.records.study_file import Stored

ROWS = Path(__file__).parents[1] / "costs.yaml"
NOTES = [
    "Counted at 224 x 224 unless a row says otherwise, ResNets with the stride on the first 1x1 as "
    "in the paper, r = 16 and no biases in SE unless a row says otherwise.",
    "Multiply-adds are those of convolutions and linear layers; what SE pools and scales comes on "
    "top and stands in its own column, an operation for each element.",
]


Number = Annotated[int, Field(ge=0, le=10**15)]


class Count(Stored):
    """Holds what was counted of a network (senet/cost.py)."""

    parameters: Number
    multiply_adds: Number
    se_parameters: Number
    se_elementwise: Number


class Counted(Stored):
    """Holds RESULTS/complexity.json: table's number -> label of a row -> what was counted."""

    tables: dict[str, dict[str, Count]]


def tables(results: Path) -> dict[str, pd.DataFrame]:
    """Returns table number -> a row for each network: published and counted, unrounded.

    Raises ConfigError where they are not counted, or the file of the counts is damaged.
    """
    path = results / "complexity.json"
    if not path.exists():
        raise ConfigError(f"{path} is not there: make it with `make complexity`")
    data = {"tables": read_json(path)}
    counted = parse(Counted, data, f"{path} was edited or damaged").tables
    found = {}
    for number, table in yaml.safe_load(ROWS.read_bytes()).items():
        counts = counted.get(number, {})
        for row in table["rows"]:
            if "build" in row and row["label"] not in counts:
                missing = f"{path} has no count of {row['label']!r} in Table {number}"
                raise ConfigError(f"{missing}: make it anew with `make complexity`")
        rows = [compare(row, counts.get(row["label"])) for row in table["rows"]]
        found[number] = pd.DataFrame(rows)
        found[number].attrs["title"] = table["title"]
    return found


def compare(row: dict[str, Any], count: Count | None) -> dict[str, Any]:
    counts = dict(count or dict.fromkeys(Count.model_fields))
    return {
        "network": row["label"],
        "paper_gflops": row.get("gflops"),
        "multiply_adds": counts["multiply_adds"],
        "se_elementwise": counts["se_elementwise"],
        "paper_mparams": row.get("mparams"),
        "parameters": counts["parameters"],
        "se_parameters": counts["se_parameters"],
    }


def as_text(table: pd.DataFrame) -> pd.DataFrame:
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
        found[f"complexity-{number}"] = title, as_text(table), NOTES, table
    parts = [block(title, shown, []) for title, shown, *_ in found.values()]
    return write_tables(found, results), "\n".join([*parts, *NOTES])
