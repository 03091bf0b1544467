"""Decides how many seeds a study gets: as many as asked, or in rounds (--until, --decide)."""

import math
from dataclasses import replace
from pathlib import Path

from experiments.plan.options import MOST_DECIDED, RunOptions
from experiments.processes.output import say
from experiments.records.parsing import ConfigError
from experiments.records.studies import read_study, write_study
from experiments.records.study_file import MOST_SEEDS
from experiments.study.study import FEWEST, StudyDesign
from experiments.study.tuning import advance, news


def refuse_rounds(studies: list[StudyDesign], options: RunOptions) -> None:
    """Raises ConfigError where the options exclude each other, or a grid declares nothing."""
    if not options.decide:
        if options.most_seeds is not None:
            raise ConfigError(
                f"--most-seeds {options.most_seeds} is only for --decide: give both or neither"
            )
        return
    from analysis.statistics.contrasts import declares, read_contrasts

    if options.until is not None:
        raise ConfigError("--decide and --until exclude each other: give one of them")
    for study in studies:
        if not declares(study):
            grids = ", ".join(sorted({one.grid for one in read_contrasts().comparisons}))
            raise ConfigError(
                f"--decide: the grid {study.grid_name!r} declares no comparison of these rows: "
                f"those of analysis/contrasts.yaml are of {grids}; a grid file has `declares`"
            )


def first_round(studies: list[StudyDesign], options: RunOptions) -> list[StudyDesign]:
    """Returns the studies with the seeds of their first round, or of the rounds made before."""
    if not options.adds_seeds:
        return studies
    studies = [replace(study, seeds=max(FEWEST, study.seeds)) for study in studies]
    if not options.decide:
        return studies
    paths = {s.name: options.results / "studies" / f"{s.name}.json" for s in studies}
    return [
        study.resumed(read_study(path)) if (path := paths[study.name]).exists() else study
        for study in studies
    ]


def add_seeds(studies: list[StudyDesign], options: RunOptions) -> list[StudyDesign]:
    """Returns the studies with another seed, or more pilots, where they need some."""
    tuned = [advance(study, options.results) for study in studies]
    if tuned != studies:
        for study, before in zip(tuned, studies, strict=True):
            for sentence in news(before.tuned, study.tuned):
                say(f"{study.name}: {sentence}")
            write_study(options.results, study.record())
        return tuned
    if options.until is not None:
        wide = _wide_studies(studies, options.results, options.until)
        return [replace(s, seeds=s.seeds + 1) if s.name in wide else s for s in studies]
    if options.decide:
        return _judge_round(studies, options.results, options.most_seeds or MOST_DECIDED)
    return studies


def _judge_round(studies: list[StudyDesign], results: Path, most: int) -> list[StudyDesign]:
    """Judges the declared comparisons, and stores the verdicts and how many seeds come next."""
    from analysis.read import find_studies
    from analysis.statistics import stopping

    names = [study.name for study in studies]
    found = {study.name: study for study in find_studies(results, names, [])}
    looked = []
    for study in studies:
        looks, needed = stopping.judge_declared(found[study.name], most)
        for one in looks:
            say(f"{study.name}: {one.comparison}, {_in_words(one.seeds)}: {one.verdict}")
        new = tuple(one for one in looks if one not in study.looks)
        looked.append(replace(study, added=study.added | needed, looks=study.looks + new))
        write_study(results, looked[-1].record())
    return looked


def _in_words(seeds: tuple[int, ...]) -> str:
    """Says `3 seeds`, or `3 to 6 seeds`."""
    fewest, most = min(seeds), max(seeds)
    return f"{fewest} seeds" if fewest == most else f"{fewest} to {most} seeds"


def _wide_studies(studies: list[StudyDesign], results: Path, until: float) -> set[str]:
    """Names the studies that need another seed: a row's interval is wider than ± `until`.

    The intervals are those of the tables: a row whose seeds tie by chance has the pool's spread.
    """
    from analysis.read import find_studies

    wide, names = set(), {study.name: study for study in studies}
    for found in find_studies(results, list(names), []):
        study, halves = names[found.name], {}
        for row, cell in found.cells.items():
            if (n := len(found.errors(row))) < 2:
                say(f"{study.name}: {row!r} has {n} results and no interval: "
                    "--until does not wait for it", style="yellow")  # fmt: skip
                continue
            half = found.pool.mean(cell)[1]
            halves[row] = math.inf if math.isnan(half) else half  # without an interval all rows tie
        worst = max(halves, key=halves.__getitem__, default=None)
        if worst is not None and halves[worst] > until:
            known = f"with {study.seeds} seeds {worst!r} is known to ± {halves[worst]:.2f}"
            say(f"{study.name}: {known}, not yet to ± {until:g}")
            if study.seeds < MOST_SEEDS:
                wide.add(study.name)
    return wide
