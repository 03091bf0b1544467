"""Downloads, from a real server on this machine, and the built-in set."""

import hashlib
import pickle
import tarfile
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torchvision
from test_data import SILENT, some

from experiments.data import datasets, synthetic
from experiments.data.datasets import DATASETS, Source, TooSlow, Unreachable, load, prepare
from experiments.records.parsing import ConfigError


class Handler(BaseHTTPRequestHandler):
    def __init__(self, content, *args):
        self.content = content
        super().__init__(*args)

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        half = len(self.content) // 100
        self.wfile.write(self.content[:half])
        if "slow" in self.path:
            time.sleep(0.4)
        if "broken" not in self.path:
            self.wfile.write(self.content[half:])

    def log_message(self, *_):
        pass


@pytest.fixture
def archive(tmp_path):
    """A small archive of the official layout, made as the official one was."""
    rows = {"labels": [0, 1, 9], "data": some(3)[0].transpose(0, 3, 1, 2).reshape(3, -1)}
    folder = tmp_path / "made" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"]
    for name in names:
        data = {"label_names": list("abcdefghij")} if name == "batches.meta" else rows
        (folder / name).write_bytes(pickle.dumps(data))
    path = tmp_path / "made.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder, folder.name)
    sums = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in names}
    return path, sums


@pytest.fixture
def server(archive, monkeypatch):
    """Serves the archive; torchvision and the mirrors are told to find it here."""
    path, sums = archive
    content = path.read_bytes()
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, content))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    home = f"http://127.0.0.1:{httpd.server_port}"
    official = torchvision.datasets.CIFAR10
    monkeypatch.setattr(official, "url", f"{home}/official")
    monkeypatch.setattr(official, "tgz_md5", hashlib.md5(content).hexdigest())
    train = [[name, sums[name]] for name in sums if name.startswith("data")]
    monkeypatch.setattr(official, "train_list", train)
    monkeypatch.setattr(official, "test_list", [["test_batch", sums["test_batch"]]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]}
    monkeypatch.setattr(official, "meta", meta)

    def mirrors(*paths):
        row = DATASETS["cifar10"]
        new = Source(**vars(row) | {"mirrors": tuple(f"{home}/{path}" for path in paths)})
        monkeypatch.setitem(DATASETS, "cifar10", new)

    mirrors()
    yield mirrors
    httpd.shutdown()


def test_a_download_is_converted_once(tmp_path, server):
    prepare("cifar10", tmp_path / "data", SILENT)
    data = load("cifar10", tmp_path / "data")
    assert np.array_equal(data.train_images, np.concatenate([some(3)[0]] * 5))
    assert data.test_labels.tolist() == [0, 1, 9] and data.class_names == tuple("abcdefghij")


def test_a_broken_mirror_leads_to_the_next_address(tmp_path, server):
    server("broken", "fine")
    said = []
    prepare("cifar10", tmp_path / "data", lambda text, style=None: said.append(text))
    assert "the file there has another checksum" in " ".join(said)
    assert len(load("cifar10", tmp_path / "data").train_labels) == 15
    assert not list((tmp_path / "data").glob(".*")), "nothing half loaded is left"


def test_auto_falls_back_loudly_where_nothing_answers(tmp_path, monkeypatch):
    row = Source(**vars(DATASETS["cifar10"]) | {"mirrors": ()})
    monkeypatch.setitem(DATASETS, "cifar10", row)
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", "http://127.0.0.1:9/nothing")
    with pytest.raises(Unreachable, match="cannot be downloaded"):
        prepare("cifar10", tmp_path, SILENT)
    said = []
    assert (
        datasets.prepare_any("auto", tmp_path, lambda t, style=None: said.append(t)) == "synthetic"
    )
    assert any("SYNTHETIC" in text for text in said)
    data = load("synthetic", tmp_path)
    assert len(data.train_labels) == 15_000 and len(set(data.train_labels.tolist())) == 10


def test_patience_ends_a_slow_download_and_only_with_patience(tmp_path, server):
    address = f"{torchvision.datasets.CIFAR10.url}/slow"
    with pytest.raises(TooSlow, match="too slow"):
        datasets.read(address, tmp_path / "a", patience=0.01, first=0.1)
    datasets.read(address, tmp_path / "b", patience=None, first=0.1)
    assert (tmp_path / "b").stat().st_size > 0


def test_a_folder_of_torchvision_is_used_and_a_damaged_archive_is_refused(
    tmp_path, server, archive
):
    folder = tmp_path / "data"
    folder.mkdir()
    with tarfile.open(archive[0]) as tar:
        tar.extractall(folder, filter="data")
    prepare("cifar10", folder, SILENT)
    assert len(load("cifar10", folder).train_labels) == 15
    other = tmp_path / "other"
    other.mkdir()
    (other / torchvision.datasets.CIFAR10.filename).write_bytes(b"half of it")
    with pytest.raises(ConfigError, match="does not have the published checksum"):
        datasets.prepare_any("auto", other, SILENT)


def test_the_synthetic_set_is_the_same_wherever_it_is_made():
    made = synthetic.make()
    labels = made["train_labels"][:50]
    once, again = (synthetic.draw(labels, np.random.default_rng(1)) for _ in range(2))
    assert np.array_equal(once, again) and len(set(labels.tolist())) == 10
    pixels = made["train_images"].reshape(-1, 3) / 255
    assert (
        DATASETS["synthetic"].train,
        DATASETS["synthetic"].test,
    ) == (synthetic.TRAIN, synthetic.TEST)
    assert np.allclose(pixels.mean(0), DATASETS["synthetic"].mean, atol=0.01)
    assert np.allclose(pixels.std(0), DATASETS["synthetic"].std, atol=0.01)
