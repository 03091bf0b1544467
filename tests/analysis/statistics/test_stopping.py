"""`--decide`: which rows get another seed, when it stops, and that it goes on where it was."""

import math
import os
import re
import shutil
import signal
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from command_line import call, start, workers, wrong
from conftest import ROOT, tiny_words, with_changes
from hypothesis import given
from hypothesis import strategies as st
from made import around, made
from waiting import wait_for

from analysis.read import find_studies
from analysis.statistics import contrasts
from analysis.statistics.comparisons import pair
from analysis.statistics.contrasts import read_contrasts
from analysis.statistics.seeds import Plan, seeds_for_difference
from analysis.statistics.stats import contrast, pool
from analysis.statistics.stopping import judge_declared, seeds_needed
from analysis.tables.notes import notes
from benchmarks import fixed, simulated, stopping, verdicts
from experiments.records.files import write_json
from experiments.records.parsing import ConfigError
from experiments.records.studies import read_studies, write_study
from experiments.records.study_file import Look, StudyFile
from experiments.study.study import expand

CONTROL = [one for one in read_contrasts().comparisons if one.grid == "control"]
BLIND = ("gate fixed at 1/2", "static gate", "squeeze of another image")
THREE = dict.fromkeys(("SE", "no SE", *BLIND), 3)


@pytest.mark.parametrize(
    ("undecided", "counts", "most", "needed"),
    [
        ([], THREE, 30, {}),
        ([0], THREE, 30, {"SE": 4, "no SE": 4}),
        ([2], THREE, 30, dict.fromkeys(("SE", *BLIND), 4)),
        # "no SE" is the reference of four rows, and of three: sqrt(4) and sqrt(3) times their 4
        ([0, 1], THREE, 30, dict.fromkeys(("SE", *BLIND), 4) | {"no SE": 8}),
        ([1], THREE, 30, dict.fromkeys(BLIND, 4) | {"no SE": 7}),
        ([0, 1], THREE, 5, dict.fromkeys(("SE", *BLIND), 4) | {"no SE": 5}),
        ([0], THREE | {"SE": 9}, 30, {"no SE": 4}),  # another study gave it seeds
        ([0], THREE | {"SE": 30, "no SE": 30}, 30, {}),
        ([0], THREE | {"SE": 40, "no SE": 30}, 30, {}),
    ],
)
def test_the_rows_of_undecided_comparisons_alone_get_seeds(undecided, counts, most, needed):
    assert seeds_needed([CONTROL[i] for i in undecided], counts, most) == needed


@given(st.sets(st.sampled_from(range(3)), min_size=1), st.integers(3, 12), st.integers(1, 6))
def test_what_is_never_decided_ends_with_the_most_seeds_in_each_of_its_rows(which, most, first):
    comparisons, counts = [CONTROL[i] for i in which], dict.fromkeys(THREE, first)
    for _ in range(most):
        counts |= seeds_needed(comparisons, counts, most)
    asked = {row for one in comparisons for row in one.labels}
    assert all(n == max(most, first) for row, n in counts.items() if row in asked)
    assert all(n == first for row, n in counts.items() if row not in asked)


def test_a_comparison_that_is_decided_stops_and_the_others_go_on():
    study = made("control", {"no SE": around(14.0), "SE": [8.4, 9.0, 9.5]})
    looks, needed = judge_declared(study, 30)
    assert [one.verdict for one in looks] == ["better", "better", "not decided"]
    assert needed == dict.fromkeys(("SE", *BLIND), 4)
    assert looks[0].rows == ("SE", "no SE") and looks[0].seeds == (3, 3)
    assert judge_declared(made("gate", {}), 30) == ([], {})


def test_it_stops_on_the_interval_that_holds_however_often_one_looks():
    """And not where the interval of one look leaves out 0, while that one does not."""
    said = {}
    for shift in np.arange(0, 3, 0.1):
        study = made("control", {"SE": [8.0, 9.0, 10.0], "no SE": [9.0 + shift, 9.5 + shift]})
        [one, *_], _ = judge_declared(study, 30)
        cells = [study.errors(row) for row in study.rows]
        pair = [study.errors(row) for row in one.rows]
        once, watched = (
            contrast(pair, [1, -1], pool(cells), is_watched=often).leaves_out_zero
            for often in (False, True)
        )
        assert (one.verdict == "better") == watched
        said[once, watched] = one.verdict
    assert set(said) == {(False, False), (True, False), (True, True)}


@pytest.mark.parametrize("state", ["diverged", "failed", "missing"])
def test_a_comparison_that_lost_a_run_waits_for_no_more(state):
    study = made("control", {})
    is_lost = (study.runs.row == "no SE") & (study.runs.seed == 0)
    study.runs.loc[is_lost, ["state", "test_error"]] = [state, math.nan]
    looks, needed = judge_declared(study, 30)
    assert all(one.verdict.startswith("not decided: runs ") for one in looks[:2])
    assert "no SE" not in needed


def test_a_studys_file_keeps_seeds_of_rows_and_looks(tmp_path):
    study = expand("control", dataset="cifar10", recipe="fast", seeds=3)
    write_study(tmp_path, study.record())
    [before] = read_studies(tmp_path)
    assert not before.looks and not any(row.seeds for row in before.rows)
    seen = Look(comparison="c", rows=("SE", "no SE"), seeds=(3, 3), verdict="not decided")
    more = study.resumed(with_changes(before, looks=[seen.plain()]))
    assert more.looks == (seen,) and more.runs() == study.runs()
    rows = [row.plain() | ({"seeds": 5} if row.label == "SE" else {}) for row in before.rows]
    more = study.resumed(with_changes(before, rows=rows))
    assert Counter(label for label, _ in more.runs()) == Counter(dict.fromkeys(
        [cell.label for cell in study.cells], 3)) + Counter({"SE": 2})  # fmt: skip
    write_study(tmp_path, more.record())
    write_study(tmp_path, study.record())  # as `run` without --decide: nothing is lost
    [after] = read_studies(tmp_path)
    assert study.resumed(after).runs() == more.runs()


@pytest.mark.parametrize("more", [{"looks": ["x"]}, {"looks": [{}]}, {"declares": [3]}])
def test_a_studys_file_that_was_edited_is_named(tmp_path, more):
    asked = expand("control", dataset="cifar10", recipe="fast").record()
    (tmp_path / "studies").mkdir()
    write_json(tmp_path / "studies" / f"{asked.name}.json", asked.plain() | more)
    with pytest.raises(ConfigError, match="was edited"):
        read_studies(tmp_path)


def test_a_row_that_was_looked_at_has_the_wider_interval_in_every_study():
    """Also where the grid has had other rows since."""
    seen = {"comparison": "c", "rows": ["SE", "a row that was"], "seeds": [3], "verdict": ""}
    control, other = made("control", {}), made("control", {}, looks=[seen])
    before, after = (pair(study, "SE", "no SE") for study in (control, other))
    assert after.high > before.high and after.estimate == before.estimate
    far = ("static gate", "no SE")
    assert pair(control, *far) == pair(other, *far)
    assert other.is_watched and not control.is_watched
    assert any("looked at after every round" in line for line in notes(other))


OWN = "title: Own\ncontrols: [plain]\nreference: '4'\ncells: [{{se.ratio: [4, 8, 2]}}]\n{}"


def write_own(folder: Path, declares: str) -> str:
    path = folder / "own.yaml"
    path.write_text(OWN.format(declares))
    return str(path)


@pytest.mark.parametrize(
    ("words", "declares", "message"),
    [
        (["--decide"], "", "--decide: the grid 'own' declares no comparison"),
        (["--decide", "--until", "1"], "", "--decide and --until exclude each other"),
        (
            ["--decide", "--most-seeds", "2"],
            "",
            "'MOST_SEEDS'): Input should be greater than or equal to 3",
        ),
        (["--most-seeds", "some"], "", "should be a valid integer"),
        (["--most-seeds", "9"], "", "--most-seeds 9 is only for --decide"),
        (["--until", "1", "--most-seeds", "9"], "", "--most-seeds 9 is only for --decide"),
        (
            [],
            "declares: [{rows: '4', minus: '5'}]",
            "row that 'own' declares '5'",
        ),
        ([], "declares: [{rows: '4', minus: ['4', '8']}]", "'4' is compared with itself"),
        ([], "declares: [{rows: '4'}]", "declares"),
        ([], "declares: [{rows: [], minus: '4'}]", "declares"),
        ([], "declares: 3", "declares"),
        ([], "declares: [{rows: 3, minus: '4'}]", "declares"),
    ],
)
def test_what_is_wrong_is_one_sentence(capsys, tmp_path, monkeypatch, words, declares, message):
    monkeypatch.setenv("RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("TRACK", "off")
    said = wrong(capsys, "run", write_own(tmp_path, declares), *tiny_words(), *words)
    assert message in said and not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("minus: no SE", "minus: no such row", "the study 'control' has no row 'no such row'"),
        ("grid: stage", "grid: stages", "study 'stages'"),
        ("[cifar10, resnet29b, medium]", "[cifar10, resnet29c, medium]", "network 'resnet29c'"),
        ("confirmatory:", "confirming:", "confirming"),
    ],
)
def test_contrasts_that_are_wrong_end_decide_before_anything_is_written(
    capsys, tmp_path, monkeypatch, old, new, said
):
    path = tmp_path / "contrasts.yaml"
    path.write_text(contrasts.PATH.read_text().replace(old, new, 1))
    monkeypatch.setattr(contrasts, "PATH", path)
    monkeypatch.setenv("RESULTS", str(tmp_path / "results"))
    read_contrasts.cache_clear(), contrasts.declared_of.cache_clear()
    try:
        assert said in wrong(capsys, "run", "control", *tiny_words(), "--decide")
    finally:
        read_contrasts.cache_clear(), contrasts.declared_of.cache_clear()
    assert not (tmp_path / "results").exists()


# Rows that learn, and two that cannot: "idle" is worse than "plain" after any number of seeds.
DECIDED = """title: Own
controls: []
reference: plain
declares: [{rows: '4', minus: plain}, {rows: idle, minus: plain}]
cells:
  - {label: plain, se: null, width: 0.5}
  - {label: '{ratio}', se.ratio: [4], width: 0.5}
  - {label: idle, se: null, width: 0.5, recipe.lr: 1.0e-9}
  - {label: undeclared, se.ratio: 4, width: 0.5, recipe.lr: 1.0e-9}
"""


def folders(study: StudyFile, results: Path) -> dict[str, list[str]]:
    """Row -> the folders of its seeds."""
    return {
        row.label: sorted(path.name for path in (results / "runs" / row.cell).iterdir())
        for row in study.rows
    }


@pytest.mark.slow
def test_real_runs_end_by_themselves_and_go_on_after_a_kill(tmp_path, data_dir):
    grid = tmp_path / "own.yaml"
    grid.write_text(DECIDED)
    longer = tiny_words(epochs=16, batch_size=8, train_images=80, test_images=80)
    words = ["run", str(grid), *longer, "--decide", "--most-seeds", "5"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    there = {"DATA_DIR": str(data_dir), "WORKERS": "2"}
    done = call(*words, RESULTS=str(whole), **there)
    assert done.returncode == 0, done.stdout + done.stderr

    [study] = read_studies(whole)
    first = {look.comparison: look.verdict for look in study.looks[:2]}
    assert first == {"4 minus plain": "not decided", "idle minus plain": "worse"}
    counts = {row: len(seeds) for row, seeds in folders(study, whole).items()}
    most = counts["4"]
    assert 3 < most <= 5
    assert counts == {"plain": most, "4": most, "idle": 3, "undeclared": 3}
    last = study.looks[-2]
    assert last.rows == ("4", "plain") and last.seeds == (most, most)
    assert last.verdict != "not decided" or most == 5
    again = call(*words, RESULTS=str(whole), **there)
    assert f"{sum(counts.values())} of {sum(counts.values())} runs are there" in again.stdout
    assert read_studies(whole) == [study]

    [added] = whole.glob(f"runs/{study.rows[1].cell}/seed3")  # by --decide, and then damaged
    written = (added / "metrics.jsonl").read_bytes()
    (added / "metrics.jsonl").write_bytes(b"")
    renewed = call(*words, RESULTS=str(whole), **there)
    assert renewed.returncode == 0, renewed.stdout + renewed.stderr
    assert renewed.stdout.count("trained again 4, seed 3: ") == 1
    assert (added / "metrics.jsonl").read_bytes() == written and read_studies(whole) == [study]

    for run in whole.glob("runs/*/seed[012]"):  # the first round, which is not killed
        shutil.copytree(run, killed / run.relative_to(whole))
    runner = start(*words, RESULTS=str(killed), **there)
    try:
        wait_for(lambda: workers(killed, steps=1))
        [before] = read_studies(killed)
        assert before.looks == study.looks[:2]
    finally:
        os.killpg(runner.pid, signal.SIGKILL)
        runner.wait()
    resumed = call(*words, RESULTS=str(killed), **there)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    asked = re.search(r"\d+ of (\d+) runs are there", resumed.stdout)[1]
    assert asked == "14"  # from the beginning: it does not look at the first round again
    [after] = read_studies(killed)
    assert (after.rows, after.looks) == (study.rows, study.looks)
    assert folders(after, killed) == folders(study, whole)
    for run in whole.glob("runs/*/seed*"):
        ours = (killed / run.relative_to(whole) / "summary.json").read_bytes()
        assert ours == (run / "summary.json").read_bytes()


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        *(("one comparison that is never alike", kind) for kind in simulated.KINDS),
        ("the three of `control`", "equal spreads"),
    ],
)
def test_looking_after_every_round_calls_at_most_one_in_twenty_different(family, kind):
    """The quick form of `make simulate`."""
    studies, (comparisons, margin) = 30, stopping.FAMILIES[family]
    ends = stopping.many(7, studies, comparisons, simulated.KINDS[kind], margin)
    wrong = stopping.share(ends, [one.name for one in comparisons])
    assert wrong <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / studies)
    assert any(one.seeds["SE"] == stopping.MOST for one in ends)  # it did look that often


def test_a_large_difference_is_found_with_few_seeds_as_many_as_power_says():
    ends = stopping.many(7, 40, simulated.CONTROL[:1], stopping.EQUAL, simulated.MARGIN, 1.3)
    assert all(end.words["SE minus no SE"].startswith("better") for end in ends)
    seeds = [end.seeds["SE"] for end in ends]
    at_most = Plan(simulated.SPREAD, simulated.CELLS, is_watched=True)
    assert np.quantile(seeds, 0.75) <= seeds_for_difference(1.3, at_most, power=0.8)
    assert np.mean(seeds) < 10
    assert {end.seeds["static gate"] for end in ends} == {3}


def test_the_simulated_cells_are_those_of_the_kept_records():
    [study] = find_studies(ROOT / "results" / "published", ["control"])
    assert len(study.pool.values) == simulated.CELLS
    assert study.pool.spread.deviation == pytest.approx(simulated.SPREAD)
    for row, errors in zip(simulated.ROWS, simulated.kept(), strict=False):
        assert sorted(errors) == pytest.approx(sorted(study.errors(row)))
    own = simulated.residuals()
    assert np.abs(own.mean(1)).max() < 1e-9
    assert np.square(own).mean() == pytest.approx(simulated.SPREAD**2)


def section(title: str) -> str:
    """A part of docs/STATISTICS.md."""
    return verdicts.PAGE.read_text().split(f"## {title}\n")[1].split("\n## ")[0]


def shares_of(title: str) -> list[list[str]]:
    """The cells of the first table of a part of docs/STATISTICS.md, a list a line."""
    lines = [line for line in section(title).splitlines() if line.startswith("| ")]
    return [[cell.strip(" %") for cell in line.strip("|").split("|")] for line in lines[1:]]


def test_the_page_says_at_most_five_percent_beyond_the_simulations_error():
    """Of a fixed number of seeds where all networks spread alike; of looking in all six ways."""
    most = 5 + float(re.search(r"own error of ± ([\d.]+)", verdicts.PAGE.read_text())[1])
    watched = shares_of("Looking: false verdicts")
    assert [kind for kind, *_ in watched] == list(simulated.KINDS)
    assert all(float(share) <= most for _, *shares in watched for share in shares)
    rows = {(kind, int(n)): shares for kind, n, *shares in shares_of("A fixed number of seeds")}
    assert set(rows) == {(kind, n) for kind in simulated.KINDS for n in fixed.SEEDS}
    for (kind, _), (se, better, blind, seeing, *_) in rows.items():
        alike = kind in ("equal spreads", "residuals of all rows")
        held = [se, better, blind, seeing] if alike else [better, seeing]
        assert all(float(share) <= most for share in held), kind
