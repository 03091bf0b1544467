"""Published weights: exported from checkpoints, loaded through torch.hub, as good as the record."""

import csv
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import call
from conftest import ROOT, tiny_study, train_study
from huggingface_hub import ModelCard
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from experiments.commands.card import card
from experiments.commands.export import LARGEST
from experiments.data.datasets import load_data, path_of
from experiments.data.images import split
from experiments.data.mini import FOLDER
from experiments.data.prepare import prepare
from experiments.records.results import read_result
from experiments.train import checkpoint
from experiments.train.environment import pick_precision
from experiments.train.evaluation import evaluate
from experiments.train.optimization import arithmetic, new_forward
from senet import SEConfig, build
from senet.weights import (
    CARD,
    FILE,
    PUBLISHED,
    from_pretrained,
    pack_weights,
    published,
    read_about,
)
from senet.weights import load as load_weights

GRID = """
title: Own
controls: [plain]
reference: SE
cells: [{label: SE, se.ratio: 4}]
"""


@dataclass(frozen=True)
class Exported:
    results: Path
    networks: dict  # name of a file -> what its header says
    said: str

    @property
    def folder(self) -> Path:
        return self.results / "weights"

    def run_of(self, cell: str) -> Path:
        seed = self.networks[cell]["config"]["seed"]
        return self.results / "runs" / cell / f"seed{seed}"


@pytest.fixture(scope="module")
def exported(tmp_path_factory, data_dir) -> Exported:
    """Two tiny networks, plain and with SE, trained and exported."""
    folder = tmp_path_factory.mktemp("exported")
    (folder / "own.yaml").write_text(GRID)
    train_study(tiny_study(str(folder / "own.yaml"), epochs=8), folder / "results", data_dir)
    done = call("export", "own", RESULTS=str(folder / "results"))
    assert done.returncode == 0, done.stdout + done.stderr
    files = (folder / "results/weights").glob(f"*/{FILE}")
    networks = {path.parent.name: read_about(path) for path in sorted(files)}
    return Exported(folder / "results", networks, done.stdout)


def examined(
    model: nn.Module,
    run: Path,
    data_dir: Path,
    precision: str,
    images: int | None = None,
    dataset: str | None = None,
) -> tuple[float, np.ndarray]:
    """Error in % on the first test images of a run's data set, or of another one, or on all; and
    the predicted classes."""
    result = read_result(run)
    recipe = result.config.recipe
    ours = {"test_images": images or recipe.test_images, "train_images": None, "curve_images": None}
    recipe = recipe.model_copy(update=ours)
    arrays = load_data(dataset or result.config.dataset, data_dir)
    _, _, test = split(arrays, recipe, torch.device("cpu"))
    forward = new_forward(model.to(memory_format=torch.channels_last), result.env["step"])
    autocast = arithmetic("cpu", precision)
    found = evaluate(forward, test, autocast)
    return found.error, found.predictions["predicted"]


@pytest.mark.parametrize("row", ["no SE", "SE"])
def test_a_network_from_the_hub_is_the_one_that_was_trained(exported, data_dir, row):
    [cell] = [cell for cell, about in exported.networks.items() if row in about["rows"]]
    run = exported.run_of(cell)
    model = torch.hub.load(str(ROOT), "published", row, exported.folder, source="local")
    assert not model.training
    state = checkpoint.load(run / "checkpoint.pt", "cpu")["model"]
    for name, tensor in model.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert tensor.dtype == torch.float32
            assert torch.equal(tensor, state[name].half().float()), name
    error, predicted = examined(model, run, data_dir, read_result(run).env["precision"])
    before = np.load(run / "predictions.npz")["predicted"]
    assert np.mean(predicted != before) <= 2 / len(before)  # float16 turns what was at the edge
    assert abs(error - exported.networks[cell]["test_error"]) <= 100 * 2 / len(before)


def test_an_export_is_small_and_says_what_it_is(exported, data_dir):
    assert len(exported.networks) == 2
    for cell, about in exported.networks.items():
        run, path = exported.run_of(cell), exported.folder / cell / FILE
        assert f"{cell}: {path.stat().st_size:,} bytes" in exported.said
        assert path.stat().st_size < 0.6 * (run / "checkpoint.pt").stat().st_size
        result, arrays = read_result(run), load_data("cifar10", data_dir)
        assert about["test_error"] == result.summary["test_error"]
        assert about["config"] == result.config.model_dump(mode="json")
        assert about["data"] == arrays.fingerprint
        assert tuple(about["class_names"]) == arrays.class_names
        shown = ModelCard.load(path.with_name(CARD))  # as the hub reads it
        assert shown.data.license == "mit" and shown.data.library_name == "senet"
        [result] = shown.data.eval_results
        assert result.metric_value == pytest.approx(100 - about["test_error"], abs=0.006)
        assert f"| {about['test_error']:.2f} ± " in shown.text


def test_any_program_reads_an_export_with_safetensors_alone(exported):
    [cell] = [cell for cell, about in exported.networks.items() if about["rows"] == ["SE"]]
    path = exported.folder / cell / FILE
    with safe_open(path, "numpy") as file:
        about = json.loads(file.metadata()["about"])
        assert all(file.get_tensor(name).dtype == np.float16 for name in file.keys())  # noqa: SIM118
    assert about["mean"] == [0.4914, 0.4822, 0.4465] and about["rows"] == ["SE"]
    model = build(about["build"]["name"], se=SEConfig(**about["build"]["se"]))
    model.load_state_dict(load_file(path))
    theirs, ours = model.state_dict(), published("SE", exported.folder).state_dict()
    assert all(torch.equal(theirs[name], tensor) for name, tensor in ours.items())


def test_weights_that_were_touched_or_are_called_otherwise_are_refused(exported, tmp_path):
    folder = shutil.copytree(exported.folder, tmp_path / "weights")
    with pytest.raises(ValueError, match=r"unknown network 'r = 3'.*allowed are"):
        published("r = 3", folder)
    [cell] = [cell for cell, about in exported.networks.items() if about["rows"] == ["SE"]]
    path = folder / cell / FILE
    shutil.copytree(path.parent, folder / "another")
    with pytest.raises(ValueError, match="a row of several networks: name one of another, "):
        published("SE", folder)
    assert published("another", folder)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="its checksum is another"):
        published(cell, folder)
    path.write_bytes(content[:-1])
    with pytest.raises(ValueError, match="its header cannot be read"):
        published(cell, folder)
    with pytest.raises(ValueError, match="no weights are published"):
        published("SE", tmp_path)
    with pytest.raises(ValueError, match=r"has no model\.safetensors"):
        from_pretrained(tmp_path)


def test_a_row_without_a_checkpoint_is_named_and_ends_with_1(exported, tmp_path):
    there = {"RESULTS": str(exported.results)}
    cell = next(iter(exported.networks))
    kept = exported.run_of(cell) / "checkpoint.pt"
    aside = kept.rename(tmp_path / "checkpoint.pt")
    try:
        done = call("export", "own", "--into", str(tmp_path / "weights"), **there)
    finally:
        aside.rename(kept)
    assert done.returncode == 1 and f"{cell}: no finished run has a checkpoint" in done.stdout
    assert call("export", "ratio", **there).returncode == 2
    for path in (tmp_path / "none/studies", tmp_path / "none/runs"):  # records without checkpoints
        shutil.copytree(
            exported.results / path.name, path, ignore=shutil.ignore_patterns("checkpoint.pt")
        )
    done = call("export", "own", RESULTS=str(tmp_path / "none"))
    assert done.returncode == 2 and not (tmp_path / "none/weights").exists()


@pytest.mark.parametrize("se", [None, SEConfig(ratio=4, bias="both"), SEConfig(gate="softmax")])
def test_packing_rounds_to_float16_and_nothing_else(se, tmp_path):
    first, second = build("resnet20", se=se), build("resnet20", se=se)
    content = pack_weights(first.state_dict(), {"rows": []})
    (tmp_path / "weights").write_bytes(content)
    load_weights(tmp_path / "weights", second)
    for name, tensor in second.state_dict().items():
        wanted = first.state_dict()[name]
        assert torch.equal(tensor, wanted.half().float() if tensor.is_floating_point() else wanted)
    assert pack_weights(second.state_dict(), {"rows": []}) == content


def test_weights_of_another_network_or_beyond_float16_are_refused(tmp_path):
    (tmp_path / "weights").write_bytes(pack_weights(build("resnet20").state_dict(), {}))
    for other in (build("resnet20", se=SEConfig()), build("resnet20", width=2)):
        with pytest.raises(ValueError, match="of another network"):
            load_weights(tmp_path / "weights", other)
    with pytest.raises(ValueError, match="not finite in float16"):
        pack_weights({"weight": torch.tensor([1e6])}, {})


DATA = Path(os.environ.get("DATA_DIR", ROOT / "data"))  # no test sees what a user has set
IN_STUDY = sorted(path.parent.name for path in PUBLISHED.glob(f"*/{FILE}"))


@pytest.mark.slow
@pytest.mark.skipif(not IN_STUDY, reason="no weights are published yet")
@pytest.mark.parametrize("cell", IN_STUDY or [None])
def test_published_weights_give_the_records_error_on_the_real_test_images(cell):
    about = read_about(PUBLISHED / cell / FILE)
    run = PUBLISHED.parent / "runs" / cell / f"seed{about['config']['seed']}"
    assert about["test_error"] == read_result(run).summary["test_error"]
    assert (PUBLISHED / cell / FILE).stat().st_size < LARGEST
    assert (PUBLISHED / cell / CARD).read_text() == card(cell, about)
    model, dataset = published(cell), about["config"]["dataset"]
    if not path_of(dataset, DATA).exists():
        pytest.skip(f"DATA_DIR {DATA} has no {dataset}")
    if load_data(dataset, DATA).fingerprint != read_result(run).env["data"]:
        pytest.skip(f"DATA_DIR {DATA} has other images of this name")
    precision = pick_precision("auto", "cpu")  # it was bf16, for which not every processor is made
    error, predicted = examined(model, run, DATA, precision, images=2000)
    kept = np.load(run / "predictions.npz")
    before, labels = kept["predicted"][:2000], kept["label"][:2000]
    assert abs(error - 100 * np.mean(before != labels)) < 0.7
    assert np.mean(predicted != before) < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("cell", IN_STUDY[:2])  # no SE, and SE
def test_published_weights_give_the_records_predictions_on_the_images_that_are_kept_here(
    tmp_path, cell
):
    """CIFAR-10 mini holds 2,000 of the 10,000 test images, with their official numbers."""
    about = read_about(PUBLISHED / cell / FILE)
    run = PUBLISHED.parent / "runs" / cell / f"seed{about['config']['seed']}"
    prepare("cifar10_mini", tmp_path, lambda *_: None)
    precision = pick_precision("auto", "cpu")
    model = published(cell)
    error, predicted = examined(model, run, tmp_path, precision, dataset="cifar10_mini")
    with (FOLDER / "images.csv").open() as file:
        tiles = [line for line in csv.DictReader(file) if line["part"] == "test"]
    numbers, kept = [int(line["number"]) for line in tiles], np.load(run / "predictions.npz")
    assert [int(line["label"]) for line in tiles] == kept["label"][numbers].tolist()
    assert np.mean(predicted != kept["predicted"][numbers]) < 0.02
    stated = about["test_error"]
    assert abs(error - stated) < 4 * np.sqrt(stated * (100 - stated) / len(numbers))
