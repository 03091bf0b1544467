"""Says what a study cannot show, given its training, data, seeds and differences to the paper."""

import math
from collections.abc import Sequence

import pandas as pd
import yaml

from analysis.read import PUBLISHED
from analysis.statistics.claims import list_claims
from analysis.statistics.comparisons import MARGINS
from analysis.statistics.lengths import series
from analysis.statistics.power import seeds_text
from analysis.statistics.seeds import seeds_for_difference, seeds_for_likeness
from analysis.statistics.seeds import smallest_difference as smallest
from analysis.statistics.verdicts import Verdict
from analysis.study import Study
from analysis.tables.notes import fewest, spreads
from experiments.data.datasets import origin
from experiments.records.study_file import Group

BUSY = 1.25  # a run's median epoch over its fastest; less is noise
Limit = tuple[str, str]  # what it is about, and a sentence or two


def limits(group: Group, studies: Sequence[Study], verdicts: Sequence[Verdict]) -> list[Limit]:
    """Says what the runs of one data set, network and recipe cannot show; [] where none is done."""
    done = pd.concat([study.done for study in studies])
    done = done[~done.path.duplicated()]
    if done.empty:
        return []
    return [
        training(studies[0], done),
        *data(group, done),
        *seeds(group, studies),
        *machines(done),
        *times(done),
        paper(group, studies),
        *_open_claims(verdicts),
    ]


def brief(group: Group, studies: Sequence[Study]) -> list[Limit]:
    """Says the limits that matter most, in a sentence each; [] where no run is done."""
    done = pd.concat([study.done for study in studies])
    if done.empty:
        return []
    found = [("Training", f"{trainings(done)}: longer may differ.")]
    for digest in sorted(done["env.data"].dropna().unique()):
        found.append(("Data", f"{group[0]}: {origin(group[0], digest)}."))
    plan, n = studies[0].pool.plan, fewest(studies)
    if n > 1 and not any(map(series, studies)) and not math.isnan(plan.spread):
        seen = f"a true difference below {smallest(plan, n):.1f} points may be missed (power 0.8)."
        found.append(("Seeds", f"With n = {n} {seen}"))
    return found


def trainings(done: pd.DataFrame) -> str:
    """Says how long the trainings are: `6 epochs of 20,000 images`, or `240,000 images seen`."""
    if "config.recipe.images" in done and done["config.recipe.images"].notna().all():
        return f"{several(done['config.recipe.images'])} images seen"
    return f"{several(done.epochs)} epochs of {several(done.train_images)} images"


def seeds_in_words(studies: Sequence[Study]) -> str:
    """Says how many seeds rows with a result have: `3 seeds a row`, or `1 to 3 seeds a row`."""
    counts = [len(study.errors(row)) for study in studies for row in study.rows]
    few, many = min(count for count in counts if count), max(counts)
    return f"{few}{f' to {many}' if many > few else ''} seed{'s' if many > 1 else ''} a row"


def training(study: Study, done: pd.DataFrame) -> Limit:
    text = (
        f"{study.asked.training.removeprefix('recipe ')}. In the records: {trainings(done)}. "
        "What a longer training would show, these runs do not."
    )
    return "Recipe", text


def several(values: pd.Series) -> str:
    """Writes a number or the range of several: `20,000`, or `45,000 to 50,000`."""
    ends = f"{int(values.min()):,}", f"{int(values.max()):,}"
    return " to ".join(dict.fromkeys(ends))


def data(group: Group, done: pd.DataFrame) -> list[Limit]:
    """Says what the images are, for each fingerprint of data that was trained on."""
    tested = several(done.test_images)
    return [
        (
            "Data",
            f"{group[0]}, fingerprint {digest}: {origin(group[0], digest)}. Errors are of {tested} "
            "test images; other images would move all of them.",
        )
        for digest in sorted(done["env.data"].dropna().unique())
    ]


def seeds(group: Group, studies: Sequence[Study]) -> list[Limit]:
    """Says how many seeds there are, and how small a difference they are likely to show."""
    counts = [len(study.errors(row)) for study in studies for row in study.rows]
    asked = max(len(study.states(row)) for study in studies for row in study.rows)
    n = fewest(studies)
    ends = " to ".join(dict.fromkeys(f"{count}" for count in (min(counts), max(counts))))
    text = f"Rows have {ends} of the {asked} seeds that were asked for."
    plan, margin = studies[0].pool.plan, MARGINS.get(group[0], 0.5)
    if across := [line for study in studies if series(study) for line in spreads(study)]:
        return [("Seeds", " ".join([text, *across]))]
    if math.isnan(plan.spread) or n < 2:
        return [("Seeds", f"{text} How far seeds differ cannot be said: no interval, no verdict.")]
    to_see = seeds_text(seeds_for_difference(margin, plan))
    to_show = seeds_text(seeds_for_likeness(margin, plan))
    text += (
        f" Seeds of one network differ by {plan.spread:.2f} points (standard deviation): with "
        f"n = {n} only a true difference of {smallest(plan, n):.1f} points or more is likely to "
        "be seen (power 0.8), and smaller ones may be missed. To see "
        f"{margin:g} points would take {to_see} seeds a row, to show likeness within "
        f"{margin:g} points {to_show}."
    )
    return [("Seeds", text)]


def machines(done: pd.DataFrame) -> list[Limit]:
    """Says where the runs differ in commit, machine or version; [] where they do not."""
    columns = {"commit": "commits", "processor": "processors", "device": "devices"}
    columns |= {"precision": "precisions", "step": "steps", "torch": "versions of torch"}
    mixed = [
        f"{values.nunique()} {name}"
        for column, name in columns.items()
        if f"env.{column}" in done and (values := done[f"env.{column}"].dropna()).nunique() > 1
    ]
    return [("Machines", f"These runs mix {', '.join(mixed)}.")] if mixed else []


def times(done: pd.DataFrame) -> list[Limit]:
    """Says in how many runs other work slowed the machine; [] where none."""
    slow = done.delay[done.delay > BUSY]
    if slow.empty:
        return []
    return [
        (
            "Times",
            f"In {len(slow)} of {len(done)} runs the median epoch took from {slow.min():.1f} to "
            f"{slow.max():.1f} times as long as the fastest: the machine did other work. Times are "
            "of the fastest epochs, and even so are no measurement of speed.",
        )
    ]


def paper(group: Group, studies: Sequence[Study]) -> Limit:
    """Says how the studies differ from what the paper measured."""
    settings = list(dict.fromkeys(s.paper_of for s in studies if s.paper.top1.notna().any()))
    theirs = "; ".join(settings) or "other networks and data"
    tables = yaml.safe_load(PUBLISHED.read_bytes())
    of = [tables[study.asked.table] for study in studies if study.asked.table in tables]
    how = list(dict.fromkeys(table["trained"] for table in of))
    dataset, network, recipe = group
    ours = "several networks" if network == "all" else network
    text = (
        f"Its figures are of {theirs} ({'; '.join(how) or 'not trained alike'}); "
        f"here {ours} on {dataset}, with the recipe "
        f"{recipe}. Where the two disagree, it may be the network, the data or the training: "
        "a contradicted claim is contradicted here, not there."
    )
    return "The paper", text


def _open_claims(verdicts: Sequence[Verdict]) -> list[Limit]:
    """Names the claims that no run bears on; [] where there are none."""
    known = {verdict.claim.number for verdict in verdicts if verdict.word != "no record"}
    missing = [claim.says for claim in list_claims() if claim.number not in known]
    return [("Not asked", f"No run bears on: {'; '.join(missing)}.")] if missing else []
