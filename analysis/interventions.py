"""What a network loses when its gates are replaced."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from analysis.records import Study
from analysis.stats import interval
from analysis.style import MARKS
from experiments.config import ConfigError

WORDS = {"mean": "mean over images", "another": "another image's", "half": "1/2", "one": "1"}
TICKS = [-50, -10, -2, -1, 0, 1, 2, 10, 50]  # of a rise in points


def intervention_frame(runs: pd.DataFrame) -> pd.DataFrame:
    """How much the error rises where gates are replaced: a row a seed, place and replacement.

    Args:
        runs: of one table row, as in `Study.runs`; runs that replaced no gate add nothing.
    """
    rows = []
    for _, run in runs.iterrows():
        found = run.get("interventions")
        if isinstance(found, dict) and "all" in found:
            for where, errors in {"all": found["all"], **found["stages"]}.items():
                for how, error in errors.items():
                    rise = error - found["intact"]
                    rows.append((run["seed"], where, how, rise, found["images"]))
    return pd.DataFrame(rows, columns=["seed", "where", "how", "rise", "n_images"])


def interventions(errors: pd.DataFrame) -> Figure:
    """Rise of the error with other gates in all blocks, and in those of one stage alone.

    Args:
        errors: as from `intervention_frame`.
    """
    if errors.empty:
        raise ConfigError("no gates were replaced in these runs")
    everywhere = errors["where"] == "all"
    stages = list(errors["where"][~everywhere].unique())
    figure = Figure(figsize=(7.2, 3.5))
    axes = figure.subplots(1, 2 if stages else 1, sharex=True, sharey=True, squeeze=False)[0]
    seeds = errors.seed.nunique()
    name = "mean of seeds, 95 % interval" if seeds > 1 else "the one seed: no interval"
    draw_rises(errors[everywhere], axes[0], 0, "k", "D", name)
    for number, stage in enumerate(stages):
        shift, mark = 0.7 * ((number + 0.5) / len(stages) - 0.5), MARKS[number % len(MARKS)]
        draw_rises(errors[errors["where"] == stage], axes[1], shift, *mark, f"stage {stage}")
    parts = {"left": "gates of all blocks replaced by", "right": "of one stage alone"}
    for ax, (side, name) in zip(axes, parts.items(), strict=False):
        draw_scale(ax)
        ax.set_title(name)
        figure.legend(*ax.get_legend_handles_labels(), loc=f"outside lower {side}", ncols=3)
    axes[0].set_ylim(len(WORDS) - 0.5, -0.5)
    axes[0].set_yticks(range(len(WORDS)), WORDS.values())
    return figure


def draw_rises(errors: pd.DataFrame, ax: Axes, shift: float, color, sign: str, name: str) -> None:
    """One place's rises, a row a replacement: seeds, their mean and its 95 % interval."""
    for row, how in enumerate(WORDS):
        rises = errors.rise[errors.how == how]
        mean, half = interval(rises)
        ax.errorbar(
            mean, row + shift, xerr=half, fmt=sign, color=color, ms=5, capsize=3,
            label="" if row else name,
        )  # fmt: skip
        if len(rises) > 1:
            ax.plot(rises, [row + shift] * len(rises), "o", mfc="none", mec="0.4", ms=3.5)


def draw_scale(ax: Axes) -> None:
    """Linear to 2 points and logarithmic beyond, as gates of 1 cost ten times what others do."""
    ax.set_xscale("symlog", linthresh=2, linscale=0.8)
    low, high = ax.get_xlim()
    ax.set_xlim(max(-100, min(-1, low)), min(100, max(2, high)))
    ax.xaxis.set_major_locator(FixedLocator(TICKS))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
    ax.axvline(0, color="k", lw=0.8)
    ax.grid(axis="x", color="0.9")
    ax.set(axisbelow=True, xlabel="rise of the error (points; log beyond 2)")


def rises(study: Study) -> pd.DataFrame:
    """Row, place and replacement -> mean rise of the error in points, with its interval."""
    frames = [intervention_frame(study.of(row)).assign(row=row) for row in study.rows]
    frame = pd.concat(frames)
    rows = []
    for (row, where, how), some in frame.groupby(["row", "where", "how"], sort=False):
        mean, half = interval(some.rise)
        rows.append((row, where, how, mean, half, len(some), int(some.n_images.max())))
    columns = ["row", "where", "how", "rise", "half_width", "seeds", "images"]
    return pd.DataFrame(rows, columns=columns)


def cells(rises: pd.DataFrame) -> pd.DataFrame:
    """The same as text: a row a network and place, a column a replacement."""
    texts = [
        f"{r.rise:+z.2f}" + ("" if pd.isna(r.half_width) else f" ± {r.half_width:.2f}")
        for r in rises.itertuples()
    ]
    wide = rises.assign(text=texts).pivot(index=["row", "where"], columns="how", values="text")
    order = list(dict.fromkeys(zip(rises.row, rises["where"], strict=True)))
    wide = wide.reindex(order)[list(WORDS)].rename(columns=WORDS)
    places = ["all blocks" if where == "all" else f"stage {where}" for _, where in order]
    names = {"network": [row for row, _ in order], "gates replaced in": places}
    return pd.concat([pd.DataFrame(names), wide.reset_index(drop=True)], axis=1)


def notes(study: Study, rises: pd.DataFrame) -> list[str]:
    images = " or ".join(f"{n:,}" for n in sorted(rises.images.unique()))
    seeds = sorted(rises.seeds.unique())
    lines = [
        f"Rise of the test error in points, of each run over its own, on {images} test images; "
        f"n = {' or '.join(map(str, seeds))}"
        + ("." if seeds == [1] else ", ± is the 95 % interval over seeds (Student)."),
        "Replaced after the training, and nothing was selected by it. What a network needs at the "
        "end is not what its training gained.",
    ]
    return lines + (
        ["A DEMONSTRATION: rank nothing by it."] if study.asked["demonstration"] else []
    )
