"""How many seeds a study gets: as many as it was told, or in rounds, `--until` and `--decide`."""

import math
from dataclasses import replace
from pathlib import Path

from experiments.data.download import Say
from experiments.plan.options import MOST_DECIDED, RunOptions
from experiments.records.parsing import ConfigError
from experiments.records.study_file import MOST_SEEDS, read_study, write_study
from experiments.study.study import FEWEST, Study
from experiments.study.tuning import advance, news


def refuse_rounds(studies: list[Study], options: RunOptions) -> None:
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


def begin(studies: list[Study], options: RunOptions) -> list[Study]:
    """The studies with the seeds of the first round, and of those that were begun before."""
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


def add_seeds(studies: list[Study], options: RunOptions, say: Say) -> list[Study]:
    """The studies with another seed, or with more pilots, where they need some; else the same."""
    tuned = [advance(study, options.results) for study in studies]
    if tuned != studies:
        for study, before in zip(tuned, studies, strict=True):
            for sentence in news(before.tuned, study.tuned):
                say(f"{study.name}: {sentence}")
            write_study(options.results, study.record())
        return tuned
    if options.until is not None:
        wide = wide_studies(studies, options.results, options.until, say)
        return [replace(s, seeds=s.seeds + 1) if s.name in wide else s for s in studies]
    if options.decide:
        return look(studies, options.results, options.most_seeds or MOST_DECIDED, say)
    return studies


def look(studies: list[Study], results: Path, most: int, say: Say) -> list[Study]:
    """Looks at what was declared, and writes down what was seen and how many seeds come next."""
    from analysis.load import find_studies
    from analysis.statistics import stopping

    found = {study.name: study for study in find_studies(results, [s.name for s in studies])}
    looked = []
    for study in studies:
        looks, needed = stopping.look(found[study.name], most)
        for one in looks:
            say(f"{study.name}: {one.comparison}, {in_words(one.seeds)}: {one.verdict}")
        new = tuple(one for one in looks if one not in study.looks)
        looked.append(replace(study, added=study.added | needed, looks=study.looks + new))
        write_study(results, looked[-1].record())
    return looked


def in_words(seeds: tuple[int, ...]) -> str:
    """`3 seeds`, `3 to 6 seeds`."""
    fewest, most = min(seeds), max(seeds)
    return f"{fewest} seeds" if fewest == most else f"{fewest} to {most} seeds"


def wide_studies(studies: list[Study], results: Path, until: float, say: Say) -> set[str]:
    """The names of the studies that need another seed: a row's interval is wider than ± `until`.

    The intervals are those of the tables: a row whose seeds tie by chance has the pool's spread.
    """
    from analysis.load import find_studies

    wide, names = set(), {study.name: study for study in studies}
    for found in find_studies(results, list(names)):
        study, halves = names[found.name], {}
        for row, cell in found.cells.items():
            if (n := len(found.errors(row))) < 2:
                say(f"{study.name}: {row!r} has {n} results and no interval: "
                    "--until does not wait for it", style="yellow")  # fmt: skip
                continue
            half = found.pool.mean(cell)[1]
            halves[row] = math.inf if math.isnan(half) else half  # all of the pool tie
        if halves and (worst := max(halves, key=halves.get)) and halves[worst] > until:
            known = f"with {study.seeds} seeds {worst!r} is known to ± {halves[worst]:.2f}"
            say(f"{study.name}: {known}, not yet to ± {until:g}")
            if study.seeds < MOST_SEEDS:
                wide.add(study.name)
    return wide
