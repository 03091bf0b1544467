"""A study as a table: Markdown, LaTeX, CSV, and text for the terminal."""

import math

import pandas as pd
from tabulate import tabulate

from analysis.records import Study
from analysis.stats import interval, pooled_spread, sampling_difference, smallest_difference

HOLE = "–"


def numbers(study: Study) -> pd.DataFrame:
    """One row a variant, all numbers unrounded: what the CSV holds."""
    rows = []
    for label in study.rows:
        of_row, done = study.runs[study.runs.row == label], study.of(label)
        mean, half = interval(done.test_error)
        first = done.iloc[0] if len(done) else None
        paper = study.paper.loc[label]
        rows.append(
            {
                "row": label,
                "test_error": mean,
                "half_width": half,
                "seeds": len(done),
                "asked": len(of_row),
                "diverged": int((of_row.state == "diverged").sum()),
                "failed": int((of_row.state == "failed").sum()),
                "damaged": int((of_row.state == "damaged").sum()),
                "parameters": None if first is None else int(first.parameters),
                "multiply_adds": None if first is None else int(first.multiply_adds),
                "hidden": "" if first is None else first.hidden,
                "paper_top1": paper.top1,
                "paper_top5": paper.top5,
                "paper_gflops": paper.gflops,
                "paper_mparams": paper.mparams,
            }
        )
    frame = pd.DataFrame(rows)
    return frame.astype({"parameters": "Int64", "multiply_adds": "Int64"})


def cells(study: Study) -> pd.DataFrame:
    """The same as text, rounded for reading; a hole shows as a hole."""
    table = numbers(study)
    shown = pd.DataFrame({study.asked["title"]: table.row})
    shown["test error (%)"] = [error_text(row) for row in table.itertuples()]
    shown["seeds"] = [
        f"{row.seeds}" if row.seeds == row.asked else f"{row.seeds}/{row.asked}"
        for row in table.itertuples()
    ]
    shown["parameters"] = [number(x, "{:,}") for x in table.parameters]
    shown["hidden units"] = [text or HOLE for text in table.hidden]
    shown["M mult-adds"] = [number(x, "{:.2f}", 1e-6) for x in table.multiply_adds]
    published = {
        "paper top-1 (%)": (table.paper_top1, "{:.2f}"),
        "paper top-5 (%)": (table.paper_top5, "{:.2f}"),
        "paper M param.": (table.paper_mparams, "{:.1f}"),
    }
    for name, (values, form) in published.items():
        if values.notna().any():
            shown[name] = [number(x, form) for x in values]
    return shown


def error_text(row) -> str:
    if row.seeds:
        half = "" if math.isnan(row.half_width) else f" ± {row.half_width:.2f}"
        return f"{row.test_error:.2f}{half}"
    states = ("diverged", "failed", "damaged")
    return next((state for state in states if getattr(row, state)), HOLE)


def number(value, form: str, scale: float = 1) -> str:
    return HOLE if pd.isna(value) else form.format(value * scale if scale != 1 else value)


def title(study: Study) -> str:
    table = study.asked["table"]
    of_paper = f" (Table {table} of the paper)" if table else ""
    return f"{study.asked['title']}{of_paper}"


def notes(study: Study) -> list[str]:
    """What has to be known to read the table, a sentence each."""
    asked, done = study.asked, study.runs[study.runs.state == "done"]
    lines = [
        f"Data {asked['dataset']}, network {asked['network']}, {asked['training']}. "
        + ("One seed." if asked["seeds"] == 1 else f"Seeds 0 to {asked['seeds'] - 1}.")
    ]
    if asked["dataset"] == "synthetic":
        lines.append(
            "SYNTHETIC DATA: textures made here, not photographs. Nothing follows for CIFAR."
        )
    if len(done):
        images = int(done.test_images.max())
        lines.append(
            f"Test error on {images:,} images, read once after the last epoch. Hidden units are "
            "those of the gate's first layer, by stage from 2 on."
        )
    if study.paper.top1.notna().any():
        lines.append("The paper's columns: SE-ResNet-50 on ImageNet, arXiv 1709.01507v4.")
    lines += resolution(study)
    for column, what in (("env.precision", "precisions"), ("env.data", "data sets")):
        if len(done) and done[column].nunique() > 1:
            values = ", ".join(sorted(map(str, done[column].unique())))
            lines.append(f"MIXED: these runs have different {what}: {values}.")
    holes = study.runs[study.runs.state != "done"]
    if len(holes):
        counts = ", ".join(f"{n} {state}" for state, n in holes.state.value_counts().items())
        lines.append(f"Not in the means: {counts}.")
    lines += [f"DAMAGED: {reason}." for reason in study.damaged]
    return lines + expectation(study)


def resolution(study: Study) -> list[str]:
    """What these seeds can tell apart, and what would tell more."""
    asked, done = study.asked, study.runs[study.runs.state == "done"]
    if not len(done):
        return []
    groups = [study.of(row).test_error for row in study.rows]
    n = min((len(group) for group in groups if len(group)), default=0)
    measured = pooled_spread(groups)
    spread = asked["spread"] if math.isnan(measured) else measured
    lines = []
    if n > 1:
        lines.append("± is the 95 % interval of the mean over seeds (Student).")
    if spread is not None:
        source = "these runs" if not math.isnan(measured) else "this recipe, measured before"
        lines.append(
            f"Seeds differ by {spread:.2f} points (standard deviation, of {source}): with n = {n} "
            f"only a difference of {smallest_difference(spread, n):.1f} points or more is likely "
            "to be seen (power 0.8)."
        )
    elif n == 1:
        by_chance = sampling_difference(done.test_error.mean(), int(done.test_images.max()))
        lines.append(
            f"n = 1: no interval. The choice of test images alone can move a difference by up to "
            f"{by_chance:.1f} points (95 %); how much seeds move it was not measured."
        )
    if asked["demonstration"] or n == 1:
        dataset = "cifar10" if asked["dataset"] == "synthetic" else asked["dataset"]
        warning = "A DEMONSTRATION" if asked["demonstration"] else "ONE SEED"
        lines.append(
            f"{warning}: rank nothing by it. Numbers that hold, on a GPU: "
            f"`DATASET={dataset} RECIPE=fast SEEDS=5 {asked['command']}`; on a CPU RECIPE=small."
        )
    return lines


def expectation(study: Study) -> list[str]:
    """A warning where the plain network did not end where this recipe should end."""
    expect, plain = study.asked["expect"], study.of("no SE").test_error
    if expect is None or not len(plain) or expect[0] <= plain.mean() <= expect[1]:
        return []
    return [
        f"WARNING: the plain network ends at {plain.mean():.1f} %, and this recipe should end "
        f"between {expect[0]:g} and {expect[1]:g} %."
    ]


def text(study: Study) -> str:
    """For the terminal."""
    lines = [title(study), "", tabulate(cells(study), "keys", "simple", showindex=False, **RIGHT)]
    return "\n".join([*lines, "", *notes(study), ""])


def markdown(study: Study) -> str:
    body = tabulate(cells(study), "keys", "pipe", showindex=False, **RIGHT)
    listed = "\n".join(f"- {note}" for note in notes(study))
    return f"## {title(study)}\n\n{body}\n\n{listed}\n"


def latex(study: Study) -> str:
    """A booktabs tabular; the notes are comments."""
    body = tabulate(cells(study), "keys", "latex_booktabs", showindex=False, **RIGHT)
    comments = "\n".join(f"% {line}" for line in [title(study), *notes(study)])
    body = body.replace("±", r"$\pm$").replace(HOLE, "--")
    return f"{comments}\n{body}\n"


def csv(study: Study) -> str:
    return numbers(study).to_csv(index=False, lineterminator="\n")


RIGHT = {"disable_numparse": True, "colglobalalign": "right", "colalign": ("left",)}
WRITERS = {"md": markdown, "tex": latex, "csv": csv}
