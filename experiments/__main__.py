"""The command line: `python -m experiments plan|run|status|data`."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from experiments import record as records
from experiments.config import ConfigError, checked, recipes
from experiments.datasets import DATASETS, load, path_of, prepare_any
from experiments.display import Display, duration
from experiments.grid import DEFAULT_NETWORK, Study, expand, list_grids
from experiments.overview import plan_table, status_table
from experiments.record import Record
from experiments.settings import parse_settings
from senet.config import choose

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="""Trains the grids of the SE ablation study and keeps a record of every run.

    A grid is a file of experiments/grids, such as ratio, or the path of your own. Every option but
    --set is a variable of make and of the environment: make ablation-ratio RECIPE=small SEEDS=3""",
)
console = Console()
UsageError = typer.BadParameter.__base__  # which typer does not export


def whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a whole number") from None


Grids = Annotated[
    list[str], typer.Argument(help=f"one or more of {', '.join(list_grids())}, or YAML files")
]
Dataset = Annotated[
    str, typer.Option(envvar="DATASET", help=f"auto or one of {', '.join(DATASETS)}")
]
Network = Annotated[str, typer.Option(envvar="NETWORK", help="a network's name, as resnet20")]
RecipeName = Annotated[
    str, typer.Option(envvar="RECIPE", help=f"auto or one of {', '.join(recipes())}")
]
Seeds = Annotated[
    int | None,
    typer.Option(
        envvar="SEEDS", parser=whole, metavar="N", help="trains the seeds 0 to N - 1 of every row"
    ),
]
Device = Annotated[str, typer.Option(envvar="DEVICE", help="auto, cuda, mps or cpu")]
Workers = Annotated[
    int | None,
    typer.Option(
        envvar="WORKERS", parser=whole, metavar="N", help="runs at a time: one a core, one on a GPU"
    ),
]
DataDir = Annotated[Path, typer.Option(envvar="DATA_DIR", help="where the data sets lie")]
Results = Annotated[Path, typer.Option(envvar="RESULTS", help="where everything is written")]
Settings = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="what the grid leaves open: recipe.epochs=2"),
]


def say(text: str, style: str | None = None) -> None:
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


@app.command()
def run(
    grids: Grids,
    dataset: Dataset = "auto",
    network: Network = DEFAULT_NETWORK,
    recipe: RecipeName = "auto",
    seeds: Seeds = None,
    device: Device = "auto",
    workers: Workers = None,
    data_dir: DataDir = Path("data"),
    results: Results = Path("results/local"),
    settings: Settings = (),
) -> None:
    """Train what is missing of the grids, then draw their tables and figures.

    What is there already is never trained again: call it as often as you like.
    """
    from experiments.environment import pick_device, pick_workers

    device = pick_device(device)
    workers = pick_workers(workers, device)
    recipe = pick_recipe(recipe, device)
    checked(choose, "dataset", dataset, {"auto": None, **DATASETS})
    options = network, recipe, seeds, settings
    studies = expand_all(grids, "cifar10" if dataset == "auto" else dataset, *options)
    records.check_writable(results)
    if not all(record.finished for record in name_runs(studies, results)):
        from experiments.estimate import check

        check(studies)  # refuses what cannot be built, before anything is fetched or written
        studies = expand_all(grids, prepare_any(dataset, data_dir, say), *options)

    names = name_runs(studies, results)
    pending = [record for record in names if not record.finished]
    say(f"{', '.join(grids)}: data {studies[0].dataset}, network {network}, {studies[0].training}")
    say(f"{len(names) - len(pending)} of {len(names)} runs are there, {len(pending)} to train")
    expected = estimate(pending, data_dir, device) if pending else {}
    for study in studies:
        records.write_study(results, study.record())
        if study.code:
            records.keep_code(results, study.code)
    if pending:
        from experiments.launch import local

        workers = min(workers, len(pending))
        total = duration(sum(expected.values()) / workers)
        say(f"on {device}, {workers} at a time: about {total}; Ctrl-C keeps what is finished\n")
        with Display(console, names, expected, workers) as display:
            for event in local(pending, data_dir, device, workers):
                display.follow(event)

    sys.stdout.flush()
    analysis = [sys.executable, "-m", "analysis", "show", "--results", str(results)]
    drawn = subprocess.run([*analysis, *(study.name for study in studies)]).returncode
    failed = [record for record in names if not record.finished]
    for record in failed:
        say(f"FAILED {names[record]}: {record.path / 'error.txt'}", style="bold red")
    raise typer.Exit(1 if failed else drawn)


@app.command()
def plan(
    grids: Grids,
    dataset: Dataset = "auto",
    network: Network = DEFAULT_NETWORK,
    recipe: RecipeName = "auto",
    seeds: Seeds = None,
    device: Device = "auto",
    workers: Workers = None,
    data_dir: DataDir = Path("data"),
    results: Results = Path("results/local"),
    settings: Settings = (),
) -> None:
    """Show what `run` would train, what is there, and what it costs. Nothing is written."""
    from experiments.environment import pick_device, pick_workers
    from experiments.estimate import prices, seconds

    device = pick_device(device)
    workers = pick_workers(workers, device)
    recipe = pick_recipe(recipe, device)
    checked(choose, "dataset", dataset, {"auto": None, **DATASETS})
    if dataset == "auto":
        dataset = "cifar10"
        if not path_of(dataset, data_dir).exists():
            say("cifar10 has to be downloaded; if it cannot be, `run` takes the synthetic set")
    studies = expand_all(grids, dataset, network, recipe, seeds, settings)
    price = prices(studies)
    for study in studies:
        console.print(plan_table(study, price, results))
        for text in (
            study.grid.about,
            f"Expected: {study.grid.expect}",
            f"Cost: {study.grid.cost}",
        ):
            say(text)
    names = name_runs(studies, results)
    pending = [record for record in names if not record.finished]
    say(f"{len(names)} runs, {len(names) - len(pending)} there, {len(pending)} to train")
    if pending:
        workers = min(workers, len(pending))
        total = sum(seconds(pending, device).values()) / workers
        say(f"about {duration(total)} on {device}, {workers} at a time")


@app.command()
def status(
    grids: Annotated[list[str], typer.Argument(help="only these; all unless given")] = (),
    dataset: Dataset = "auto",
    network: Annotated[str | None, typer.Option(envvar="NETWORK", help="only this")] = None,
    recipe: RecipeName = "auto",
    results: Results = Path("results/local"),
) -> None:
    """Show the state of every run that was asked for, from the files alone."""
    wanted = {"dataset": dataset, "network": network, "recipe": recipe}
    wanted = {key: value for key, value in wanted.items() if value not in (None, "auto")}
    known = {"dataset": DATASETS, "recipe": recipes(), "network": None}
    for key, value in wanted.items():
        if known[key]:
            checked(choose, key, value, known[key])
    asked = {study["grid"]: None for study in records.read_studies(results)}
    for grid in grids:
        checked(choose, "grid", grid, {**list_grids(), **asked})
    studies = [
        study
        for study in records.read_studies(results)
        if (not grids or study["grid"] in grids)
        and all(study[key] == value for key, value in wanted.items())
    ]
    if not studies:
        say(f"nothing of this was asked for yet in {results}: begin with `run`")
    for study in studies:
        console.print(status_table(study, results))


@app.command()
def data(
    dataset: Dataset = "auto",
    data_dir: DataDir = Path("data"),
) -> None:
    """Fetch and prepare a data set, and check it."""
    checked(choose, "dataset", dataset, {"auto": None, **DATASETS})
    arrays = load(prepare_any(dataset, data_dir, say), data_dir)
    images = f"{len(arrays.train_labels):,} training and {len(arrays.test_labels):,} test images"
    say(f"{path_of(arrays.name, data_dir)}: {images}, fingerprint {arrays.fingerprint}")


def estimate(pending: list[Record], data_dir: Path, device: str) -> dict[Record, float]:
    """Seconds that each run will take, once the data are known to be in order."""
    from experiments.launch import warm_up

    warm_up()  # on another core, while we go on
    from experiments.estimate import seconds
    from experiments.train import held_out

    arrays = load(pending[0].config.dataset, data_dir)
    for record in pending:
        held_out(arrays, record.config.recipe)
    return seconds(pending, device)


@app.command()
def complexity(results: Results = Path("results/local")) -> None:
    """Count parameters and multiply-adds for the cost columns of the paper's tables."""
    from experiments.complexity import count_all

    records.check_writable(results)
    say(f"wrote {count_all(results)}")
    analysis = [sys.executable, "-m", "analysis", "complexity", "--results", str(results)]
    raise typer.Exit(subprocess.run(analysis).returncode)


def pick_recipe(name: str, device: str) -> str:
    """`auto` as a whole ablation in minutes on a CPU, all of the data on anything faster."""
    return name if name != "auto" else "demo" if device == "cpu" else "fast"


def expand_all(grids, dataset, network, recipe, seeds, settings) -> list[Study]:
    given = parse_settings(settings)
    options = {"dataset": dataset, "network": network, "recipe": recipe, "seeds": seeds}
    return [expand(grid, **options, settings=given) for grid in dict.fromkeys(grids)]


def name_runs(studies: list[Study], results: Path) -> dict[Record, str]:
    """Every run of the studies once, in whole rounds of seeds, and what it is called."""
    runs = [
        (config.seed, Record(results, config), label)
        for study in studies
        for label, config in study.runs()
    ]
    names: dict[Record, str] = {}
    for seed, record, label in sorted(runs, key=lambda run: run[0]):
        names.setdefault(record, f"{label}, seed {seed}")
    return names


def main() -> None:
    """Runs a command: 2 and one sentence for what the user got wrong, 130 after Ctrl-C."""
    try:
        status = app(standalone_mode=False)
        if status == 130:
            say("stopped: finished runs are kept, and the same command goes on from there")
    except (ConfigError, UsageError, OSError) as error:
        message = error.format_message() if hasattr(error, "format_message") else error
        if isinstance(error, OSError):  # a full disk, a folder that is a file, a name too long
            message = f"{error.filename or 'a file'}: {error.strerror or error}"
        Console(stderr=True).print(
            f"error: {message}", style="red", markup=False, highlight=False, soft_wrap=True
        )
        status = 2
    sys.exit(status)


if __name__ == "__main__":
    main()
