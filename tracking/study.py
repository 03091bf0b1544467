"""Tells W&B of a study: its tables, as numbers, and its figures."""

from pathlib import Path
from typing import TYPE_CHECKING

from experiments.records.states import FINISHED, state
from experiments.records.study_file import StudyFile, runs_of
from experiments.records.text import counted
from experiments.train.environment import checkout
from tracking.mirror import TAG, begin_wandb_run, finish
from tracking.sent import digest_of_study, figures_of, study_id

if TYPE_CHECKING:
    import pandas as pd

TITLE = 63  # characters of an alert's title at most


def tell_study(results: Path, name: str, mode: str, is_live: bool = False) -> None:
    """Tells a study's tables and figures as they lie in RESULTS, as a run of its own.

    Where it `is_live`, it has just ended: W&B sends its user an alert, as that sets.
    """
    import wandb

    from analysis.read import find_studies
    from analysis.write import tables_of

    [study] = find_studies(results, [name], [])
    asked, found = study.asked, tables_of(study)
    keys = ("grid", "title", "dataset", "network", "recipe", "training", "seeds", "command")
    run = begin_wandb_run(
        results,
        mode,
        is_live,
        checkout()["commit"],
        id=study_id(name),
        name=name,
        job_type="analysis",
        tags=[asked.grid[:TAG]],
        config={key: getattr(asked, key) for key in keys},
        notes="\n\n".join(filter(None, [asked.about, asked.expected])),
    )
    told = {}
    for table, (_, _, _, numbers) in found.items():
        key = f"table{table.removeprefix(name).replace('-', '/', 1)}"
        told[key] = wandb.Table(dataframe=_plain(numbers))
    for path in figures_of(results, study.asked):
        is_own = path.stem.startswith(name)
        kind = path.stem.removeprefix(f"{name}-") if is_own else path.stem.partition("-")[0]
        told[f"figures/{kind}"] = wandb.Image(str(path))
    run.log(told)
    if is_live:
        run.alert(*_alert_of(asked, results))
    finish(results, run, study_id(name), digest_of_study(results, asked))


def _alert_of(asked: StudyFile, results: Path) -> tuple[str, str, str]:
    """Gives title, text and level of what a user should know of a study that ended."""
    states = [state(path) for path in runs_of(asked, results)]
    is_whole = all(one in FINISHED for one in states)
    title = f"{asked.grid}: {'is done' if is_whole else 'ended, not whole'}"
    text = f"{asked.name}: {counted(states)}. {asked.command}"
    return title[-TITLE:], text, "INFO" if is_whole else "WARN"


def _plain(numbers: "pd.DataFrame") -> "pd.DataFrame":
    """Gives a table in which W&B finds one type a column: texts, and numbers of which some lack."""
    texts = numbers.select_dtypes(exclude="number")
    with_gaps = numbers.select_dtypes("Int64").astype(
        "float64"
    )  # pandas' own NA is no number there
    return numbers.assign(**texts.astype(object).where(texts.notna(), ""), **with_gaps)
