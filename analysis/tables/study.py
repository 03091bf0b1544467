"""Writes a study as a table: Markdown, LaTeX, CSV, and text for the terminal.

`numbers` has the columns of the CSV, `as_text` those that are shown.
"""

import io
import math
import re
from collections.abc import Iterable
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text
from tabulate import tabulate

from analysis.statistics.comparisons import against_reference, difference_text, verdict
from analysis.statistics.stats import Difference
from analysis.study import Study
from experiments.records.states import REFUSED, State

HOLE = "–"
FORMULA = ("=", "+", "-", "@", "\t", "\r")
TAG = re.compile("<(?=[A-Za-z/!?])")
SENTENCE = 40  # characters
DIGITS = 10
PRIORS = {"welch": 0.0, "d0_4": 4.0, "d0_16": 16.0}  # the interval with another d0
WIDTH = 100  # columns of a terminal
STATES = (State.DIVERGED, *REFUSED)


def numbers(study: Study) -> pd.DataFrame:
    """Returns a line for each row, in numbers: what the CSV holds."""
    compared, pool = against_reference(study), study.pool
    rows = []
    for label in study.rows:
        cell, done, states = study.cells[label], study.of(label), study.states(label)
        first = done.iloc[0] if len(done) else None
        reference = study.references.get(label)
        against = compared.get(label, Difference(math.nan))
        mean, half = pool.mean(cell)
        other = {
            name: pool.difference(cell, study.cells[reference], prior=prior)
            if reference
            else Difference(math.nan)
            for name, prior in PRIORS.items()
        }
        rows.append(
            {
                "row": label,
                "test_error": mean,
                "half_width": half,
                "reference": reference,
                "difference": against.estimate,
                "difference_low": against.low,
                "difference_high": against.high,
                "p": against.p,
                "verdict": verdict(study, label) if reference else "",
                **{f"{n}_low": one.low for n, one in other.items()},
                **{f"{n}_high": one.high for n, one in other.items()},
                "spreads_more": pool.is_wide(cell),
                "seeds": len(done),
                "asked": len(states),
                **{state.replace(" ", "_"): states.count(state) for state in STATES},
                "parameters": None if first is None else int(first.parameters),
                "multiply_adds": None if first is None else int(first.multiply_adds),
                "hidden": "" if first is None else first.hidden,
                **{f"paper_{name}": value for name, value in study.paper.loc[label].items()},
            }
        )
    return pd.DataFrame(rows).astype({"parameters": "Int64", "multiply_adds": "Int64"})


def as_text(study: Study) -> pd.DataFrame:
    """Returns a study's table as text, rounded for reading; a missing result shows as missing."""
    table = numbers(study)
    shown = pd.DataFrame({study.asked.title: table.row})
    shown["test error (%)"] = [error_text(row) for row in table.itertuples()]
    if study.references:
        name = f"minus {study.reference or study.references_in_words} (points)"
        shown[name] = [difference_and_verdict(row) for row in table.itertuples()]
    shown["parameters"] = [number(x, "{:,}") for x in table.parameters]
    if table.paper_top1.notna().any():
        shown["paper's error (%)"] = [number(x, "{:.2f}") for x in table.paper_top1]
    return shown


def error_text(row) -> str:
    if row.seeds:
        half = "" if math.isnan(row.half_width) else f" ± {row.half_width:.2f}"
        wide = " *" if row.spreads_more else ""
        lost = "" if row.seeds == row.asked else f" ({row.seeds} of {row.asked} runs)"
        return f"{row.test_error:.2f}{half}{wide}{lost}"
    return next((state for state in STATES if getattr(row, state.replace(" ", "_"))), HOLE)


def difference_and_verdict(row) -> str:
    found = Difference(row.difference, row.difference_low, row.difference_high)
    return f"{difference_text(found)} {row.verdict}".rstrip()


def number(value, form: str, scale: float = 1) -> str:
    return HOLE if pd.isna(value) else form.format(value * scale if scale != 1 else value)


def title(study: Study) -> str:
    table = study.asked.table
    of_paper = f" (Table {table} of the paper)" if table else ""
    return f"{study.asked.title}{of_paper}"


def plainly(table: pd.DataFrame) -> dict:
    """Returns options of tabulate: nothing is parsed, numbers stand at the right, sentences not."""
    longest = [max(map(len, map(str, table[name])), default=0) for name in table]
    sides = ["right" if i and width < SENTENCE else "left" for i, width in enumerate(longest)]
    return {"showindex": False, "disable_numparse": True, "colalign": sides}


def block(title: str, table: pd.DataFrame, notes: list[str]) -> str:
    """Returns a table for the terminal, within WIDTH columns, with the notes needed to read it."""
    grid = RichTable(box=box.SIMPLE, pad_edge=False)
    for name, side in zip(table, plainly(table)["colalign"], strict=True):
        grid.add_column(Text(name), justify=side, overflow="fold")
    for row in table.values.tolist():
        grid.add_row(*map(Text, map(str, row)))
    written = io.StringIO()
    Console(width=WIDTH, file=written, color_system=None).print(grid)
    lines = [line.rstrip() for line in written.getvalue().splitlines()]
    return "\n".join([title, *lines, *notes, ""])  # a note may have a command: it is not broken


def markdown(title: str, table: pd.DataFrame, notes: list[str]) -> str:
    """Returns a table in Markdown, with its notes; HTML in a label is shown as plain text."""
    body = tabulate(table, "keys", "pipe", **plainly(table))
    listed = "\n".join(f"- {note}" for note in notes)
    return TAG.sub("&lt;", f"## {title}\n\n{body}\n\n{listed}\n")


def latex(title: str, table: pd.DataFrame, notes: list[str], label: str = "") -> str:
    """Returns a LaTeX table with caption and label, no wider than the text; notes are comments.

    One with sentences breaks them into lines, and goes on on the next page. It needs booktabs and
    graphicx; with sentences array and longtable.
    """
    safe = table.map(lambda text: f"{{}}{text}" if str(text)[:1] in ("[", "*") else text)
    body = tabulate(safe, "keys", "latex_booktabs", **plainly(table))
    body = body.replace(r"\{\}", "{}")  # a line may not begin with [ or *, which belong to \\
    caption = tabulate([[title]], tablefmt="latex_booktabs", disable_numparse=True)
    caption = caption.split("\n")[2].strip().removesuffix(r"\\").strip()
    for sign, code in LATEX.items():
        body, caption = body.replace(sign, code), caption.replace(sign, code)
    comments = "\n".join(f"% {line}" for line in [title, *notes])
    named = f"\\caption{{{caption}}}\n\\label{{tab:{label}}}"
    begin, rest = body.split("\n", 1)
    if any(_has_sentence(table[name]) for name in table):
        rest = rest.replace(r"\end{tabular}", r"\end{longtable}")
        begin = f"\\scriptsize\n\\begin{{longtable}}{{{broken(table)}}}\n{named}\\\\"
        return f"{comments}\n{{{begin}\n{rest}}}\n"
    fit = r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%"
    head = f"\\begin{{table}}\n\\centering\n{named}\n{fit}"
    return f"{comments}\n{head}\n{begin}\n{rest}}}\n\\end{{table}}\n"


def _has_sentence(texts: Iterable[Any]) -> bool:
    return max(map(len, map(str, texts)), default=0) >= SENTENCE


def broken(table: pd.DataFrame) -> str:
    """Returns LaTeX columns for cells that are broken into lines: as wide as the text together.

    A column without sentences is as wide as its longest word; the others share what is left.
    """
    words = {
        name: max(len(word) for text in (name, *table[name]) for word in str(text).split() or [""])
        for name in table
        if not _has_sentence(table[name])
    }
    left = f"\\textwidth-{0.5 * sum(words.values()):.2f}em-{2 * len(table.columns)}\\tabcolsep"
    share = f"\\dimexpr({left})/{len(table.columns) - len(words)}\\relax"
    widths = [f"{0.5 * words[name]:.2f}em" if name in words else share for name in table]
    return "".join(rf">{{\raggedright\arraybackslash}}p{{{width}}}" for width in widths)


def csv(table: pd.DataFrame) -> str:
    """Returns a table as CSV with DIGITS digits: the last of a double depend on the processor.

    A text that a spreadsheet would take for a formula stands behind an apostrophe.
    """
    unsafe = [name for name in table if any(map(_is_formula, table[name]))]
    table = table.assign(**{name: table[name].map(_harmless).astype(object) for name in unsafe})
    return table.to_csv(index=False, lineterminator="\n", float_format=f"%.{DIGITS}g")


def _is_formula(cell: Any) -> bool:
    return isinstance(cell, str) and cell.startswith(FORMULA)


def _harmless(cell: Any) -> Any:
    return f"'{cell}" if _is_formula(cell) else cell


LATEX = {"±": r"$\pm$", HOLE: "--", "×": r"$\times$"}
