"""Defines the command line: `python -m analysis COMMAND [STUDY...]`."""

import signal

if __name__ == "__main__":  # Ctrl-C while the rest is imported needs no traceback
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from analysis.read import divide_studies, find_studies
from analysis.study import Study
from experiments.processes import command
from experiments.records.studies import read_studies

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="""Rebuilds tables, figures and verdicts from the records under RESULTS, and from nothing
    else.

    A STUDY is a grid's name, such as ratio, or a study's full name; all of them unless given.""",
)

Studies = Annotated[list[str], typer.Argument(metavar="STUDY", help="all unless given")]
Results = Annotated[Path, typer.Option(envvar="RESULTS", help="where the records lie")]
Json = Annotated[bool, typer.Option("--json", help="one object for programs: analysis/schema.py")]
LOCAL = Path("results/local")
PATIENCE = 5.0  # seconds for a browser that ends when it has handed the page on


@app.command()
def tables(studies: Studies = (), results: Results = LOCAL) -> None:
    """Write RESULTS/tables/<study>.md, .tex and .csv."""
    from analysis import write

    found = find_studies(results, studies, lost := [])
    print(*write.tables(found, results), sep="\n")
    end(found, lost)


@app.command()
def figures(studies: Studies = (), results: Results = LOCAL) -> None:
    """Write RESULTS/figures/*.png, .pdf and .svg: of studies, of gates, and the forest plot."""
    from analysis import write

    found, others = divide_studies(results, studies, lost := [])
    print(*write.figures(found, results, others), sep="\n")
    end(found, lost)


@app.command()
def show(studies: Studies = (), results: Results = LOCAL) -> None:
    """Write tables and figures, print the tables, and write the report of all studies."""
    from analysis.page.show import show as draw

    raise typer.Exit(0 if draw(results, studies) else 1)


@app.command()
def claims(studies: Studies = (), results: Results = LOCAL, as_json: Json = False) -> None:
    """Say which of the paper's claims the records confirm, and write RESULTS/tables/claims-*.

    Of each data set, network and recipe of STUDIES all claims are judged. With --json nothing is
    written."""
    from analysis import write

    named = find_studies(results, studies, lost := [])
    asked = {study.asked.group for study in named}
    # A group is judged whole: its table has all claims, of whichever study they are.
    found = [study for study in find_studies(results, (), []) if study.asked.group in asked]
    if as_json:
        from analysis.tables.claims import printed

        print(printed(write.judge(found)).model_dump_json(indent=1))
        return end(found, lost)
    paths, text = write.claims(found, results)
    print(text, *(f"wrote {path}" for path in paths), sep="\n")
    end(found, lost)


@app.command()
def power(
    studies: Studies = (),
    results: Results = LOCAL,
    spread: Annotated[
        float | None,
        typer.Option(
            min=0.001, max=100, help="standard deviation over seeds in points, not the records'"
        ),
    ] = None,
    chance: Annotated[
        float,
        typer.Option("--power", min=0.06, max=0.999, help="the chance that it is to be seen with"),
    ] = 0.8,
    as_json: Json = False,
) -> None:
    """Say how many seeds a difference needs to be seen, and a likeness to be shown."""
    from analysis.schema import Power
    from analysis.statistics.power import by_plan, needed, text
    from analysis.statistics.seeds import Plan

    lost: list[str] = []
    found = find_studies(results, studies, lost) if spread is None else []
    known = tuple(needed(study, chance) for study in found)
    if spread is not None:
        known = (by_plan("as given", "given", Plan(spread), chance),)
    if as_json:
        print(Power(power=chance, studies=known).model_dump_json(indent=1))
    else:
        print(*(text(one, chance) for one in known), sep="\n")
    end(found, lost)


@app.command()
def report(results: Results = LOCAL) -> None:
    """Write RESULTS/report.html: all there is on one page that needs no other file."""
    from analysis import write
    from analysis.page import report as page

    found = find_studies(results, [], lost := [])
    print(f"wrote {page.write(found, results, write.figures(found, results))}")
    end(found, lost)


@app.command()
def paper(
    results: Annotated[
        Path | None,
        typer.Option(
            envvar="RESULTS",
            help="where the records lie; results/published unless given, or where it holds none "
            "results/local",
        ),
    ] = None,
) -> None:
    """Write all from the records alone: tables, figures, claims, report, and a row a run.

    Of results/published it also writes what README.md and docs/findings.md say of them.
    """
    from analysis import write
    from analysis.page import readme
    from analysis.page import report as page
    from analysis.tables import runs

    results = results or (readme.HOME if read_studies(readme.HOME, []) else LOCAL)
    found, known = find_studies(results, [], lost := []), {}
    write.tables(found, results, known)
    figures = write.figures(found, results)
    print(write.claims(found, results)[1])
    paths = [page.write(found, results, figures, known), *runs.write(found, results)]
    paths += readme.write(found) if readme.is_published(results) and not lost else []
    print(f"wrote {write.summary(found, results)}, and {', '.join(map(os.path.relpath, paths))}")
    end(found, lost)


@app.command()
def browse(
    results: Results = LOCAL,
    show: Annotated[
        bool, typer.Option("--open/--no-open", help="show the report in a browser")
    ] = True,
) -> None:
    """Show the report in a browser, and list how to look at the runs that W&B has offline.

    While a grid runs that is the page that refreshes itself. Else it is written anew, so that it
    is true."""
    from analysis import write
    from analysis.page import live
    from analysis.page import report as page

    path, names, found = results / page.NAME, live.studies_under_way(results), []
    lost: list[str] = []
    if not names:
        found = find_studies(results, [], lost)
        page.write(found, results, write.figures(found, results))
    elif not live.refreshes_itself(path):  # then the grid's own process is late, or gone
        from analysis.page.progress import Page

        Page(results, names, print).write("under way")
    is_shown = show and open_in_browser(path)
    print(f"{'opened' if is_shown else 'the report is'} {path.absolute().as_uri()}")
    print(offline_runs(results))
    end(found, lost)


def open_in_browser(path: Path) -> bool:
    """Tells whether a browser shows it. One that stays in the foreground is not waited for."""
    windows = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    if sys.platform == "linux" and not any(os.environ.get(name) for name in windows):
        return False  # a browser for the terminal would take it
    code = "import sys, webbrowser; sys.exit(not webbrowser.open(sys.argv[1]))"
    nowhere = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    command = [sys.executable, "-c", code, path.absolute().as_uri()]
    process = subprocess.Popen(command, start_new_session=True, **nowhere)
    try:
        return process.wait(PATIENCE) == 0
    except subprocess.TimeoutExpired:
        return True


def offline_runs(results: Path) -> str:
    """Says in a sentence how to look at the runs that were kept for W&B."""
    folder = results / "wandb"
    n = sum("-analysis-" not in path.name for path in folder.glob("offline-run-*"))  # of studies
    if not n:
        return f"no runs were kept for W&B without a network in {folder}"
    runs = "1 run was" if n == 1 else f"{n:,} runs were"
    it = "it" if n == 1 else "them"
    return (
        f"{runs} kept for W&B without a network in {folder}: `.venv/bin/wandb leet "
        f"{shlex.quote(str(folder))}` browses {it} in the terminal, `make wandb-sync` sends {it}"
    )


@app.command()
def complexity(results: Results = LOCAL) -> None:
    """Write and print the paper's cost columns beside what `experiments complexity` counted."""
    from analysis.tables import complexity as costs

    paths, text = costs.write(results)
    print(text, *(f"wrote {path}" for path in paths), sep="\n")


def end(found: list[Study], lost: list[str]) -> None:
    """Ends with 1 where a record cannot be trusted: it was left out, and is named."""
    from analysis.page.show import name_damaged

    if name_damaged(found, lost):
        raise typer.Exit(1)


def main() -> None:
    command.run(app)


if __name__ == "__main__":
    main()
