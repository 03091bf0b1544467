"""Makes the panels of a study's runs on W&B: curves, bars, gates, table and figures.

They show what tracking/mirror.py has logged. Nothing is saved here.
"""

from typing import Any

from wandb_workspaces.reports.v2 import interface as wr

from analysis.figures.kinds import OF_A_GROUP, STUDY_FIGURES
from analysis.write import FURTHER
from experiments.records.study_file import StudyFile, seeds_of_cells
from senet.networks import NETWORKS


def varied(study: StudyFile) -> list[str]:
    """Names the levels that have several values in this study."""
    levels = [level for row in study.rows for level in row.levels.items()]
    names = dict.fromkeys(name for name, _ in levels)
    return [name for name in names if len({value for n, value in levels if n == name}) > 1]


def stages(study: StudyFile) -> range:
    """Numbers the stages as the paper does: 2 to 4 on CIFAR, 2 to 5 of a network for ImageNet."""
    names = [study.network, *(row.levels.get("network") for row in study.rows)]
    counts = [len(NETWORKS[name].blocks) for name in names if name in NETWORKS]
    return range(2, 2 + max(counts, default=3))


def folded(study: StudyFile) -> dict[str, Any]:
    """Folds the seeds of a cell into their mean, and a band from the lowest to the highest."""
    grouped = {"groupby": wr.Config("cell"), "groupby_aggfunc": "mean"}
    shown = sum(seeds_of_cells([study]).values())
    return grouped | {"groupby_rangefunc": "minmax", "max_runs_to_show": shown}


def line(study: StudyFile, title: str, metric: str) -> wr.LinePlot:
    """Plots a metric over the epochs."""
    return wr.LinePlot(title=title, x="epoch", y=[metric], smoothing_type="none", **folded(study))


def bars(study: StudyFile, title: str, *metrics: str) -> wr.BarPlot:
    """Plots a bar for each row and metric."""
    most = len(study.rows) * len(metrics)
    return wr.BarPlot(title=title, metrics=list(metrics), max_bars_to_show=most, **folded(study))


def against(study: StudyFile) -> wr.ScatterPlot:
    """Plots test error against the ratio where it is varied, else against the parameters."""
    x, name, is_of_ratio = wr.SummaryMetric("parameters"), "parameters", "ratio" in varied(study)
    if is_of_ratio:
        x, name = wr.Config("se_ratio"), "reduction ratio r, which only SE has"
    title, error = f"Test error (%) against the {name}", wr.SummaryMetric("test/error")
    return wr.ScatterPlot(title=title, x=x, y=error, log_x=is_of_ratio)


def gates(study: StudyFile) -> list[Any]:
    """Plots by stage mean and spread over the epochs, and the histogram of one run."""
    panels, one = [], {"groupby": "None", "aggregate": False, "max_runs_to_show": 1}
    for of in (f"stage {number}" for number in stages(study)):
        panels += [
            line(study, f"Gates of {of}, mean", f"gates/{of} mean"),
            line(study, f"Gates of {of}, standard deviation", f"gates/{of} std"),
            wr.LinePlot(title=f"Gates of {of}, of one run", x="epoch", y=[f"gates/{of}"], **one),
        ]
    return panels


def of_training(study: StudyFile) -> dict[str, list[Any]]:
    """Makes the panels of the training runs, by section."""
    kinds = [f"intervention/{kind}" for kind in ("mean", "another", "half", "one")]
    replaced = "Test error (%), each gate replaced by its mean, another image's, 1/2, 1"
    pictures = ["figure6", "figure7", "specificity", "walk", "interventions"]
    confusion = wr.CustomChart(  # what `wandb.plot.confusion_matrix` makes of the table it logs
        query={"id": None, "name": None, "summaryTable": {"tableKey": "confusion_table"}},
        chart_name="wandb/confusion_matrix/v1",
        chart_fields={name: name for name in ("Actual", "Predicted", "nPredictions")},
        chart_strings={"title": "Confusion of the classes"},
    )
    return {
        "Errors": [
            line(study, "Held-out error (%)", "val/error"),
            line(study, "Training error (%)", "train/error"),
            bars(study, "Test error (%) after the last epoch", "test/error"),
        ],
        "Error against what was varied": [against(study)],
        "Gates": gates(study),
        "Gates replaced": [bars(study, replaced, *kinds)],
        "Cost": [
            bars(study, "Parameters", "parameters"),
            bars(study, "Multiply-adds", "multiply_adds"),
            line(study, "Training images a second", "images_per_second"),
        ],
        "Activations": [wr.MediaBrowser(title="What the gates do", media_keys=pictures)],
        "Confusion": [confusion],
    }


def of_analysis(study: StudyFile) -> dict[str, list[Any]]:
    """Makes the panels of the run that holds the table and figures, by section."""
    names = varied(study)
    several = len(names) > 1
    fits = {"ratio": "ratio" in names, "figure4": "network" in names, "factorial": several}
    fits |= {"effects": several, "budget": "images" in names, "slope": "images" in names}
    fits["tuning"] = study.tune is not None
    drawn = [name for name in (*STUDY_FIGURES, *OF_A_GROUP) if fits.get(name, True)]
    figures = {"title": "Figures", "media_keys": [f"figures/{name}" for name in drawn]}
    further = [end for end, *_ in FURTHER if fits.get(end, True)]
    tables = ["table", *(f"table/{end}" for end in further)]
    shown = [wr.WeavePanelSummaryTable(table_name=t, layout=wr.Layout(w=24)) for t in tables]
    return {"Table": shown, "Figures": [wr.MediaBrowser(**figures, layout=wr.Layout(w=24, h=12))]}
