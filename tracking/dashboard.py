"""Makes the dashboard on W&B: a saved view for each study, and one report of all of them.

Views of runs that are there (tracking/mirror.py). A second call updates those of the first.
"""

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import fields
from itertools import chain
from pathlib import Path
from typing import Any

from experiments.data.datasets import caveat
from experiments.records.files import read_json, write_json
from experiments.records.parsing import ConfigError, Strict, parse
from experiments.records.studies import read_studies
from experiments.records.study_file import StudyFile
from senet.config import SEConfig

try:
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces.reports.v2 import interface as wr
except ImportError:
    raise ConfigError(
        "the dashboard needs wandb-workspaces: pip install wandb-workspaces"
    ) from None

from tracking.panels import of_analysis, of_training, varied

KEYS = {"network": "network", "width": "width"} | {f.name: f"se_{f.name}" for f in fields(SEConfig)}
OPEN = ("Errors", "Error against what was varied", "Table", "Figures")  # sections, from the start
COLUMNS = [f"summary:{key}" for key in ("test/error", "parameters", "multiply_adds", "state")]
SYMBOLS = ("So", "Sk", "Sm", "Sc", "Cs")  # the library refuses them in names: = and + among them
View = wr.Report | ws.Workspace
SAVED = {  # what of a view is ours; the rest is what the service knows it by
    wr.Report: ("title", "description", "blocks", "width"),
    ws.Workspace: ("name", "sections", "settings", "runset_settings"),
}
WARNINGS: dict[str, Callable[[StudyFile], bool]] = {
    "A DEMONSTRATION, too short: rank nothing by it.": lambda study: study.demonstration,
    "ONE SEED: no difference can be told from chance.": lambda study: study.seeds == 1,
}
ASKED = "Which parts of a Squeeze-and-Excitation block matter, and which only seem to?"
SOURCES = """Every number is copied here from the record of a run, sealed by checksums. Test \
errors are read after the last epoch; nothing was selected by them. Lines are means over seeds; \
bands go from the lowest seed to the highest and are no confidence intervals. To draw it again:"""


class Links(Strict):
    """Holds dashboard.json: entity/project -> "report", or a study's name -> its link."""

    saved: dict[str, dict[str, str]]


def among(key: str, texts: Sequence[str]) -> str:
    """Makes a filter, in codes: even within quotes the library replaces = and <."""
    codes = ["".join(f"\\U{ord(c):08x}" for c in text) for text in texts]
    return f"{key} in [" + ", ".join(f'"{code}"' for code in codes) + "]"


def filters(study: StudyFile) -> tuple[str, str]:
    """Makes filters for the training runs, by cell as data sets share tags, and for the tables."""
    cells = [row.cell for row in study.rows]
    return among('Config("cell")', cells), among('Metric("Name")', [study.name])


def workspace(study: StudyFile, entity: str, project: str) -> ws.Workspace:
    """Makes the view of one study: its runs, seeds of a cell folded into one. Nothing is saved.

    Its runs are on W&B at `entity`, a user or a team, in `project`.
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


def warnings(study: StudyFile) -> list[str]:
    """Says what a study must not be taken for."""
    found = [caveat(study.dataset)] if caveat(study.dataset) else []
    return found + [text for text, holds in WARNINGS.items() if holds(study)]


def chapter(study: StudyFile) -> list[Any]:
    """Writes a study's chapter: what is asked and expected, how it is trained, what came out."""
    data, training = f"Data {study.dataset}, network {study.network}", study.training
    cells, name = filters(study)
    runs = wr.Runset(name="training runs", filters=cells, groupby=["config.cell"])
    found = wr.Runset(name="analysis", filters=name)
    return [
        wr.H2(f"{study.title} ({study.dataset})"),
        wr.P((f"Table {study.table} of the paper. " if study.table else "") + study.about),
        *(wr.CalloutBlock(text) for text in warnings(study)),
        wr.P(f"Expected before any run: {study.expected}"),
        wr.P(f"{data}, {training}. Seeds: {study.seeds}."),
        wr.CodeBlock(study.command, language=None),
        wr.PanelGrid(runsets=[found], panels=[*chain(*of_analysis(study).values())]),
        wr.PanelGrid(runsets=[runs], panels=[*chain(*of_training(study).values())]),
    ]


def report(studies: Sequence[StudyFile], entity: str, project: str) -> wr.Report:
    """Makes one report of all studies: words, table, figures, panels of each. Nothing is saved.

    It is kept at `entity` in `project`; the panels show runs of this project.
    """
    blocks = [wr.P(ASKED), wr.TableOfContents(), *chain(*map(chapter, studies))]
    blocks += [wr.H2("Where the numbers come from"), wr.P(SOURCES)]
    blocks += [wr.CodeBlock(".venv/bin/python -m analysis report", language=None)]
    return wr.Report(project, entity, "Squeeze-and-Excitation, ablated", ASKED, blocks, "fluid")


def _in_the_place_of(view: View, url: str | None) -> View:
    """Puts a view in the place of what this link leads to; returns it as it is where that is not.

    (The library has no error of its own for it; `save` meets any other trouble.)
    """
    try:
        found: Any = type(view).from_url(url or "")
    except Exception:
        return view
    for name in SAVED[type(view)]:
        setattr(found, name, getattr(view, name))
    return found


def publish(results: Path, entity: str, project: str) -> list[str]:
    """Saves the report and every study's view, anew or over those that an earlier call saved.

    What was saved is noted in RESULTS/wandb/dashboard.json. The runs are at `entity` in `project`.
    Returns the links, first the report's. Raises ConfigError where there is no study, the note is
    damaged, or the service refused something.
    """
    studies = read_studies(results)
    if not studies:
        raise ConfigError(f"{results} holds no study: begin with `python -m experiments run ratio`")
    views: dict[str, View] = {"report": report(studies, entity, project)}
    views |= {study.name: workspace(study, entity, project) for study in studies}
    path = results / "wandb" / "dashboard.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    data = {"saved": read_json(path) if path.exists() else {}}
    notes = parse(Links, data, f"{path} was edited or damaged").saved
    saved = notes.setdefault(f"{entity}/{project}", {})
    for name, made in views.items():
        view = _in_the_place_of(made, saved.get(name))
        try:
            view.save()
        except Exception as error:  # the library raises whatever its transport does
            raise ConfigError(f"W&B did not save {name}: {' '.join(str(error).split())}") from error
        saved[name] = view.url
        write_json(path, notes)  # at once: a call that breaks off makes nothing twice
    return [saved[name] for name in views]
