"""Computes what a network loses when its gates are replaced. No matplotlib here."""

import math

import pandas as pd

from analysis.statistics.stats import interval
from analysis.study import Study

WORDS = {"mean": "mean over images", "another": "another image's", "half": "1/2", "one": "1"}


def intervention_frame(runs: pd.DataFrame) -> pd.DataFrame:
    """Lists the rises of the error with replaced gates: a row a seed, place and replacement.

    The runs are those of one table row; those that replaced no gate add nothing.
    """
    rows = []
    for _, run in runs.iterrows():
        found = run.get("interventions")
        if isinstance(found, dict) and "all" in found:
            for where, errors in {"all": found["all"], **found["stages"]}.items():
                for how, error in errors.items():
                    rise = error - found["intact"]
                    rows.append((run["seed"], where, how, rise, found["images"]))
    return pd.DataFrame(rows, columns=["seed", "where", "how", "rise", "n_images"])


def rises(study: Study) -> pd.DataFrame:
    """Returns row, place and replacement -> mean rise of the error in points, with its interval."""
    frames = [intervention_frame(study.of(row)).assign(row=row) for row in study.rows]
    frame = pd.concat(frames)
    keys = ["row", "where", "how"]
    rows = []
    for _, some in frame.groupby(keys, sort=False):
        mean, half = interval(some.rise.to_numpy())
        rows.append((*some[keys].iloc[0], mean, half, len(some), int(some.n_images.max())))
    return pd.DataFrame(rows, columns=[*keys, "rise", "half_width", "seeds", "images"])


def written(rise: float, half_width: float) -> str:
    """Returns a rise as text: `+2.00 ± 1.74`, or `+2.00` of one seed."""
    return f"{rise:+z.2f}" + ("" if math.isnan(half_width) else f" ± {half_width:.2f}")


def everywhere(study: Study, row: str) -> pd.DataFrame:
    """Returns the rises of one network with all of its gates replaced, by replacement."""
    table = rises(study)
    return table[(table.row == row) & (table["where"] == "all")].set_index("how")


def as_text(study: Study, rises: pd.DataFrame) -> pd.DataFrame:
    """Returns the rises as text: a row a network and place, a column a replacement."""
    texts = {
        (r["row"], r["where"], r["how"]): written(r["rise"], r["half_width"])
        for r in rises.to_dict("records")
    }
    order = list(dict.fromkeys((row, where) for row, where, _ in texts))
    places = ["all blocks" if where == "all" else f"stage {where}" for _, where in order]
    names = {"network": [row for row, _ in order], "gates replaced in": places}
    by_word = {word: [texts.get((*key, how)) for key in order] for how, word in WORDS.items()}
    return pd.DataFrame(names | by_word)


def notes(study: Study, rises: pd.DataFrame) -> list[str]:
    images = " or ".join(f"{n:,}" for n in sorted(rises.images.unique()))
    seeds = sorted(rises.seeds.unique())
    lines = [
        f"Rise of the test error in points, of each run over its own, on {images} test images; "
        f"n = {' or '.join(map(str, seeds))}"
        + ("." if seeds == [1] else ", ± is the 95 % interval over seeds (Student)."),
        "Replaced after the training, and nothing was selected by it. A rise says what the trained "
        "network depends on; what its training gained is the difference from gates that never see "
        "the image.",
    ]
    return lines + (["A DEMONSTRATION: rank nothing by it."] if study.asked.demonstration else [])
