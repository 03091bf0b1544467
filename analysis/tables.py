"""A study as a table: Markdown, LaTeX, CSV, and text for the terminal."""

import math
from collections.abc import Callable

import pandas as pd
from tabulate import tabulate

from analysis.comparisons import against_reference
from analysis.notes import notes
from analysis.records import Study
from analysis.stats import Difference, interval

HOLE = "–"
SENTENCE = 40  # characters
DIGITS = 10
STATES = ("diverged", "failed", "damaged", "other data")


def numbers(study: Study) -> pd.DataFrame:
    """One row a variant, in numbers: what the CSV holds."""
    compared, paces = against_reference(study), relative_paces(study)
    rows = []
    for label in study.rows:
        of_row, done = study.runs[study.runs.row == label], study.of(label)
        mean, half = interval(done.test_error)
        first = done.iloc[0] if len(done) else None
        against = compared.get(label, Difference(math.nan))
        rows.append(
            {
                "row": label,
                "test_error": mean,
                "half_width": half,
                "reference": study.references.get(label),
                "difference": against.estimate,
                "difference_low": against.low,
                "difference_high": against.high,
                "p": against.p,
                "seeds": len(done),
                "asked": len(of_row),
                **{s.replace(" ", "_"): int((of_row.state == s).sum()) for s in STATES},
                "parameters": None if first is None else int(first.parameters),
                "multiply_adds": None if first is None else int(first.multiply_adds),
                "relative_time": paces.get(label),
                "hidden": "" if first is None else first.hidden,
                **{f"paper_{name}": value for name, value in study.paper.loc[label].items()},
            }
        )
    frame = pd.DataFrame(rows)
    kinds = {"parameters": "Int64", "multiply_adds": "Int64", "relative_time": "float64"}
    return frame.astype(kinds)


def relative_paces(study: Study) -> dict[str, float]:
    """Row -> training time of an image over that of the same network without SE.

    Of the fastest seed of each. {} where the runs are of several machines, whose times cannot be
    compared.
    """
    if not study.is_of_one_machine:
        return {}
    paces = study.done.groupby("row").pace.min()
    plain = {row: paces.get(study.plain_of(row), math.nan) for row in paces.index}
    return {row: pace / plain[row] for row, pace in paces.items()}


def cells(study: Study) -> pd.DataFrame:
    """The same as text, rounded for reading; a hole shows as a hole."""
    table = numbers(study)
    shown = pd.DataFrame({study.asked["title"]: table.row})
    shown["test error (%)"] = [error_text(row) for row in table.itertuples()]
    if study.references:
        name = f"minus {study.reference or study.references_in_words} (points)"
        shown[name] = [difference_text(row) for row in table.itertuples()]
    if table.p.notna().any():
        shown["p"] = [number(x, "{:.3f}") if not x < 0.001 else "< 0.001" for x in table.p]
    shown["seeds"] = [
        f"{row.seeds}" if row.seeds == row.asked else f"{row.seeds}/{row.asked}"
        for row in table.itertuples()
    ]
    shown["parameters"] = [number(x, "{:,}") for x in table.parameters]
    if table.hidden.any():
        shown["hidden units"] = [text or HOLE for text in table.hidden]
    shown["M mult-adds"] = [number(x, "{:.2f}", 1e-6) for x in table.multiply_adds]
    shown["time (x plain)"] = [number(x, "{:.2f}") for x in table.relative_time]
    published = {
        "paper top-1 (%)": (table.paper_top1, "{:.2f}"),
        "paper top-5 (%)": (table.paper_top5, "{:.2f}"),
        "paper G mult-adds": (table.paper_gflops, "{:.2f}"),
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
    return next((state for state in STATES if getattr(row, state.replace(" ", "_"))), HOLE)


def difference_text(row) -> str:
    if math.isnan(row.difference):
        return HOLE
    if math.isnan(row.difference_low):
        return f"{row.difference:+z.2f}"
    return f"{row.difference:+z.2f} [{row.difference_low:+z.2f}, {row.difference_high:+z.2f}]"


def number(value, form: str, scale: float = 1) -> str:
    return HOLE if pd.isna(value) else form.format(value * scale if scale != 1 else value)


def title(study: Study) -> str:
    table = study.asked["table"]
    of_paper = f" (Table {table} of the paper)" if table else ""
    return f"{study.asked['title']}{of_paper}"


def plainly(table: pd.DataFrame) -> dict:
    """Options of tabulate: nothing is parsed, and numbers stand at the right, sentences do not."""
    longest = [max(map(len, map(str, table[name])), default=0) for name in table]
    sides = ["right" if i and width < SENTENCE else "left" for i, width in enumerate(longest)]
    return {"showindex": False, "disable_numparse": True, "colalign": sides}


def block(title: str, table: pd.DataFrame, notes: list[str]) -> str:
    """A table for the terminal, with what has to be known to read it."""
    return "\n".join(
        [title, "", tabulate(table, "keys", "simple", **plainly(table)), "", *notes, ""]
    )


def markdown(title: str, table: pd.DataFrame, notes: list[str]) -> str:
    body = tabulate(table, "keys", "pipe", **plainly(table))
    listed = "\n".join(f"- {note}" for note in notes)
    return f"## {title}\n\n{body}\n\n{listed}\n"


def latex(title: str, table: pd.DataFrame, notes: list[str]) -> str:
    """A booktabs tabular; the notes are comments."""
    safe = table.map(lambda text: f"{{}}{text}" if str(text)[:1] in ("[", "*") else text)
    body = tabulate(safe, "keys", "latex_booktabs", **plainly(table))
    body = body.replace(r"\{\}", "{}")  # a line may not begin with [ or *, which belong to \\
    for sign, code in LATEX.items():
        body = body.replace(sign, code)
    comments = "\n".join(f"% {line}" for line in [title, *notes])
    return f"{comments}\n{body}\n"


def csv(table: pd.DataFrame) -> str:
    """Numbers with DIGITS digits: the last ones of a double depend on the processor."""
    return table.to_csv(index=False, lineterminator="\n", float_format=f"%.{DIGITS}g")


def write(study: Study, suffix: str) -> str:
    """A study's table as the content of a file with this suffix."""
    if suffix == "csv":
        return csv(numbers(study))
    return WRITERS[suffix](title(study), cells(study), notes(study))


LATEX = {"±": r"$\pm$", HOLE: "--", "×": r"$\times$"}
WRITERS: dict[str, Callable[[str, pd.DataFrame, list[str]], str]] = {"md": markdown, "tex": latex}
SUFFIXES = (*WRITERS, "csv")
