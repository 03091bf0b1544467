"""The command line: `python -m analysis COMMAND [STUDY...]`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from analysis.records import Study, find_studies
from experiments.config import ConfigError

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
UsageError = typer.BadParameter.__base__  # which typer does not export

Studies = Annotated[list[str], typer.Argument(metavar="STUDY", help="all unless given")]
Results = Annotated[Path, typer.Option(envvar="RESULTS", help="where the records lie")]
LOCAL = Path("results/local")


@app.command()
def tables(studies: Studies = (), results: Results = LOCAL) -> None:
    """Write RESULTS/tables/<study>.md, .tex and .csv."""
    from analysis import write

    found = find_studies(results, studies)
    print(*write.tables(found, results), sep="\n")
    name_damaged(found)


@app.command()
def figures(studies: Studies = (), results: Results = LOCAL) -> None:
    """Write RESULTS/figures/*.png and .pdf: of studies, of gates, and the forest plot."""
    from analysis import write

    found = find_studies(results, studies)
    print(*write.figures(found, results), sep="\n")
    name_damaged(found)


@app.command()
def show(studies: Studies = (), results: Results = LOCAL) -> None:
    """Write tables and figures, and print the tables."""
    from analysis import write

    found = find_studies(results, studies)
    write.tables(found, results)
    write.figures(found, results)
    print(*write.texts(found), sep="\n")
    print(f"wrote {write.summary(found, results)}")
    name_damaged(found)


@app.command()
def claims(studies: Studies = (), results: Results = LOCAL) -> None:
    """Say which of the paper's claims the records confirm, and write RESULTS/tables/claims-*."""
    from analysis import write

    found = find_studies(results, studies)
    paths, text = write.claims(found, results)
    print(text, *(f"wrote {path}" for path in paths), sep="\n")
    name_damaged(found)


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
) -> None:
    """Say how many seeds a difference needs to be seen, and a likeness to be shown."""
    from analysis import power as needed

    if spread is not None:
        print(needed.text("as given", spread, chance))
        return
    print(*needed.texts(find_studies(results, studies), chance), sep="\n")


@app.command()
def report(results: Results = LOCAL) -> None:
    """Write RESULTS/report.html: all there is on one page that needs no other file."""
    from analysis import report as page
    from analysis import write

    found = find_studies(results, [])
    print(f"wrote {page.write(found, results, write.figures(found, results))}")
    name_damaged(found)


@app.command()
def paper(results: Results = LOCAL) -> None:
    """All of it: tables, figures, claims and report, from the records alone."""
    from analysis import report as page
    from analysis import write

    found = find_studies(results, [])
    write.tables(found, results)
    figures = write.figures(found, results)
    print(write.claims(found, results)[1])
    print(f"wrote {write.summary(found, results)}, and {page.write(found, results, figures)}")
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
