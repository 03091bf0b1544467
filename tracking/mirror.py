"""Mirrors a record as a run of W&B: what knows W&B beside it are `account` and `artifacts`.

Our records are the source, and W&B mirrors them. What is told is read from a run's files, never
from the run itself, so that a run which is under way, one that was interrupted and resumed, and one
that ended a year ago are told in the same way: all of its epochs from the first one on, under the
id that its config gives it. Telling it again replaces what W&B had.

Everything that W&B keeps on this machine lies in RESULTS/wandb (tracking/sent.py).
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from experiments.launch.failures import first_line
from experiments.records.files import read_lines
from experiments.records.gates import unpack
from experiments.records.record import load_record
from experiments.records.results import read_result, read_timings
from experiments.records.states import FINISHED, State, state
from experiments.records.studies import read_studies
from experiments.train.environment import ROOT, checkout
from tracking.account import CONNECT, project
from tracking.artifacts import log_artifacts
from tracking.naming import METRICS, machine_of, settings_of, summary_of
from tracking.sent import Told, digest_of_run, folder_of, grids_of, note, run_id

if TYPE_CHECKING:
    import wandb

TAG = 64  # characters of a tag at most


class WandbError(Exception):
    """Says that W&B does not answer, refuses, or does not take what it is sent."""


def begin_wandb_run(
    results: Path, mode: Any, is_live: bool, commit: str | None, **what: Any
) -> "wandb.Run":
    """Begins a run of W&B, in the place of the one with the same id, if there is one.

    Args:
        mode: online or offline.
        is_live: whether this machine trains it now: then W&B measures this machine, too.
        commit: of the code that made what is told; None where that is not known: then nothing is
            told of git, as W&B would look for a repository around the working folder.
        what: as for `wandb.init`.

    Raises:
        WandbError: W&B does not answer, or refuses.
    """
    import wandb

    own = wandb.Settings()
    own.update_from_env_vars(dict(os.environ))  # WANDB_DISABLE_GIT, WANDB_X_DISABLE_STATS
    has_git = commit is not None and not own.disable_git and checkout()["commit"] is not None
    settings = wandb.Settings(
        init_timeout=CONNECT,
        finish_timeout=CONNECT,
        finish_timeout_raises=True,
        silent=True,
        console="off",
        disable_git=not has_git,
        git_root=str(ROOT),  # whose remote it tells
        git_commit=commit if has_git else None,
        # What our records say better: the machine that trains is not always the one that tells.
        x_disable_stats=own.x_disable_stats or not is_live,
        x_disable_meta=True,
        x_save_requirements=False,
        disable_code=True,
        disable_job_creation=True,
    )
    try:
        return wandb.init(
            project=project(),
            dir=results.absolute(),
            mode=mode,
            reinit="create_new",
            settings=settings,
            **what,
        )
    except Exception as error:
        raise WandbError(first_line(error)) from error


def finish(results: Path, run: "wandb.Run", name: str, digest: str | None) -> None:
    """Ends a run, and notes that W&B has everything with this digest; None: that it has not.

    It is noted under the `name` that we gave it; the agent of a sweep gives it another id.

    Raises WandbError where it does not take the rest. What is kept here then can still be sent.
    """
    folder, url = Path(run.dir).parent, None if run.offline else run.url
    try:
        run.finish(exit_code=0 if digest else 1)
    except TimeoutError as error:
        raise WandbError(first_line(error)) from error
    is_refused = url is not None and _was_refused(folder)
    if digest:
        note(folder_of(results), name, Told(digest, None if is_refused else url, folder.name))
    if is_refused:
        raise WandbError("it began to refuse what it was sent")


def _was_refused(folder: Path) -> bool:
    """Tells whether W&B has not taken all of a run. Its library says so in its log alone."""
    log = folder / "logs" / "debug-internal.log"
    words = "filestream: fatal error"
    return log.exists() and words in log.read_text(encoding="utf-8", errors="replace")


class Mirror:
    """Tells W&B of a training run, epoch by epoch.

    Its record, in the folder `path`, has its config.json and env.json already. `mode` is online or
    offline; `is_live` says whether it is told while it trains.
    """

    def __init__(self, path: Path, mode: str, is_live: bool = False) -> None:
        record = load_record(path)
        config, self.record, self.path, self.told = record.config, record, path, 0
        self.studies, machine = read_studies(record.results, []), machine_of(path)
        self.run = begin_wandb_run(
            record.results,
            mode,
            is_live,
            machine.get("env_commit"),
            id=run_id(config),
            name=f"{config.label} seed {config.seed}",
            group=config.cell,
            job_type="train",
            tags=[grid[:TAG] for grid in grids_of(config.cell, self.studies)],
            config=settings_of(config) | machine,
        )
        self.run.define_metric("epoch")
        self.run.define_metric("*", step_metric="epoch")

    @property
    def place(self) -> str | None:
        """Returns where W&B shows the project; None offline."""
        return None if self.run.offline else self.run.project_url

    def catch_up(self) -> None:
        """Tells the epochs that are new since the last call."""
        rows = read_lines(self.path / "metrics.jsonl", cut_short=True)
        times = read_timings(self.path)
        speed = {t["epoch"]: t["images"] / t["seconds"] for t in times}
        for row in rows[self.told :]:
            told = _epoch_of(row) | {"images_per_second": speed.get(row["epoch"])}
            told = {key: value for key, value in told.items() if value is not None}
            self.run.log(told, step=row["epoch"], commit=True)
        self.told = max(self.told, len(rows))

    def conclude(self) -> None:
        """Sends the run's result and figures to W&B, and ends it there.

        Raises ConfigError where its record cannot be trusted: then W&B has not got all of it.
        """
        digest = None
        try:
            self.catch_up()
            if (now := state(self.path)) in (*FINISHED, State.DAMAGED):
                read_result(self.path)  # which names what is damaged
                self.run.log(dict(pictures(self.path)) | {"epoch": self.told}, step=self.told + 1)
                self.run.summary.update(summary_of(self.path))
                log_artifacts(self.run, self.path)
                digest = digest_of_run(self.path, self.studies)
            else:
                self.run.summary["state"] = now
        finally:
            finish(self.record.results, self.run, run_id(self.record.config), digest)


def _epoch_of(row: dict[str, Any]) -> dict[str, Any]:
    """Says a row of metrics.jsonl in W&B's words, with a histogram of the gates of each stage."""
    import wandb

    told = {name: row[key] for key, name in METRICS.items() if key in row}
    for stage, gates in row.get("gates", {}).items():
        width = (gates["high"] - gates["low"]) / len(gates["counts"])
        edges = [gates["low"] + width * i for i in range(len(gates["counts"]) + 1)]
        name = f"gates/stage {stage}"
        counts: Any = (gates["counts"], edges)  # which the library types as arrays
        told[name] = wandb.Histogram(np_histogram=counts)
        told |= {f"{name} mean": gates["mean"], f"{name} std": gates["std"]}
    return told | {"epoch": row["epoch"]}


def pictures(path: Path) -> Iterator[tuple[str, Any]]:
    """Draws the confusion matrix and the activation figures of a finished run."""
    import matplotlib.pyplot  # a picture of W&B's looks for it
    import numpy as np
    import pandas as pd
    import wandb

    from analysis.figures import gates as cells
    from analysis.figures.style import STYLE
    from analysis.read import read_run
    from analysis.statistics.interventions import intervention_frame

    if (path / "predictions.npz").exists():
        with np.load(path / "predictions.npz") as file:
            found = dict(file)
        if "label" in found:  # not in records of older versions
            yield (
                "confusion",
                wandb.plot.confusion_matrix(
                    y_true=found["label"].tolist(),
                    preds=found["predicted"].tolist(),
                    class_names=found["class_names"].tolist(),
                    title="Confusion matrix of the test images",
                ),
            )
    seed = int(path.name.removeprefix("seed"))
    gates = {seed: unpack(path / "gates.npz")} if (path / "gates.npz").exists() else {}
    with matplotlib.rc_context(cast(Any, STYLE)):
        frame = intervention_frame(pd.DataFrame([read_run(path) | {"seed": seed}]))
        for kind, _, figure in cells.draw(gates, frame):
            figure.suptitle(cells.TITLES[kind])
            yield kind, wandb.Image(figure)
