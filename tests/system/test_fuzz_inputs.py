"""What a user writes, and what a command notes for the next one, is read or refused in a sentence.

As test_fuzz.py, for grids with their code, settings of clusters, notes and checkpoints.
"""

import json
from pathlib import Path

import pytest
import yaml
from conftest import RECORDS, tiny
from faults import SOURCE
from fuzzing import FUZZ, ODD, damages, leaves, one_sentence, put, restored, within
from hypothesis import given
from hypothesis import strategies as st
from stopped_runs import SE, stop_in_the_middle

from analysis.figures import drawing
from analysis.read import find_studies
from analysis.tables import complexity
from experiments.commands.look import look_at_runs
from experiments.commands.status import status_lines
from experiments.launch.cluster import CLUSTERS, RaySettings, SlurmSettings, read_settings
from experiments.launch.slurm import squeue
from experiments.launch.slurm.squeue import Job
from experiments.plan.options import PlanOptions
from experiments.records.parsing import ConfigError
from experiments.records.studies import read_studies
from experiments.study.grid import GRIDS
from experiments.study.study import expand
from experiments.train import checkpoint
from experiments.train.resume import find_checkpoint


@FUZZ
@given(data=st.data())
def test_edited_grids(tmp_path, data):
    source = data.draw(st.sampled_from(sorted(GRIDS.glob("*.yaml"))))
    grid = yaml.safe_load(source.read_bytes())
    put(grid, data.draw(st.sampled_from(list(leaves(grid)))), data.draw(ODD))
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(grid))
    expand_it(tmp_path)


@FUZZ
@given(damage=damages(), source=st.sampled_from(sorted(GRIDS.glob("*.yaml"))))
def test_damaged_grids(tmp_path, damage, source):
    (tmp_path / "own.yaml").write_bytes(damage(source.read_bytes()))
    expand_it(tmp_path)


@within(60)
def expand_it(folder: Path) -> None:
    with one_sentence(20_000):
        expand(str(folder / "own.yaml"), dataset="cifar10", recipe="smoke").record()


OWN = "title: Own\ncode: {code}\ncontrols: [plain]\nreference: no SE\ncells: [{{se.ratio: 4}}]\n"


@FUZZ
@given(damage=damages())
def test_damaged_code(tmp_path, damage):
    (tmp_path / "own.yaml").write_text(OWN.format(code="own.py"))
    (tmp_path / "own.py").write_bytes(damage(SOURCE.encode()))
    expand_it(tmp_path)


@FUZZ
@given(name=ODD)
def test_odd_names_of_code(tmp_path, name):
    grid = yaml.safe_load(OWN.format(code="own.py")) | {"code": name}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(grid))
    expand_it(tmp_path)


SETTINGS = {"slurm": SlurmSettings, "ray": RaySettings}


@FUZZ
@given(data=st.data(), launcher=st.sampled_from(list(SETTINGS)))
def test_settings_of_clusters(tmp_path, data, launcher):
    path, source = tmp_path / "own.yaml", (CLUSTERS / f"{launcher}.yaml").read_bytes()
    if data.draw(st.booleans()):
        path.write_bytes(data.draw(damages())(source))
    else:
        given = yaml.safe_load(source)
        put(given, data.draw(st.sampled_from(list(leaves(given)))), data.draw(ODD))
        path.write_text(yaml.safe_dump(given))
    options = PlanOptions(["ratio"], launcher=launcher, cluster=path)
    with within(60), one_sentence():
        settings, _ = read_settings(options, SETTINGS[launcher])
        if isinstance(settings, SlurmSettings):
            settings.for_submitit()


def edited(data, content: dict) -> bytes:
    """A JSON object some values of which were edited, or some bytes damaged."""
    if data.draw(st.booleans()):
        return data.draw(damages())(json.dumps(content).encode())
    for _ in range(data.draw(st.integers(1, 2))):
        put(content, data.draw(st.sampled_from(list(leaves(content)))), data.draw(ODD))
    return json.dumps(content).encode()


@FUZZ
@given(data=st.data())
def test_notes_of_slurms_jobs(tmp_path, data):
    name, [study] = "se-0123456789ab", read_studies(RECORDS)[:1]
    packs = [[f"{row.cell}/seed{seed}" for row in study.rows] for seed in range(2)]
    folder = squeue.folder_of(tmp_path)
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_bytes(edited(data, {"jobs": packs}))
    with within(60):  # and no refusal at all
        jobs = squeue.jobs_of(tmp_path, {(name, n): Job(f"1_{n}", "PENDING") for n in range(2)})
        status_lines([look_at_runs(study, tmp_path, jobs=jobs)], tmp_path, jobs=jobs)


@pytest.fixture(scope="module")
def a_study():
    return find_studies(RECORDS, ["squeeze"])[0]


def paint(folder: Path) -> list[Path]:
    (folder / "one.png").write_text("drawn")
    return [folder / "one.png"]


@FUZZ
@given(data=st.data())
def test_notes_of_figures(tmp_path, a_study, data):
    folder = tmp_path / "figures"
    folder.mkdir(exist_ok=True)
    (folder / drawing.NOTES).unlink(missing_ok=True)
    one = drawing.Drawing("one", [a_study], paint, (folder,))
    drawing.draw([one], folder)
    whole = json.loads((folder / drawing.NOTES).read_text())
    (folder / drawing.NOTES).write_bytes(edited(data, whole))
    before = set(tmp_path.iterdir())
    with within(60):
        assert drawing.draw([one], folder) == [folder / "one.png"]
    assert (folder / "one.png").read_text() == "drawn" and set(tmp_path.iterdir()) == before


@FUZZ
@given(data=st.data())
def test_counted_costs(tmp_path, data):
    counts = dict.fromkeys(("parameters", "multiply_adds", "se_parameters", "se_elementwise"), 7)
    whole = {
        number: {row["label"]: dict(counts) for row in table["rows"] if "build" in row}
        for number, table in yaml.safe_load(complexity.ROWS.read_bytes()).items()
    }
    (tmp_path / "complexity.json").write_bytes(edited(data, whole))
    with within(60), one_sentence():
        complexity.write(tmp_path)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, data_dir):
    return stop_in_the_middle(tmp_path_factory.mktemp("stopped"), tiny(**SE), data_dir)


@FUZZ
@given(data=st.data())
def test_checkpoints(stopped, data):
    """One that is damaged, or whose checksum fits and nothing else, is set aside in a sentence."""
    saved = checkpoint.load(stopped.checkpoint, "cpu")
    marks, of_step = {key: saved[key] for key in ("data", "fingerprint")}, saved["step_fingerprint"]
    notes: list[str] = []
    with restored(stopped.checkpoint):
        if data.draw(st.booleans()):
            damage = data.draw(damages())
            stopped.checkpoint.write_bytes(damage(stopped.checkpoint.read_bytes()))
        else:
            other = checkpoint.load(stopped.checkpoint, "cpu")
            put(other, data.draw(st.sampled_from(list(leaves(other)))), data.draw(ODD))
            checkpoint.save(stopped.checkpoint, other)
        with within(60):
            found = find_checkpoint(stopped, "cpu", marks, lambda _: of_step, notes.append)
    for kept in stopped.path.glob("checkpoint.old-*.pt"):
        kept.unlink()
    assert (found is None) == (len(notes) == 1) and "\n" not in "".join(notes)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


AXES = ", ".join(f"recipe.{key}: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]" for key in "abcdefghijkl")
CROSSED = f"title: x\ncells: [{{{AXES}}}]"


@pytest.mark.parametrize(
    "text",
    [BOMB, "a: &a [*a]", "cells: " + "[" * 5000, CROSSED],
    ids=["a bomb of aliases", "a list in itself", "deep", "too many rows"],
)  # fmt: skip
def test_a_grid_that_would_never_end_is_refused(tmp_path, text):
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(ConfigError, match="own"):
        expand(str(tmp_path / "own.yaml"), dataset="cifar10", recipe="smoke")
