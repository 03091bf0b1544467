"""The only file that knows Weights & Biases: a record, as a run of W&B.

Our records stay the truth, and W&B mirrors them. What is told is read from a run's files, never
from the run itself, so that a run which is under way, one that was interrupted and resumed, and one
that ended a year ago are told in the same way: all of its epochs from the first one on, under the
id that its config gives it. Telling it again replaces what W&B had.

Everything that W&B keeps on this machine lies in RESULTS/wandb (tracking/sent.py).
"""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.launch.failures import first_line
from experiments.records.files import read_lines
from experiments.records.gates import unpack
from experiments.records.parsing import ConfigError
from experiments.records.record import load
from experiments.records.results import read_result, read_timings
from experiments.records.states import FINISHED, State, state
from experiments.records.study_file import read_studies
from tracking.naming import METRICS, machine_of, settings_of, summary_of
from tracking.sent import (
    Told,
    digest_of_run,
    digest_of_study,
    figures_of,
    folder_of,
    grids_of,
    note,
    run_id,
    study_id,
)

if TYPE_CHECKING:
    import wandb

PROJECT = "se-ablation"  # unless WANDB_PROJECT says otherwise
INSTALL = "W&B is not installed: `pip install wandb`, or go on without it (`--track off`)"
CONNECT = 15  # seconds for the service to answer in, and to take the rest of a run at its end
TAG = 64  # characters of a tag at most


def is_installed() -> bool:
    return importlib.util.find_spec("wandb") is not None


def has_key() -> bool:
    """Whether W&B knows an account here. It is never asked for.

    Raises ConfigError where W&B's own settings are wrong.
    """
    os.environ.pop("WANDB_MODE", None)  # `pick_mode` has seen it; offline there is no key for W&B
    import wandb

    try:
        return wandb.login(prompt=False, verify=False)
    except Exception as error:
        raise ConfigError(f"W&B: {first_line(error)}") from None


def usual_mode() -> str:
    """online, offline or off: what W&B's own settings files say."""
    import wandb

    return {"offline": "offline", "disabled": "off"}.get(wandb.setup().settings.mode, "online")


def require_key() -> None:
    """Raises ConfigError where W&B is not installed, or has no key here."""
    if not is_installed():
        raise ConfigError(INSTALL)
    if not has_key():
        raise ConfigError("W&B has no key here: `wandb login`, or set WANDB_API_KEY")


def account() -> tuple[str, str]:
    """(entity, project) on W&B: WANDB_ENTITY or the account's own, WANDB_PROJECT or PROJECT.

    Raises ConfigError where W&B is not installed, has no key here, or does not answer.
    """
    require_key()
    import wandb

    try:
        entity = os.environ.get("WANDB_ENTITY") or wandb.Api(timeout=CONNECT).default_entity
    except Exception as error:  # its transport raises errors of many libraries
        raise ConfigError(f"W&B is not to be reached: {first_line(error)}") from None
    return entity, os.environ.get("WANDB_PROJECT") or PROJECT


def prepare(results: Path) -> Path:
    """Makes the folder for what W&B writes, and tells it so; to be called before all else."""
    folder = folder_of(results)
    (folder / "told").mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("WANDB_DATA_DIR", str(folder / "data"))
    os.environ.setdefault("WANDB_CACHE_DIR", str(folder / "cache"))
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # to its makers, about our users
    return folder


class Unreachable(Exception):
    """W&B does not answer, refuses, or does not take what it is sent."""


def begin(results: Path, mode: str, **what: Any) -> "wandb.Run":
    """A new run of W&B, in the place of the one with the same id, if there is one.

    Raises Unreachable.
    """
    import wandb

    settings = wandb.Settings(
        init_timeout=CONNECT,
        finish_timeout=CONNECT,
        finish_timeout_raises=True,
        silent=True,
        console="off",
        # What our records say better: the machine that trains is not always the one that tells.
        x_disable_stats=True,
        x_disable_meta=True,
        x_save_requirements=False,
        disable_git=True,
        disable_code=True,
        disable_job_creation=True,
    )
    try:
        return wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            dir=results.absolute(),
            mode=mode,
            reinit="create_new",
            settings=settings,
            **what,
        )
    except Exception as error:
        raise Unreachable(first_line(error)) from error


def finish(results: Path, run: "wandb.Run", digest: str | None) -> None:
    """Ends a run, and notes that W&B has everything with this digest; None: that it has not.

    Raises Unreachable where it does not take the rest. What is kept here then can still be sent.
    """
    folder, url = Path(run.dir).parent, None if run.offline else run.url
    try:
        run.finish(exit_code=0 if digest else 1)
    except TimeoutError as error:
        raise Unreachable(first_line(error)) from error
    is_refused = url is not None and was_refused(folder)
    if digest:
        note(folder_of(results), run.id, Told(digest, None if is_refused else url, folder.name))
    if is_refused:
        raise Unreachable("it began to refuse what it was sent")


def was_refused(folder: Path) -> bool:
    """Whether W&B has not taken all of a run. Its library says so in its log alone."""
    log = folder / "logs" / "debug-internal.log"
    return log.exists() and "filestream: fatal error" in log.read_text(errors="replace")


class Mirror:
    """A training run, told epoch by epoch.

    Args:
        path: the folder of its record, which has its config.json and env.json already.
        mode: online or offline.
    """

    def __init__(self, path: Path, mode: str) -> None:
        record = load(path)
        config, self.record, self.path, self.told = record.config, record, path, 0
        self.studies = read_studies(record.results)
        self.run = begin(
            record.results,
            mode,
            id=run_id(config),
            name=f"{config.label} seed {config.seed}",
            group=config.cell,
            job_type="train",
            tags=[grid[:TAG] for grid in grids_of(config.cell, self.studies)],
            config=settings_of(config) | machine_of(path),
        )
        self.run.define_metric("epoch")
        self.run.define_metric("*", step_metric="epoch")

    @property
    def place(self) -> str | None:
        """Where W&B shows the project; None offline."""
        return None if self.run.offline else self.run.project_url

    def catch_up(self) -> None:
        """Tells the epochs that are new since the last call."""
        rows = read_lines(self.path / "metrics.jsonl", cut_short=True)
        times = read_timings(self.path)
        speed = {t["epoch"]: t["images"] / t["seconds"] for t in times}
        for row in rows[self.told :]:
            told = epoch_of(row) | {"images_per_second": speed.get(row["epoch"])}
            told = {key: value for key, value in told.items() if value is not None}
            self.run.log(told, step=row["epoch"], commit=True)
        self.told = max(self.told, len(rows))

    def conclude(self) -> None:
        """Tells how it ended and what it drew. The run is over then.

        Raises ConfigError where its record cannot be trusted: then W&B has not got all of it.
        """
        digest = None
        try:
            self.catch_up()
            if (now := state(self.path)) in (*FINISHED, State.DAMAGED):
                read_result(self.path)  # which names what is damaged
                self.run.log(dict(pictures(self.path)) | {"epoch": self.told}, step=self.told + 1)
                self.run.summary.update(summary_of(self.path))
                digest = digest_of_run(self.path, self.studies)
            else:
                self.run.summary["state"] = now
        finally:
            finish(self.record.results, self.run, digest)


def epoch_of(row: dict[str, Any]) -> dict[str, Any]:
    """A row of metrics.jsonl in W&B's words, with a histogram of the gates of each stage."""
    import wandb

    told = {name: row[key] for key, name in METRICS.items() if key in row}
    for stage, gates in row.get("gates", {}).items():
        width = (gates["high"] - gates["low"]) / len(gates["counts"])
        edges = [gates["low"] + width * i for i in range(len(gates["counts"]) + 1)]
        name = f"gates/stage {stage}"
        told[name] = wandb.Histogram(np_histogram=(gates["counts"], edges))
        told |= {f"{name} mean": gates["mean"], f"{name} std": gates["std"]}
    return told | {"epoch": row["epoch"]}


def pictures(path: Path) -> Iterator[tuple[str, Any]]:
    """The confusion matrix and the activation figures of a finished run."""
    import matplotlib
    import numpy as np
    import pandas as pd
    import wandb

    from analysis.figures import gates as cells
    from analysis.figures.style import STYLE
    from analysis.load import read_run
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
    with matplotlib.rc_context(STYLE):
        frame = intervention_frame(pd.DataFrame([read_run(path) | {"seed": seed}]))
        for kind, _, figure in cells.draw(gates, frame):
            figure.suptitle(cells.TITLES[kind])
            yield kind, wandb.Image(figure)


def tell_study(results: Path, name: str, mode: str) -> None:
    """A study's tables and figures as they lie in RESULTS, as a run of its own."""
    import wandb

    from analysis.load import find_studies
    from analysis.write import tables_of

    [study] = find_studies(results, [name])
    asked, found = study.asked, tables_of(study)
    keys = ("grid", "title", "dataset", "network", "recipe", "training", "seeds", "command")
    run = begin(
        results,
        mode,
        id=study_id(name),
        name=name,
        job_type="analysis",
        tags=[asked.grid[:TAG]],
        config={key: getattr(asked, key) for key in keys},
        notes="\n\n".join(filter(None, [asked.about, asked.expected])),
    )
    told = {}
    for table, (_, shown, _, _) in found.items():
        key = f"table{table.removeprefix(name).replace('-', '/', 1)}"
        told[key] = wandb.Table(dataframe=shown)
    for path in figures_of(results, study.asked):
        kind = path.stem.removeprefix(f"{name}-") if path.stem.startswith(name) else "forest"
        told[f"figures/{kind}"] = wandb.Image(str(path))
    run.log(told)
    finish(results, run, digest_of_study(results, asked))
