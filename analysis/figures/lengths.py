"""Draws a study across lengths of training, and the pilots that tuned a study."""

import math
from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from analysis.figures.looks import series_looks
from analysis.figures.style import entitled, seeds_text, where
from analysis.statistics.comparisons import MARGINS, against_reference, difference_text
from analysis.statistics.lengths import UNITS, by_length, series, slopes, unit
from analysis.statistics.stats import Difference
from analysis.study import Study
from analysis.tables.notes import SETTINGS
from experiments.records.study_file import Tune

APART = 1.02  # factor between the marks of two networks, on the axis of lengths
BESIDE = 1.2  # the axis goes so far beyond the lengths


def budget(study: Study) -> Figure:
    """Draws error against the length of the training, and below it differences by length."""
    panels = [draw_errors]
    panels += [_draw_differences] * bool(study.references) + [_draw_declared] * bool(slopes(study))
    figure = Figure(figsize=(7.2, 1.2 + 2.4 * len(panels)))
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for ax, draw in zip(axes, panels, strict=True):
        draw(study, ax)
        ax.grid(color="0.9")
        ax.set_axisbelow(True)
    axes[0].set_title(f"{where(study)}, {seeds_text(study)}")
    lengths = sorted({length for rows in series(study).values() for length in rows})
    axes[-1].set_xscale("log", base=2)
    axes[-1].set_xlim(lengths[0] / BESIDE, lengths[-1] * BESIDE)  # also while most are not there
    axes[-1].set_xticks(lengths, [f"{length:,}" for length in lengths])
    axes[-1].xaxis.set_minor_locator(NullLocator())
    axes[-1].set_xlabel(UNITS[unit(study)])
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    return entitled(figure, study)


def draw_errors(study: Study, ax: Axes) -> None:
    _draw_networks(study, ax, lambda row: study.pool.mean(study.cells[row]))
    ax.set_ylabel("test error (%)")


def _draw_differences(study: Study, ax: Axes) -> None:
    compared = against_reference(study)

    def find(row: str) -> tuple[float, float]:
        found = compared.get(row, Difference(math.nan))
        return found.estimate, found.high - found.estimate

    _draw_networks(study, ax, find)
    ax.axhline(0, color="0.5", lw=1)
    names = {network for network, rows in series(study).items()
             if set(rows.values()) & set(study.references.values())}  # fmt: skip
    ax.set_ylabel(f"minus {names.pop() if len(names) == 1 else 'its reference'} (points)")


def _draw_networks(study: Study, ax: Axes, find: Callable[[str], tuple[float, float]]) -> None:
    """Draws one line per network: find(row) is a number and the half-width of its interval."""
    networks = series(study)
    seen = series_looks(list(networks))
    for number, (network, rows) in enumerate(networks.items()):
        look = seen[network]
        shift = APART ** (number - (len(networks) - 1) / 2)
        found = [find(row) for row in rows.values()]
        ax.errorbar(
            [length * shift for length in rows], [number for number, _ in found],
            yerr=[0 if math.isnan(half) else half for _, half in found],
            color=look.color, marker=look.marker, ms=5, capsize=2, lw=1, label=network,
        )  # fmt: skip


def _draw_declared(study: Study, ax: Axes) -> None:
    """Draws the declared difference at each length with its interval, and writes its slopes."""
    one, *_ = declared = slopes(study)
    found = {x: d for x, d in by_length(study, one).items() if not math.isnan(d.estimate)}
    halves = [0 if math.isnan(d.low) else d.high - d.estimate for d in found.values()]
    values = [d.estimate for d in found.values()]
    ax.errorbar(list(found), values, yerr=halves, fmt="D", color="0.15", ms=5, capsize=3)
    if margin := MARGINS.get(study.asked.dataset):
        ax.axhspan(-margin, margin, color="0.93", zorder=0)
    ax.axhline(0, color="0.5", lw=1)
    lines = [(s.ends, study.pool.contrast(s.of_cells(study.cells))) for s in declared]
    known = [(ends, line) for ends, line in lines if not math.isnan(line.estimate)]
    texts = [f"{ends} {difference_text(line)}" for ends, line in known]
    ax.set_title("slope per doubling: " + ("; ".join(texts) or "not known yet"), fontsize=8)
    ax.set_ylabel(f"{one.who} minus {one.than}\n(points)", fontsize=7)


def tuning(study: Study) -> Figure:
    """Draws the held-out error of the pilots against the value they tried, one panel per length."""
    tune = study.asked.tune
    networks = series(study) or {row: {0: row} for row in study.rows}
    seen = series_looks(list(networks))
    lengths = sorted({length for rows in networks.values() for length in rows})
    lengths = [x for x in lengths if any(known(tune, rows.get(x)) for rows in networks.values())]
    columns = min(3, len(lengths))
    rows = math.ceil(len(lengths) / columns)
    figure = Figure(figsize=(1.5 + 2.6 * columns, 1.3 + 2.4 * rows))
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat[len(lengths) :]:
        ax.remove()
    for ax, length in zip(axes.flat, lengths, strict=False):
        for network, found in networks.items():
            color, mark = seen[network].color, seen[network].marker
            errors = known(tune, found.get(length))
            ax.plot(list(errors), list(errors.values()), marker=mark, mfc="w", color=color, ms=5,
                    lw=1.2, label=network)  # fmt: skip
            row = found.get(length)
            if row in tune.rows and (chosen := tune.rows[row].chosen) in errors:
                ax.plot(chosen, errors[chosen], marker=mark, color=color, ms=6)
            for value in diverged(tune, row):  # at the upper edge, whatever the axis shows
                ax.text(value, 1, "×", color=color, transform=ax.get_xaxis_transform(),
                        ha="center", va="top", fontsize=10)  # fmt: skip
        ax.set_xscale("log")
        rows_here = [rows.get(length) for rows in networks.values()]
        values = sorted({x for row in rows_here for x in (*known(tune, row), *diverged(tune, row))})
        ax.set_xticks(values, [f"{value:g}" for value in values], fontsize=8)
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.grid(color="0.9")
        if length:
            ax.set_title(f"{length:,} {UNITS[unit(study)]}")
    lost = "; ×: diverged" if any(diverged(tune, row) for row in tune.rows) else ""
    figure.supxlabel(f"{SETTINGS.get(tune.key, tune.key)}; filled: chosen{lost}", fontsize=9)
    figure.supylabel("error on held-out images (%)", fontsize=9)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8)
    return entitled(figure, study, f"{study.asked.title}: what the pilots tried")


def any_known(study: Study) -> bool:
    """Tells whether a pilot of the study has ended in a number."""
    tune = study.asked.tune
    return tune is not None and any(known(tune, row) for row in tune.rows)


def diverged(tune: Tune, row: str | None) -> list[float]:
    """Lists the values whose pilots diverged, of a row that is tuned."""
    if row not in tune.rows or tune.rows[row].chosen is None:
        return []  # they may not have been trained yet
    return [value for value, error in tune.rows[row].tried if error is None]


def known(tune: Tune, row: str | None) -> dict[float, float]:
    """Maps value to error, for the pilots of a row that ended in a number."""
    tried = tune.rows[row].tried if row in tune.rows else ()
    return {value: error for value, error in tried if error is not None}
