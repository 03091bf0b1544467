"""Tables and figures, from records made by hand."""

import csv
import dataclasses
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from conftest import ROOT, analyse, with_changes
from typer import Exit

from analysis import __main__ as analysis_main
from analysis import write
from analysis.figures import study as figures
from analysis.load import find_studies, load
from analysis.tables import study as tables
from analysis.tables.notes import notes
from experiments.records.files import read_sealed, write_sealed
from experiments.records.parsing import ConfigError
from experiments.records.record import Record
from experiments.records.study_file import write_study
from experiments.study.study import expand

ERRORS = {"no SE": 9.0, "gate fixed at 1/2": 8.8, "r = 2": 8.1, "r = 4": 8.2, "r = 8": 8.15,
          "r = 16": 8.1, "r = 32": 8.5}  # fmt: skip


def write_run(record: Record, error: float | None, **changes) -> None:
    """A record as `train` leaves it, with an error of our choice."""
    (record.path / "summary.json").unlink(missing_ok=True)
    record.begin()
    done = error is not None
    record.write_metrics([])
    record.append("metrics.jsonl", {"epoch": 1, "step": 9, "train_error": 60.0, "val_error": 62.0})
    record.append("metrics.jsonl", {"epoch": 2, "step": 18, "train_error": 50.0, "val_error": 55.0})
    machine = {"processor": "a processor", "device": "cpu"}
    record.write_environment({"precision": "bf16", "data": "x", "seconds": 1.0, **machine})
    se = record.config.se
    pace = 1.0 if se is None else 1.25  # hundredths of a second an image
    for epoch, delay in enumerate((3.0, 1.0, 2.0), start=1):  # other work, but for the second
        line = {"epoch": epoch, "images": 100, "seconds": delay * pace}
        record.append("timings.jsonl", line)
    summary = {
        "state": "done" if done else "diverged", "test_error": error, "test_images": 10_000,
        "train_images": 45_000, "epochs": 30,
        "parameters": 313_114 + (0 if se is None else 1000 // se.ratio),
        "multiply_adds": 47_106_560,
        "hidden": {} if se is None else {"2": [64 // se.ratio], "3": [128 // se.ratio]},
        "interventions": {},
    }  # fmt: skip
    record.finish(summary | changes)


def study(
    results: Path, seeds: int, recipe: str = "fast", dataset: str = "cifar10", skip=(), **odd
):
    """Records of a whole ratio study; `skip` names (row, seed) that are not there."""
    asked = expand("ratio", dataset=dataset, network="resnet29b", recipe=recipe, seeds=seeds)
    for label, config in asked.runs():
        if (label, config.seed) not in skip:
            write_run(Record(results, config), ERRORS[label] + 0.1 * config.seed, **odd)
    write_study(results, asked.record())
    return asked


def test_a_table_to_the_character(tmp_path):
    study(tmp_path, 3, skip=[("r = 4", 2)])
    [found] = find_studies(tmp_path, ["ratio"])
    lines = tables.write(found, "md").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    assert lines[0] == "## Reduction ratio r (Table 10 of the paper)"
    assert rows[0] == [
        "Reduction ratio r", "test error (%)", "minus r = 16 (points)", "parameters",
        "paper's error (%)",
    ]  # fmt: skip
    # Every row of three has the variance 0.01, that of two 0.005; the pool has 13 degrees.
    pooled = (6 * 2 * 0.01 + 0.005) / 13
    two, three = (8 * pooled + 0.005) / 9, (8 * pooled + 2 * 0.01) / 10
    t = scipy.stats.t.ppf(0.975, 13)  # of a difference: Satterthwaite's are more than the pool's
    one = scipy.stats.t.ppf(0.975, 10) * math.sqrt(three / 3)
    full, part = t * math.sqrt(2 * three / 3), t * math.sqrt(two / 2 + three / 3)
    assert rows[2] == [
        "no SE", f"9.10 ± {one:.2f}", f"+0.90 [{0.9 - full:+.2f}, {0.9 + full:+.2f}] worse",
        "313,114", "23.30",
    ]  # fmt: skip
    assert rows[3][4] == "–"
    half = scipy.stats.t.ppf(0.975, 9) * math.sqrt(two / 2)
    assert rows[5] == [
        "r = 4", f"8.25 ± {half:.2f} (2 of 3 runs)",
        f"+0.05 [{0.05 - part:+.2f}, {0.05 + part:+.2f}]", "313,364", "22.25",
    ]  # fmt: skip
    assert rows[7][2] == "–"  # the reference itself
    said = "\n".join(notes(found))
    assert "Not in the means: 1 missing." in said and "8 degrees of freedom" in said
    assert "Seeds differ by 0.10 points" in said and "with n = 2" in said
    assert "DEMONSTRATION" not in said


def test_the_csv_holds_the_unrounded_numbers(tmp_path):
    study(tmp_path, 2)
    [found] = find_studies(tmp_path, [])
    rows = list(csv.DictReader(tables.write(found, "csv").splitlines()))
    assert [row["row"] for row in rows] == list(ERRORS)
    assert float(rows[0]["test_error"]) == pytest.approx(9.05)
    half = scipy.stats.t.ppf(0.975, 7) * math.sqrt(0.005 / 2)  # no more degrees than the pool's
    assert float(rows[0]["half_width"]) == pytest.approx(half, 1e-4)
    assert float(rows[0]["welch_low"]) < float(rows[0]["difference_low"])
    assert rows[0]["parameters"] == "313114" and rows[1]["paper_top1"] == ""


def test_latex_is_booktabs(tmp_path):
    study(tmp_path, 2)
    [found] = find_studies(tmp_path, [])
    text = tables.write(found, "tex")
    assert r"\toprule" in text and r"\bottomrule" in text and r"(\%)" in text
    assert r"$\pm$" in text and "±" not in text.split(r"\begin")[1]


def test_one_seed_and_a_demonstration_say_so(tmp_path):
    study(tmp_path, 1, recipe="demo")
    [found] = find_studies(tmp_path, [])
    text = " ".join(write.texts([found])[0].split())
    assert "±" not in text.split("Data cifar10")[0]
    assert (
        "A DEMONSTRATION" in text
        and "`DATASET=cifar10 RECIPE=fast SEEDS=5 make ablation-ratio`" in text
    )
    assert "n = 1" in text
    assert "WARNING: the plain network ends at 9.0 %" in text


def test_synthetic_data_is_named_in_the_table_and_on_the_figure(tmp_path):
    study(tmp_path, 1, recipe="demo", dataset="synthetic")
    [found] = find_studies(tmp_path, [])
    assert (
        "SYNTHETIC DATA" in tables.write(found, "md")
        and "DATASET=cifar10" in write.texts([found])[0]
    )
    assert "SYNTHETIC DATA" in figures.errors(found).get_suptitle()


def test_a_run_that_diverged_or_failed_is_shown_and_never_averaged(tmp_path):
    asked = study(tmp_path, 2)
    runs = {(label, config.seed): Record(tmp_path, config) for label, config in asked.runs()}
    write_run(runs["r = 2", 0], None)
    write_run(runs["r = 8", 0], None)
    write_run(runs["r = 8", 1], None)
    (runs["r = 32", 0].path / "summary.json").unlink()
    runs["r = 32", 0].fail("out of memory", "no room")
    [found] = find_studies(tmp_path, [])
    shown = tables.cells(found).set_index("Reduction ratio r")
    assert shown["test error (%)"]["r = 2"].endswith("(1 of 2 runs)")
    assert shown["test error (%)"]["r = 8"] == "diverged"
    assert shown["test error (%)"]["r = 32"].startswith("8.60")
    assert "Not in the means: 3 diverged, 1 failed." in notes(found)


def test_two_data_sets_or_recipes_are_two_tables(tmp_path):
    study(tmp_path, 1)
    study(tmp_path, 1, dataset="cifar100")
    study(tmp_path, 1, recipe="demo")
    names = [found.name for found in find_studies(tmp_path, ["ratio"])]
    assert names == ["ratio-cifar10-resnet29b-demo", "ratio-cifar10-resnet29b-fast",
                     "ratio-cifar100-resnet29b-fast"]  # fmt: skip


def test_runs_of_different_precision_are_named(tmp_path):
    asked = study(tmp_path, 1)
    path = Record(tmp_path, asked.cells[0].config).path / "env.json"
    changed = {"precision": "fp32", "processor": "another processor"}
    write_sealed(path, read_sealed(path) | changed)
    [found] = find_studies(tmp_path, [])
    assert any("MIXED" in note and "bf16, fp32" in note for note in notes(found))
    assert any("times are not compared" in note for note in notes(found))


def test_a_fused_run_beside_plain_ones_is_named(tmp_path):
    asked = study(tmp_path, 1)
    path = Record(tmp_path, asked.cells[0].config).path / "env.json"
    write_sealed(path, read_sealed(path) | {"step": "fused"})
    [found] = find_studies(tmp_path, [])
    assert any("MIXED" in note and "fused, plain" in note for note in notes(found))


def test_runs_on_other_data_are_shown_and_never_averaged(tmp_path):
    asked = study(tmp_path, 3)
    path = Record(tmp_path, asked.cells[3].config).path / "env.json"
    write_sealed(path, read_sealed(path) | {"data": "y"})
    [found] = find_studies(tmp_path, [])
    assert len(found.of("r = 4")) == 2
    said = " ".join(notes(found))
    assert "OTHER DATA: 1 runs" in said and "fingerprint y, not x" in said
    shown = tables.cells(found).set_index("Reduction ratio r")["test error (%)"]
    assert shown["r = 4"].endswith("(2 of 3 runs)")


def test_fewer_seeds_asked_for_later_hide_none(tmp_path):
    study(tmp_path, 3)
    write_study(tmp_path, expand("ratio", dataset="cifar10", network="resnet29b", recipe="fast",
                                 seeds=1).record())  # fmt: skip
    [found] = find_studies(tmp_path, [])
    assert set(tables.numbers(found).seeds) == {3}


def test_a_study_without_any_result_is_all_holes(tmp_path):
    asked = expand("ratio", dataset="cifar10", network="resnet29b", recipe="demo")
    found = load(tmp_path, asked.record())
    assert set(tables.cells(found)["test error (%)"]) == {"–"}
    assert set(tables.numbers(found).seeds) == {0}
    assert figures.errors(found) and figures.ratio(found)


def test_unknown_studies_are_one_sentence(tmp_path):
    study(tmp_path, 1)
    with pytest.raises(ConfigError, match="no study 'gate' in"):
        find_studies(tmp_path, ["gate"])


def damage(path: Path, how: str) -> None:
    """What can happen to a file between two looks at it."""
    data = path.read_bytes()
    changed = {
        "emptied": lambda: b"{}",
        "no object": lambda: b"null",
        "cut short": lambda: data[: len(data) // 2],
        "half a line lost": lambda: data[:-9],
        "one bit flipped": lambda: bytes([*data[:40], data[40] ^ 1, *data[41:]]),
    }
    path.write_bytes(changed[how]())


@pytest.mark.parametrize(
    ("name", "how"),
    [
        (name, how)
        for name in ("summary.json", "env.json", "config.json", "metrics.jsonl")
        for how in (
            "emptied",
            "no object",
            "cut short",
            "half a line lost",
            "one bit flipped",
            "lost",
        )
        if (name, how) != ("summary.json", "lost")  # then the run is not finished: no damage
    ],
)
def test_a_record_that_was_changed_is_named_and_left_out_whole(tmp_path, capsys, name, how):
    asked = study(tmp_path, 2)
    path = Record(tmp_path, asked.cells[3].config).path / name
    if how == "lost":
        path.unlink()
    else:
        damage(path, how)
    [found] = find_studies(tmp_path, [])
    assert len(found.of("r = 4")) == 1 and len(found.of("r = 8")) == 2
    said = " ".join(notes(found))
    assert "Not in the means: 1 damaged." in said and f"DAMAGED: {path}" in said
    assert len(found.curves[found.curves.row == "r = 4"]) == 2  # of the other seed
    with pytest.raises(Exit):
        analysis_main.end([found])
    assert str(path) in capsys.readouterr().err


def test_a_record_of_another_config_is_named_and_left_out(tmp_path):
    asked = study(tmp_path, 1)
    four, eight = (Record(tmp_path, asked.cells[k].config).path for k in (3, 4))
    shutil.rmtree(four)
    shutil.copytree(eight, four)  # whole, and not its own
    [found] = find_studies(tmp_path, [])
    assert found.damaged == [
        f"{four / 'config.json'} describes {eight.parent.name}/seed0: "
        "it was edited, or its folder was renamed"
    ]


@pytest.mark.parametrize(
    "changes",
    [{"test_error": math.nan}, {"hidden": None}, {"test_images": None}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_summary_without_its_numbers_is_damage(tmp_path, changes):
    asked = study(tmp_path, 2)
    path = Record(tmp_path, asked.cells[3].config).path / "summary.json"
    summary = read_sealed(path) | changes
    write_sealed(path, {key: value for key, value in summary.items() if value is not None})
    [found] = find_studies(tmp_path, [])
    assert len(found.damaged) == 1 and str(path) in found.damaged[0]
    assert len(found.of("r = 4")) == 1 and write.texts([found])


def test_gates_that_cannot_be_read_are_damage(tmp_path):
    asked = study(tmp_path, 2)
    record = Record(tmp_path, asked.cells[3].config)
    (record.path / "gates.npz").write_bytes(b"PK\x03\x04 and no more")
    (record.path / "summary.json").unlink()
    write_run(record, 8.0)  # sealed as it is
    [found] = find_studies(tmp_path, [])
    assert len(found.damaged) == 1 and "gates.npz cannot be read" in found.damaged[0]


@pytest.mark.parametrize(
    "change",
    [{"rows": []}, {"seeds": 0}, {"rows": [{"label": "a", "cell": "b", "reference": "c"}]},
     {"rows": [{"label": "a", "cell": "b"}] * 2}, {"settings": None}],
    ids=["no rows", "no seeds", "no such reference", "a row twice", "a key lost"],
)  # fmt: skip
def test_a_study_that_was_edited_is_one_sentence(tmp_path, change):
    study(tmp_path, 1)
    [path] = (tmp_path / "studies").iterdir()
    edited = json.loads(path.read_text()) | change
    path.write_text(json.dumps({k: v for k, v in edited.items() if (k, v) != ("settings", None)}))
    with pytest.raises(ConfigError, match="ratio-cifar10-resnet29b-fast") as error:
        find_studies(tmp_path, [])
    assert "\n" not in str(error.value)


def test_timings_that_lost_a_number_cost_a_time_and_no_record(tmp_path):
    asked = study(tmp_path, 1)
    path = Record(tmp_path, asked.cells[3].config).path / "timings.jsonl"
    path.write_text('{"epoch": 1, "images": 100}\n')
    [found] = find_studies(tmp_path, [])
    table = tables.numbers(found).set_index("row")
    assert table.seeds["r = 4"] == 1


def test_a_label_with_a_dollar_sign_is_drawn_as_it_stands(tmp_path):
    asked = study(tmp_path, 1)
    rows = asked.record().plain()["rows"]
    rows[2]["label"] = "$r^^2$"
    write_study(tmp_path, with_changes(asked.record(), rows=rows))
    [found] = find_studies(tmp_path, [])
    drawn = {path.stem.rsplit("-")[-1] for path in figures.save(found, tmp_path / "figures")}
    assert drawn == {"errors", "curves", "cost"}  # no figure against r where a row has no r


def test_curves_of_one_epoch_and_without_a_holdout_are_seen(tmp_path):
    study(tmp_path, 1)
    [found] = find_studies(tmp_path, [])
    first = found.curves[found.curves.epoch == 1].drop(columns="val_error")
    figure = figures.curves(dataclasses.replace(found, curves=first))
    [ax] = figure.axes
    assert ax.get_title(loc="left") or ax.get_title() == "training images"
    assert {line.get_marker() for line in ax.lines} == {"o"} and len(ax.lines) == 7
    assert len(figure.legends[0].get_texts()) == 7


def test_figures_are_the_same_bytes_on_every_rebuild(tmp_path):
    study(tmp_path, 2)
    [found] = find_studies(tmp_path, [])
    first = {path.name: path.read_bytes() for path in figures.save(found, tmp_path / "a")}
    second = {path.name: path.read_bytes() for path in figures.save(found, tmp_path / "b")}
    assert first == second
    assert {Path(name).suffix for name in first} == {".png", ".pdf"}
    assert sum("ratio-cifar10-resnet29b-fast-ratio" in name for name in first) == 2


def test_the_error_figure_shows_every_seed_and_every_published_error(tmp_path):
    study(tmp_path, 3)
    [found] = find_studies(tmp_path, [])
    ours, paper = figures.errors(found).axes
    drawn = sorted(x for line in ours.lines if line.get_marker() == "o" for x in line.get_xdata())
    assert drawn == pytest.approx(sorted(e + 0.1 * s for e in ERRORS.values() for s in range(3)))
    published = [float(np.ravel(line.get_xdata())[0]) for line in paper.lines]
    assert [x for x in published if not math.isnan(x)] == [23.30, 22.29, 22.25, 22.26, 22.28, 22.72]


@pytest.mark.parametrize(
    "code",
    [
        "import analysis.__main__, analysis.figures.gates, analysis.page.report",
        "import experiments.__main__",
        "from senet import SEConfig; SEConfig(ratio=4)",
    ],
)
def test_analysis_and_status_need_no_torch(code):
    check = f"{code}; import sys; print({{'torch', 'torchvision', 'wandb'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_the_command_line_rebuilds_everything(tmp_path):
    study(tmp_path, 2)
    done = analyse("show", "ratio", "--results", str(tmp_path))
    assert done.returncode == 0 and "Reduction ratio r (Table 10 of the paper)" in done.stdout
    names = {path.name for name in ("tables", "figures") for path in (tmp_path / name).glob("r*.*")}
    names |= {path.name for path in (tmp_path / "figures").glob("forest-*")}
    assert len(names) == 3 + 2 * 5  # a table; errors, ratio, curves, cost and the forest plot
    wrong = analyse("tables", "gate", "--results", str(tmp_path))
    assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1
    assert json.loads((tmp_path / "studies/ratio-cifar10-resnet29b-fast.json").read_text())


def test_the_terminals_table_fits_a_hundred_columns(tmp_path):
    study(tmp_path, 3)
    [text] = write.texts(find_studies(tmp_path, []))
    table = text.split("Data cifar10")[0]
    assert max(map(len, table.splitlines())) <= 100 and "worse" in table
