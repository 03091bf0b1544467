"""The dashboard on W&B as code: a saved view for each study, and one report of all of them.

Views of runs that are there (tracking/mirror.py). A second call updates those of the first.
"""

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import fields
from itertools import chain
from pathlib import Path
from typing import Any

from experiments.records.files import read_json, write_json
from experiments.records.parsing import ConfigError
from experiments.records.study_file import StudyFile, read_studies, seeds_of_cells
from senet.config import SEConfig
from senet.networks import NETWORKS

try:
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces._graphql import execute_graphql
    from wandb_workspaces.reports.v2 import gql
    from wandb_workspaces.reports.v2.interface import _get_api
except ImportError:
    raise ConfigError(
        "the dashboard needs wandb-workspaces: pip install wandb-workspaces"
    ) from None

KEYS = {"network": "network", "width": "width"} | {f.name: f"se_{f.name}" for f in fields(SEConfig)}
OPEN = ("Errors", "Error against what was varied", "Table", "Figures")  # sections, from the start
COLUMNS = [f"summary:{key}" for key in ("test/error", "parameters", "multiply_adds", "state")]
SYMBOLS = ("So", "Sk", "Sm", "Sc", "Cs")  # the library refuses them in names: = and + among them
IDENTITY = {wr.Report: ("id",), ws.Workspace: ("_internal_id", "_internal_name")}
WARNINGS: dict[str, Callable[[StudyFile], bool]] = {  # what a study must not be taken for
    "SYNTHETIC DATA: nothing follows for CIFAR.": lambda study: study.dataset == "synthetic",
    "A DEMONSTRATION, too short: rank nothing by it.": lambda study: study.demonstration,
    "ONE SEED: no difference can be told from chance.": lambda study: study.seeds == 1,
}
ASKED = "Which parts of a Squeeze-and-Excitation block matter, and which only seem to?"
SOURCES = """Every number is copied here from the record of a run, sealed by checksums. Test \
errors are read after the last epoch; nothing was selected by them. Lines are means over seeds; \
bands go from the lowest seed to the highest and are no confidence intervals. To draw it again:"""


def varied(study: StudyFile) -> list[str]:
    """The levels that have several values in this study."""
    levels = [level for row in study.rows for level in row.levels.items()]
    names = dict.fromkeys(name for name, _ in levels)
    return [name for name in names if len({value for n, value in levels if n == name}) > 1]


def stages(study: StudyFile) -> range:
    """The paper's numbers of the stages: 2 to 4 on CIFAR, 2 to 5 of a network for ImageNet."""
    names = [study.network, *(row.levels.get("network") for row in study.rows)]
    counts = [len(NETWORKS[name].blocks) for name in names if name in NETWORKS]
    return range(2, 2 + max(counts, default=3))


def among(key: str, texts: Sequence[str]) -> str:
    """A filter. Quotes alone do not do: within them, too, the library replaces = and <."""
    codes = ["".join(f"\\U{ord(c):08x}" for c in text) for text in texts]
    return f"{key} in [" + ", ".join(f'"{code}"' for code in codes) + "]"


def filters(study: StudyFile) -> tuple[str, str]:
    """For the training runs, by cell as other data sets share the tag; for the analysis's run."""
    cells = [row.cell for row in study.rows]
    return among('Config("cell")', cells), among('Metric("Name")', [study.name])


def folded(study: StudyFile) -> dict[str, Any]:
    """What folds the seeds of a cell into their mean, and a band from the lowest to the highest."""
    grouped = {"groupby": wr.Config("cell"), "groupby_aggfunc": "mean"}
    shown = sum(seeds_of_cells([study]).values())
    return grouped | {"groupby_rangefunc": "minmax", "max_runs_to_show": shown}


def line(study: StudyFile, title: str, metric: str) -> wr.LinePlot:
    return wr.LinePlot(title=title, x="epoch", y=[metric], smoothing_type="none", **folded(study))


def bars(study: StudyFile, title: str, *metrics: str) -> wr.BarPlot:
    most = len(study.rows) * len(metrics)
    return wr.BarPlot(title=title, metrics=list(metrics), max_bars_to_show=most, **folded(study))


def against(study: StudyFile) -> wr.ScatterPlot:
    """Test error against the ratio where it is varied, else against the parameters."""
    x, name, is_of_ratio = wr.SummaryMetric("parameters"), "parameters", "ratio" in varied(study)
    if is_of_ratio:
        x, name = wr.Config("se_ratio"), "reduction ratio r, which only SE has"
    title, error = f"Test error (%) against the {name}", wr.SummaryMetric("test/error")
    return wr.ScatterPlot(title=title, x=x, y=error, log_x=is_of_ratio)


def gates(study: StudyFile) -> list[Any]:
    """By stage: mean and spread over the epochs, and the histogram, which W&B draws of one run."""
    panels, one = [], {"groupby": "None", "aggregate": False, "max_runs_to_show": 1}
    for of in (f"stage {number}" for number in stages(study)):
        panels += [
            line(study, f"Gates of {of}, mean", f"gates/{of} mean"),
            line(study, f"Gates of {of}, standard deviation", f"gates/{of} std"),
            wr.LinePlot(title=f"Gates of {of}, of one run", x="epoch", y=[f"gates/{of}"], **one),
        ]
    return panels


def of_training(study: StudyFile) -> dict[str, list[Any]]:
    """Panels of the training runs, by section."""
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
    """Panels of the run that holds the table, and the figures that fit the study, by section."""
    names = varied(study)
    fits = {"ratio": "ratio" in names, "figure4": "network" in names, "factorial": len(names) > 1}
    drawn = ["errors", "forest", "curves", "cost", *(name for name in fits if fits[name])]
    figures = {"title": "Figures", "media_keys": [f"figures/{name}" for name in drawn]}
    tables = ["table", "table/interventions", *(["table/effects"] if fits["factorial"] else [])]
    shown = [wr.WeavePanelSummaryTable(table_name=t, layout=wr.Layout(w=24)) for t in tables]
    return {"Table": shown, "Figures": [wr.MediaBrowser(**figures, layout=wr.Layout(w=24, h=12))]}


def workspace(study: StudyFile, entity: str, project: str) -> ws.Workspace:
    """The view of one study: its own runs, seeds of a cell folded into one. It is not saved yet.

    Args:
        study: what was asked for.
        entity, project: where its runs are; the entity is a user or a team.
    """
    title = f"{study.title}: {study.name}"
    levels = [f"config:{KEYS[name]}.value" for name in varied(study) if name in KEYS]
    sections = of_training(study) | of_analysis(study)
    return ws.Workspace(
        entity=entity,
        project=project,
        name="".join(" " if unicodedata.category(c) in SYMBOLS else c for c in title),
        sections=[ws.Section(name, panels, name in OPEN) for name, panels in sections.items()],
        settings=ws.WorkspaceSettings(x_axis="epoch", max_runs=len(study.rows) + 1),
        runset_settings=ws.RunsetSettings(
            filters=" or ".join(filters(study)),
            groupby=[ws.Config("cell")],
            order=[ws.Ordering(ws.Metric("CreatedTimestamp"), ascending=True)],
            pinned_columns=[COLUMNS[0], *levels, *COLUMNS[1:]],
        ),
    )


def chapter(study: StudyFile) -> list[Any]:
    """A study in the report: what is asked, what is expected, how it is trained, what came out."""
    data, training = f"Data {study.dataset}, network {study.network}", study.training
    cells, name = filters(study)
    runs = wr.Runset(name="training runs", filters=cells, groupby=["config.cell"])
    found = wr.Runset(name="analysis", filters=name)
    return [
        wr.H2(f"{study.title} ({study.dataset})"),
        wr.P((f"Table {study.table} of the paper. " if study.table else "") + study.about),
        *(wr.CalloutBlock(text) for text, holds in WARNINGS.items() if holds(study)),
        wr.P(f"Expected before any run: {study.expected}"),
        wr.P(f"{data}, {training}. Seeds: {study.seeds}."),
        wr.CodeBlock(study.command, language=None),
        wr.PanelGrid(runsets=[found], panels=[*chain(*of_analysis(study).values())]),
        wr.PanelGrid(runsets=[runs], panels=[*chain(*of_training(study).values())]),
    ]


def report(studies: Sequence[StudyFile], entity: str, project: str) -> wr.Report:
    """One report of all studies: words, table, figures, panels of each. It is not saved yet.

    Args:
        studies: what was asked for.
        entity, project: where it is kept; the panels show runs of the report's own project.
    """
    blocks = [wr.P(ASKED), wr.TableOfContents(), *chain(*map(chapter, studies))]
    blocks += [wr.H2("Where the numbers come from"), wr.P(SOURCES)]
    blocks += [wr.CodeBlock(".venv/bin/python -m analysis report", language=None)]
    return wr.Report(project, entity, "Squeeze-and-Excitation, ablated", ASKED, blocks, "fluid")


def is_there(view: str) -> bool:
    """Whether the service still has a view or report of this id."""
    try:
        return bool(execute_graphql(_get_api(), gql.view_report, {"reportId": view}).get("view"))
    except Exception:  # the library has no error of its own for it; `save` meets any other trouble
        return False


def publish(results: Path, entity: str, project: str) -> list[str]:
    """Saves the report and every study's view, anew or over those that an earlier call saved.

    Args:
        results: the folder of the studies; what was saved is noted in its wandb/dashboard.json.
        entity, project: where the runs are.

    Returns:
        The links, first the report's.

    Raises:
        ConfigError: there is no study, the note is damaged, or the service refused something.
    """
    studies = read_studies(results)
    if not studies:
        raise ConfigError(f"{results} holds no study: begin with `python -m experiments run ratio`")
    views = {"report": report(studies, entity, project)}
    views |= {study.name: workspace(study, entity, project) for study in studies}
    path = results / "wandb" / "dashboard.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    notes = read_json(path) if path.exists() else {}
    saved = notes.setdefault(f"{entity}/{project}", {})
    for name, view in views.items():
        known, names = saved.get(name), IDENTITY[type(view)]
        if known and is_there(known[0]):
            for attribute, value in zip(names, known, strict=True):
                setattr(view, attribute, value)
        try:
            view.save()
        except Exception as error:  # the library raises whatever its transport does
            raise ConfigError(f"W&B did not save {name}: {' '.join(str(error).split())}") from error
        saved[name] = [getattr(view, attribute) for attribute in names]
        write_json(path, notes)  # at once: a call that breaks off makes nothing twice
    return [view.url for view in views.values()]
