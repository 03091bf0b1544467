"""Published weights: exported from checkpoints, loaded through torch.hub, as good as the record."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, call, tiny_study, train_study
from torch import nn

from experiments.commands.export import LARGEST
from experiments.data.datasets import load, path_of
from experiments.data.images import split
from experiments.records.record import read_result
from experiments.train import checkpoint
from experiments.train.evaluation import evaluate
from experiments.train.optimization import arithmetic, new_forward
from senet import SEConfig, build
from senet.weights import INDEX, PUBLISHED, pack, published, unpack

GRID = """
title: Own
controls: [plain]
reference: SE
cells: [{label: SE, se.ratio: 4}]
"""


@dataclass(frozen=True)
class Exported:
    results: Path
    index: dict
    said: str

    @property
    def folder(self) -> Path:
        return self.results / "weights"

    def run_of(self, cell: str) -> Path:
        return self.results / "runs" / cell / f"seed{self.index[cell]['seed']}"


@pytest.fixture(scope="module")
def exported(tmp_path_factory, data_dir) -> Exported:
    """Two tiny networks, plain and with SE, trained and exported."""
    folder = tmp_path_factory.mktemp("exported")
    (folder / "own.yaml").write_text(GRID)
    train_study(tiny_study(str(folder / "own.yaml"), epochs=8), folder / "results", data_dir)
    done = call("export", "own", RESULTS=str(folder / "results"))
    assert done.returncode == 0, done.stdout + done.stderr
    index = json.loads((folder / "results/weights" / INDEX).read_text())
    return Exported(folder / "results", index, done.stdout)


def examined(model: nn.Module, run: Path, data_dir: Path) -> tuple[float, np.ndarray]:
    """Error in % on the test images of a run, in its arithmetic, and the predicted classes."""
    result = read_result(run)
    arrays = load(result.config.dataset, data_dir)
    _, _, test = split(arrays, result.config.recipe, torch.device("cpu"))
    forward = new_forward(model.to(memory_format=torch.channels_last), result.env["step"])
    autocast = arithmetic("cpu", result.env["precision"])
    found = evaluate(forward, test, autocast)
    return found.error, found.predictions["predicted"]


@pytest.mark.parametrize("row", ["no SE", "SE"])
def test_a_network_from_the_hub_is_the_one_that_was_trained(exported, data_dir, row):
    [cell] = [cell for cell, entry in exported.index.items() if row in entry["rows"]]
    run = exported.run_of(cell)
    model = torch.hub.load(str(ROOT), "published", row, exported.folder, source="local")
    assert not model.training
    state = checkpoint.load(run / "checkpoint.pt", "cpu")["model"]
    for name, tensor in model.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert tensor.dtype == torch.float32
            assert torch.equal(tensor, state[name].half().float()), name
    error, predicted = examined(model, run, data_dir)
    before = np.load(run / "predictions.npz")["predicted"]
    assert np.mean(predicted != before) <= 2 / len(before)  # float16 turns what was at the edge
    assert abs(error - exported.index[cell]["test_error"]) <= 100 * 2 / len(before)


def test_an_export_is_small_and_says_what_it_is(exported):
    assert "2 of 2 networks" in exported.said
    for cell, entry in exported.index.items():
        run, size = exported.run_of(cell), (exported.folder / entry["file"]).stat().st_size
        assert size < LARGEST and size < 0.6 * (run / "checkpoint.pt").stat().st_size
        assert entry["test_error"] == read_result(run).summary["test_error"]


def test_weights_that_were_touched_or_are_called_otherwise_are_refused(exported, tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    for path in exported.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match=r"unknown network 'r = 3'.*allowed are"):
        published("r = 3", folder)
    [cell] = [cell for cell, entry in exported.index.items() if entry["rows"] == ["SE"]]
    content = bytearray((folder / f"{cell}.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / f"{cell}.npz").write_bytes(content)
    with pytest.raises(ValueError, match="its checksum is another"):
        published("SE", folder)
    both = {c: entry | {"rows": ["SE"]} for c, entry in exported.index.items()}
    (folder / INDEX).write_text(json.dumps(both))
    with pytest.raises(ValueError, match="a row of several networks"):
        published("SE", folder)
    with pytest.raises(ValueError, match="no weights are published"):
        published("SE", tmp_path)


def test_a_row_without_a_checkpoint_is_named_and_ends_with_1(exported, tmp_path):
    there = {"RESULTS": str(exported.results)}
    cell = next(iter(exported.index))
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
def test_packing_rounds_to_float16_and_nothing_else(se):
    first, second = build("resnet20", se=se), build("resnet20", se=se)
    unpack(pack(first.state_dict()), second)
    for name, tensor in second.state_dict().items():
        wanted = first.state_dict()[name]
        assert torch.equal(tensor, wanted.half().float() if tensor.is_floating_point() else wanted)


def test_weights_of_another_network_or_beyond_float16_are_refused():
    content = pack(build("resnet20").state_dict())
    with pytest.raises(ValueError, match="of another network"):
        unpack(content, build("resnet20", se=SEConfig()))
    with pytest.raises(ValueError, match="of another network"):
        unpack(content, build("resnet20", width=2))
    with pytest.raises(ValueError, match="not finite in float16"):
        pack({"weight": torch.tensor([1e6])})


IN_STUDY = sorted(json.loads((PUBLISHED / INDEX).read_text())) if PUBLISHED.exists() else []


@pytest.mark.slow
@pytest.mark.skipif(not IN_STUDY, reason="no weights are published yet")
@pytest.mark.parametrize("cell", IN_STUDY or [None])
def test_published_weights_give_the_records_error_on_the_real_test_images(cell):
    entry = json.loads((PUBLISHED / INDEX).read_text())[cell]
    run = PUBLISHED.parent / "runs" / cell / f"seed{entry['seed']}"
    assert entry["test_error"] == read_result(run).summary["test_error"]
    model, data = published(cell), Path(os.environ.get("DATA_DIR", ROOT / "data"))
    if not path_of(entry["dataset"], data).exists():
        pytest.skip(f"DATA_DIR {data} has no {entry['dataset']}")
    if load(entry["dataset"], data).fingerprint != read_result(run).env["data"]:
        pytest.skip(f"DATA_DIR {data} has other images of this name")
    error, predicted = examined(model, run, data)
    before = np.load(run / "predictions.npz")["predicted"]
    assert abs(error - entry["test_error"]) < 0.3 and np.mean(predicted != before) < 0.02
