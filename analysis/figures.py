"""One function a figure: a study in, Axes out. `FIGURES` says which study gets which."""

import math
import re
from collections.abc import Callable
from pathlib import Path

import matplotlib
import pandas as pd

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.records import Study
from analysis.stats import interval
from analysis.tables import numbers, title

OURS, PAPER = sns.color_palette("colorblind")[0], sns.color_palette("colorblind")[1]
CONTROLS = {"no SE": ("0.15", "--"), "gate fixed at 1/2": ("0.55", ":")}
STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # text stays text
    "savefig.dpi": 160,
    "text.parse_math": False,  # a label with a dollar sign stays what it is
}


def errors(study: Study) -> Figure:
    """Test error of every variant: seeds, mean and interval; the paper's beside it."""
    has_paper = study.paper.top1.notna().any()
    figure, axes = plt.subplots(
        1, 1 + has_paper, figsize=(7.2 if has_paper else 5, 1.3 + 0.34 * len(study.rows)),
        sharey=True, squeeze=False, width_ratios=[3, 2][: 1 + has_paper],
    )  # fmt: skip
    draw_errors(study, axes[0, 0])
    if has_paper:
        draw_published(study, axes[0, 1])
    return entitled(figure, study)


def draw_errors(study: Study, ax: Axes) -> Axes:
    for place, row in enumerate(study.rows):
        values = study.of(row).test_error
        mean, half = interval(values)
        if len(values) > 1:
            ax.plot(values, [place] * len(values), "o", mfc="none", mec=OURS, ms=4, alpha=0.6)
            ax.errorbar(mean, place, xerr=half, fmt="D", color=OURS, ms=5, capsize=3)
        elif len(values):
            ax.plot(mean, place, "D", color=OURS, ms=5)
        else:
            ax.annotate(
                "no result", (0.02, place), xycoords=("axes fraction", "data"), va="center",
                color="0.4", style="italic",
            )  # fmt: skip
    ax.set_yticks(range(len(study.rows)), study.rows)
    ax.set_ylim(len(study.rows) - 0.4, -0.6)
    ax.grid(axis="x", color="0.9")
    ax.set_axisbelow(True)
    ax.set_xlabel("test error (%)")
    ax.set_title(f"{study.asked['network']} on {study.asked['dataset']}, {seeds_text(study)}")
    return ax


def draw_published(study: Study, ax: Axes) -> Axes:
    for place, row in enumerate(study.rows):
        ax.plot(study.paper.top1[row], place, "D", mfc="none", mec=PAPER, ms=5)
    ax.grid(axis="x", color="0.9")
    ax.set_xlabel("top-1 error (%)")
    ax.set_title("paper: SE-ResNet-50, ImageNet")
    return ax


def ratio(study: Study) -> Figure:
    """Error and parameters against the reduction ratio r (Table 10); the paper's below ours."""
    figure, axes = plt.subplots(2, 2, figsize=(7.2, 5.2), sharex=True)
    table = numbers(study).set_index("row").astype({"parameters": float})
    table["mparams"] = table.parameters / 1e6
    ours = f"{study.asked['network']} on {study.asked['dataset']}, {seeds_text(study)}"
    draw_against_ratio(table.test_error, axes[0, 0], OURS, halves=table.half_width)
    draw_against_ratio(table.mparams, axes[0, 1], OURS)
    draw_against_ratio(table.paper_top1, axes[1, 0], PAPER, mfc="none")
    draw_against_ratio(table.paper_mparams, axes[1, 1], PAPER, mfc="none")
    axes[0, 0].set(title=ours, ylabel="test error (%)")
    axes[1, 0].set(title="paper: SE-ResNet-50, ImageNet", ylabel="top-1 error (%)")
    for ax in axes[:, 1]:
        ax.set_ylabel("parameters (M)")
    for ax in axes[1]:
        ax.set_xlabel("reduction ratio r")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return entitled(figure, study)


RATIO = re.compile(r"r = \d+")


def varied(study: Study) -> list[str]:
    """The rows that are no controls."""
    return [row for row in study.rows if row not in CONTROLS]


def draw_against_ratio(
    values: pd.Series, ax: Axes, color, halves: pd.Series | None = None, mfc=None
) -> Axes:
    """`values` of the rows `r = ...` as points, of the controls as level lines."""
    rows = [row for row in values.index if row not in CONTROLS]
    ratios = [int(row.removeprefix("r = ")) for row in rows]
    for control, (grey, dashes) in CONTROLS.items():
        level = values.get(control, math.nan)
        if not math.isnan(level):
            ax.axhline(level, color=grey, ls=dashes, label=control)
    yerr = None if halves is None else halves[rows]
    ax.errorbar(ratios, values[rows], yerr=yerr, fmt="D-", color=color, mfc=mfc, ms=5, capsize=3)
    ax.set_xscale("log", base=2)
    ax.set_xticks(ratios, ratios)
    ax.grid(color="0.9")
    return ax


def curves(study: Study) -> Figure:
    """Error on training and held-out images by epoch, a line a variant, a band over seeds."""
    panels = {"train_error": "training images", "val_error": "held-out images"}
    panels = {c: name for c, name in panels.items() if study.curves.get(c, NONE).notna().any()}
    figure, axes = plt.subplots(1, len(panels), figsize=(7.2, 3.6), sharey=True, squeeze=False)
    rows = varied(study)
    colors = dict(zip(rows, sns.color_palette("viridis", len(rows)), strict=True))
    for ax, (column, name) in zip(axes[0], panels.items(), strict=True):
        for row in study.rows:
            lines = study.curves[study.curves.row == row].dropna(subset=[column])
            over_seeds = lines.groupby("epoch")[column]
            mean = over_seeds.mean()
            if len(mean):
                color, dashes = CONTROLS.get(row, (colors.get(row), "-"))
                marker = "o" if len(mean) == 1 else None
                ax.plot(mean.index, mean, marker=marker, color=color, ls=dashes, label=row, lw=1.5)
                low, high = over_seeds.min(), over_seeds.max()
                ax.fill_between(mean.index, low, high, color=color, alpha=0.15, lw=0)
        ax.set(title=name, xlabel="epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.grid(color="0.9")
    axes[0, 0].set_ylabel("error (%)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center")
    return entitled(figure, study)


def seeds_text(study: Study) -> str:
    counts = sorted({len(study.of(row)) for row in study.rows})
    return "n = " + (f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}")


def entitled(figure: Figure, study: Study) -> Figure:
    """The figure with its title; what it must not be taken for stands there too."""
    asked = study.asked
    marks = [f"recipe {asked['recipe']}"]
    marks += ["SYNTHETIC DATA"] if asked["dataset"] == "synthetic" else []
    marks += ["a demonstration"] if asked["demonstration"] else []
    figure.suptitle(f"{title(study)} · {', '.join(marks)}", fontsize=11)
    return figure


NONE = pd.Series(dtype=float)
FIGURES: dict[str, tuple[Callable[[Study], bool], Callable[[Study], Figure]]] = {
    "errors": (lambda study: True, errors),
    "ratio": (lambda study: all(map(RATIO.fullmatch, varied(study))), ratio),
    "curves": (lambda study: study.curves.get("train_error", NONE).notna().any(), curves),
}


def save(study: Study, folder: Path) -> list[Path]:
    """Every figure of a study as PNG and PDF, the same bytes on every rebuild."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with matplotlib.rc_context(STYLE):
        for name, (fits, draw) in FIGURES.items():
            if fits(study):
                figure = draw(study)
                for kind, metadata in METADATA.items():
                    paths.append(folder / f"{study.name}-{name}.{kind}")
                    figure.savefig(paths[-1], metadata=metadata)
                plt.close(figure)
    return paths


METADATA = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Producer": None}}
