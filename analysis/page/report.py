"""Writes one page with all results, to read and to explore: RESULTS/report.html.

It fetches nothing: the template, the style, our scripts, the specifications of the charts and the
library that draws them (vega/) lie beside this file, and all of them are put into the page.
"""

import json
import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup, escape

from analysis.figures.kinds import KINDS, OF_A_GROUP
from analysis.figures.looks import COLORS
from analysis.figures.subjects import subjects
from analysis.groups import by_group, in_the_papers_order
from analysis.page import explore, gate_data
from analysis.page.answer import headline
from analysis.page.chapters import GATE_FIGURES, chapter, has_gates, section
from analysis.study import Study
from analysis.write import Known, tables_of
from experiments.records.files import write_atomically
from experiments.records.study_file import Group

if TYPE_CHECKING:
    from analysis.page.progress import UnderWay

NAME = "report.html"
HERE = Path(__file__).parent
TEMPLATE = "report.html.jinja"
SCRIPTS = ("view.js", "tables.js", "charts.js", "gates.js", "start.js")  # one module in the page
MOST_PICTURES = 12  # still ones, which print and show without scripts; of others there are links
REFRESH = 5  # seconds after which a browser reads the page of a grid that is under way again
CODE = re.compile(r"`([^`]+)`")


def write(
    studies: Sequence[Study],
    results: Path,
    figures: Iterable[Path],
    known: Known | None = None,
    under_way: "UnderWay | None" = None,
) -> Path:
    """Writes the page of all studies, and returns its path.

    The figures are those that `analysis.write.figures` returns; `known` are tables that `tables_of`
    computed before; `under_way` stands above all else while a grid runs.
    """
    path = results / NAME
    page = render(studies, figures, known, under_way)
    write_atomically(path, lambda file: file.write(page.encode()))
    return path


def render(
    studies: Sequence[Study],
    figures: Iterable[Path],
    known: Known | None = None,
    under_way: "UnderWay | None" = None,
) -> str:
    studies = sorted(studies, key=in_the_papers_order)
    there = {path.stem: path for path in figures if path.suffix == ".svg"}
    known = {} if known is None else known
    groups = by_group(studies)
    changed = [study for study in studies if study.asked.settings]
    order = in_order(groups)
    shown = next((group for group in order if has_gates(groups[group], there)), None)
    # The explorer stands in the group that is shown, and opens with the first network.
    gates = gate_data.networks([groups[g] for g in sorted(order, key=lambda g: g != shown)])
    so_far = under_way.charts if under_way else {}
    return (
        environment()
        .get_template(TEMPLATE)
        .render(
            under_way=under_way,
            refresh=REFRESH,
            most_pictures=MOST_PICTURES,
            chapters=[
                chapter(
                    group,
                    groups[group],
                    there,
                    known,
                    gates,
                    GATE_FIGURES if group == shown else (),
                )
                for group in order
            ],
            changed=[section(study, there, known, set()) for study in changed],
            warnings=dict.fromkeys(reason for study in studies for reason in study.damaged),
            data={
                "studies": {
                    study.name: explore.chart(study, tables_of(study, known)[study.name][3])
                    for study in studies
                }
                | so_far,
                "records": explore.records(studies),
                "forests": {"-".join(g): explore.forest(groups[g]) for g in groups},
                "gates": gates,
            },
            **_assets(),
        )
    )


def in_order(groups: dict[Group, list[Study]]) -> list[Group]:
    """Sorts the groups: that of the answer comes first."""
    first = headline([study for some in groups.values() for study in some])
    return sorted(groups, key=lambda group: group != first)


@cache
def environment() -> jinja2.Environment:
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    found.filters["code"] = code
    found.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    return found


def code(text: str) -> Markup:
    """Marks the parts of a text between backticks as code, and escapes all else."""
    return Markup(CODE.sub(r"<code>\1</code>", str(escape(text))))


@cache
def _assets() -> dict[str, Any]:
    """Reads the style sheet, the scripts and the charts, which are files beside this one."""
    specs = sorted((HERE / "charts").glob("*.json"))
    return {
        "style": Markup(colours() + (HERE / "report.css").read_text(encoding="utf-8")),
        "script": Markup(
            "\n".join((HERE / "scripts" / name).read_text("utf-8") for name in SCRIPTS)
        ),
        "vega": Markup((HERE / "vega" / "vega.js").read_text(encoding="utf-8")),
        "charts": {path.stem: json.loads(path.read_bytes()) for path in specs},
    }


def colours() -> str:
    """Writes the colours of the figures as those of the page, on either ground."""
    light, dark = (
        ":root {" + " ".join(f"--{name}: {both[at]};" for name, both in COLORS.items()) + "}"
        for at in (0, 1)
    )
    return f"{light}\n@media (prefers-color-scheme: dark) {{{dark}}}\n"


def figures_there(studies: Sequence[Study], results: Path) -> list[Path]:
    """Returns the figures of these studies, of their gates and groups, that were drawn before."""
    groups = by_group(studies)
    names = [f"{study.name}-{kind}" for study in studies for kind in KINDS]
    names += [f"{cell}-{kind}" for cell in subjects(studies) for kind in KINDS]
    names += [f"{kind}-{'-'.join(group)}" for group in groups for kind in OF_A_GROUP]
    paths = [results / "figures" / f"{name}.svg" for name in names]
    return [path for path in paths if path.exists()]
