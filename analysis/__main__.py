"""The command line: `python -m analysis tables|figures|show [STUDY...]`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from analysis import tables as tabled
from analysis.records import Study, find_studies
from experiments.config import ConfigError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Rebuilds tables and figures from the records under RESULTS, and from nothing else.

    A STUDY is a grid's name, such as ratio, or a study's full name; all of them unless given.""",
)
UsageError = typer.BadParameter.__base__  # which typer does not export

Studies = Annotated[list[str], typer.Argument(metavar="[STUDY]...", help="all unless given")]
Results = Annotated[Path, typer.Option(envvar="RESULTS", help="where the records lie")]
LOCAL = Path("results/local")


@app.command()
def tables(studies: Studies = (), results: Results = LOCAL) -> None:
    """Write RESULTS/tables/<study>.md, .tex and .csv."""
    found = find_studies(results, studies)
    for study in found:
        print(*write_tables(study, results), sep="\n")
    name_damaged(found)


@app.command()
def figures(studies: Studies = (), results: Results = LOCAL) -> None:
    """Write RESULTS/figures/<study>-*.png and .pdf."""
    found = find_studies(results, studies)
    for study in found:
        print(*draw_figures(study, results), sep="\n")
    name_damaged(found)


@app.command()
def show(studies: Studies = (), results: Results = LOCAL) -> None:
    """Write tables and figures, and print the tables."""
    found = find_studies(results, studies)
    for study in found:
        paths = [*write_tables(study, results), *draw_figures(study, results)]
        print(f"\n{tabled.text(study)}")
        print(*(f"wrote {path}" for path in paths), sep="\n")
    name_damaged(found)


@app.command()
def complexity(results: Results = LOCAL) -> None:
    """Write and print the paper's cost columns beside what `experiments complexity` counted."""
    from analysis import complexity as costs

    paths = costs.write(results)
    print(costs.text(results), *(f"wrote {path}" for path in paths), sep="\n")


def name_damaged(studies: list[Study]) -> None:
    """Ends with 1 where a record cannot be trusted: it was left out, and is named."""
    reasons = dict.fromkeys(reason for study in studies for reason in study.damaged)
    for reason in reasons:
        print(f"damaged, left out: {reason}", file=sys.stderr)
    if reasons:
        raise typer.Exit(1)


def write_tables(study: Study, results: Path) -> list[Path]:
    folder = results / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for kind, write in tabled.WRITERS.items():
        paths.append(folder / f"{study.name}.{kind}")
        paths[-1].write_text(write(study))
    return paths


def draw_figures(study: Study, results: Path) -> list[Path]:
    from analysis.figures import save  # matplotlib takes a second, and tables do without it

    return save(study, results / "figures")


def main() -> None:
    """Runs a command: exit status 2 and one sentence for what the user got wrong."""
    try:
        status = app(standalone_mode=False)
    except (ConfigError, UsageError) as error:
        message = error.format_message() if hasattr(error, "format_message") else error
        print(f"error: {message}", file=sys.stderr)
        status = 2
    except OSError as error:
        print(f"error: RESULTS cannot be written: {error}", file=sys.stderr)
        status = 2
    sys.exit(status)


if __name__ == "__main__":
    main()
