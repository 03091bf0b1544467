"""Records -> tidy data frames: one row a run, one row an epoch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from experiments.config import ConfigError
from experiments.record import failure, read_result, read_studies, state

PUBLISHED = Path(__file__).parent / "published.yaml"


@dataclass(frozen=True)
class Study:
    """One grid on one data set, network and recipe, as it was asked for and as it stands.

    asked   what `experiments run` wrote of it: title, table, rows, seeds, ...
    runs    one row a run: row, seed, state, reason; test_error and the rest where it is done
    curves  one row an epoch: row, seed, epoch, train_error, val_error, ...
    paper   the published row of each row that has one: top1, top5, gflops, mparams
    """

    asked: dict[str, Any]
    runs: pd.DataFrame
    curves: pd.DataFrame
    paper: pd.DataFrame

    @property
    def name(self) -> str:
        return self.asked["name"]

    @property
    def rows(self) -> list[str]:
        return [row["label"] for row in self.asked["rows"]]

    @property
    def damaged(self) -> list[str]:
        """What is wrong with the records that cannot be trusted, and are left out."""
        return list(self.runs[self.runs.state == "damaged"].reason)

    def of(self, row: str) -> pd.DataFrame:
        """The runs of a row that ended in a result that can be averaged."""
        return self.runs[(self.runs.row == row) & (self.runs.state == "done")]


def find_studies(results: Path, names: list[str]) -> list[Study]:
    """The studies of these names, or of these grids; all of them where there is no name.

    Raises ConfigError where a name fits none, or a file cannot be read.
    """
    asked = read_studies(results)
    if not asked:
        raise ConfigError(f"{results} holds no study: begin with `python -m experiments run ratio`")
    for name in names:
        if not any(name in (study["name"], study["grid"]) for study in asked):
            known = ", ".join(study["name"] for study in asked) or "none"
            raise ConfigError(f"no study {name!r} in {results}: there are {known}")
    return [
        load(results, study)
        for study in asked
        if not names or study["name"] in names or study["grid"] in names
    ]


def load(results: Path, asked: dict[str, Any]) -> Study:
    runs, curves = [], []
    for row in asked["rows"]:
        for seed in range(asked["seeds"]):
            path = results / "runs" / row["cell"] / f"seed{seed}"
            run = {"row": row["label"], "seed": seed, "state": "missing", "reason": ""}
            if (path / "summary.json").exists():
                try:
                    result = read_result(path)
                except ConfigError as error:
                    run |= {"state": "damaged", "reason": str(error)}
                else:
                    run |= result.summary | {"hidden": hidden_text(result.summary["hidden"])}
                    config = result.config.model_dump(mode="json")
                    run |= {f"config.{key}": value for key, value in flat(config)}
                    run |= {f"env.{key}": value for key, value in result.env.items()}
                    who = {"row": row["label"], "seed": seed}
                    curves += [who | epoch for epoch in result.metrics]
            elif state(path) == "failed":
                run |= {"state": "failed", "reason": failure(path)}
            runs.append(run)
    columns = ["row", "seed", "state", "test_error", "parameters", "multiply_adds", "hidden"]
    frame = pd.DataFrame(runs)
    frame = frame.reindex(columns=[*columns, *(c for c in frame if c not in columns)])
    curve_frame = pd.DataFrame(curves, columns=None if curves else ["row", "seed", "epoch"])
    return Study(asked, frame, curve_frame, published(asked))


def published(asked: dict[str, Any]) -> pd.DataFrame:
    """The paper's rows for this study, in the study's order."""
    table = yaml.safe_load(PUBLISHED.read_text()).get(asked["table"], {})
    rows = {row["label"]: table.get(row["label"], {}) for row in asked["rows"]}
    return pd.DataFrame.from_dict(rows, orient="index").reindex(
        columns=["top1", "top5", "gflops", "mparams"], index=list(rows)
    )


def flat(data: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested keys as dotted ones."""
    pairs = []
    for key, value in data.items():
        is_dict = isinstance(value, dict)
        pairs += flat(value, f"{prefix}{key}.") if is_dict else [(prefix + key, value)]
    return pairs


def hidden_text(hidden: dict[str, list[int]]) -> str:
    """Hidden widths by stage: `4 / 8 / 16`; `1-4 / 4-8 / 8-16` where a stage has several."""
    return " / ".join("-".join(map(str, widths)) for widths in hidden.values())
