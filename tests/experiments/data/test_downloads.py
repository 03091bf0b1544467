"""Downloads, from a real server on this machine, and the built-in set."""

import hashlib
import io
import pickle
import socket
import tarfile
import threading
import time
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torchvision
from scipy.io import savemat
from test_data import SILENT, some

from experiments.data import prepare as preparing
from experiments.data.datasets import DATASETS, check_trainable, load_data
from experiments.data.download import Remote, Unreachable, download, read
from experiments.data.prepare import prepare, prepare_any
from experiments.records.lock import hold
from experiments.records.parsing import ConfigError


class Handler(BaseHTTPRequestHandler):
    def __init__(self, folder, *args):
        self.folder = folder
        super().__init__(*args)

    def do_GET(self):
        content = (self.folder / self.path.split("/")[-1]).read_bytes()
        content = content[::-1] if "other" in self.path else content
        self.send_response(200)
        self.send_header("Content-Length", str(10**15 if "endless" in self.path else len(content)))
        self.end_headers()
        part = len(content) // 100
        self.wfile.write(content[:part])
        if "slow" in self.path:
            time.sleep(0.4)
        if "broken" not in self.path:
            self.wfile.write(content[part:])

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
    path = tmp_path / "made" / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder, folder.name)
    sums = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in names}
    return path, sums


@pytest.fixture
def home(tmp_path):
    """Serves the files of `made`; what an address holds before a name spoils the download."""
    (tmp_path / "made").mkdir(exist_ok=True)
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, tmp_path / "made"))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()


def serve(monkeypatch, name, home, folder, *paths):
    """Tells a row to find its files here, with the checksums that they have."""
    files = []
    for file in DATASETS[name].files:
        content = (folder / file.name).read_bytes()
        md5 = file.md5 and hashlib.md5(content).hexdigest()
        addresses = tuple(f"{home}/{path}/{file.name}" for path in paths)
        files.append(replace(file, md5=md5, addresses=addresses))
    monkeypatch.setitem(DATASETS, name, replace(DATASETS[name], files=tuple(files)))


@pytest.fixture
def server(archive, home, monkeypatch):
    """Serves the archive; torchvision is told the checksums of its parts."""
    path, sums = archive
    official = torchvision.datasets.CIFAR10
    monkeypatch.setattr(official, "tgz_md5", hashlib.md5(path.read_bytes()).hexdigest())
    train = [[name, sums[name]] for name in sums if name.startswith("data")]
    monkeypatch.setattr(official, "train_list", train)
    monkeypatch.setattr(official, "test_list", [["test_batch", sums["test_batch"]]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]}
    monkeypatch.setattr(official, "meta", meta)
    mirrors = partial(serve, monkeypatch, "cifar10", home, path.parent)
    mirrors("fine")
    return mirrors


def test_the_addresses_and_checksums_of_cifar_are_torchvisions():
    for name, theirs in (("cifar10", "CIFAR10"), ("cifar100", "CIFAR100")):
        [file], official = DATASETS[name].files, getattr(torchvision.datasets, theirs)
        assert (file.name, file.md5) == (official.filename, official.tgz_md5)
        assert file.addresses[-1] == official.url
        assert DATASETS[name].unpacked == official.base_folder
    for file, split in zip(DATASETS["svhn"].files, ("train", "test"), strict=True):
        url, name, md5 = torchvision.datasets.SVHN.split_list[split]
        assert (file.name, file.md5, file.addresses) == (name, md5, (url,))


def test_svhn_is_read_as_torchvision_reads_it(tmp_path, home, monkeypatch):
    made, labels = tmp_path / "made", {"train": [1, 10, 9, 2], "test": [10, 5]}
    for split, digits in labels.items():
        x = some(len(digits))[0].transpose(1, 2, 3, 0)  # (32, 32, 3, N)
        savemat(made / f"{split}_32x32.mat", {"X": x, "y": np.array(digits, np.uint8)[:, None]})
    serve(monkeypatch, "svhn", home, made, "fine")
    prepare("svhn", tmp_path / "data", SILENT)
    data = load_data("svhn", tmp_path / "data")
    monkeypatch.setattr(torchvision.datasets.SVHN, "_check_integrity", lambda self: True)
    for split, images, digits in (("train", data.train_images, data.train_labels),
                                  ("test", data.test_images, data.test_labels)):  # fmt: skip
        theirs = torchvision.datasets.SVHN(made, split)
        assert np.array_equal(images, theirs.data.transpose(0, 2, 3, 1))
        assert np.array_equal(digits, theirs.labels) and digits.max() < 10
    assert data.class_names == tuple("0123456789")


def test_cifar10_1_is_a_test_set_that_nobody_can_train_on(tmp_path, home, monkeypatch):
    made = tmp_path / "made"
    images, labels = some(6)
    np.save(made / "cifar10.1_v6_data.npy", images)
    np.save(made / "cifar10.1_v6_labels.npy", labels.astype(np.int32))
    serve(monkeypatch, "cifar10.1", home, made, "broken", "fine")
    said = []
    prepare("cifar10.1", tmp_path / "data", lambda text, style=None: said.append(text))
    assert "bytes came" in " ".join(said), "without a checksum its length tells"
    data = load_data("cifar10.1", tmp_path / "data")
    assert np.array_equal(data.test_images, images) and np.array_equal(data.test_labels, labels)
    assert data.train_images.shape == (0, 32, 32, 3) and data.class_names[9] == "truck"
    with pytest.raises(ConfigError, match=r"'cifar10.1' is a test set only: train on one of cifar"):
        check_trainable("cifar10.1")
    for name in ("auto", "cifar10", "svhn"):
        check_trainable(name)
    (tmp_path / "data" / "cifar10.1.npz").unlink()
    (tmp_path / "data" / "cifar10.1_v6_labels.npy").write_bytes(b"no array")
    with pytest.raises(ConfigError, match=r"the cifar10.1 there is damaged"):
        prepare("cifar10.1", tmp_path / "data", SILENT)


def test_a_download_is_converted_once(tmp_path, server):
    prepare("cifar10", tmp_path / "data", SILENT)
    data = load_data("cifar10", tmp_path / "data")
    assert np.array_equal(data.train_images, np.concatenate([some(3)[0]] * 5))
    assert data.test_labels.tolist() == [0, 1, 9] and data.class_names == tuple("abcdefghij")


@pytest.mark.parametrize(
    ("path", "message"), [("other", "has another checksum"), ("broken", "bytes came")]
)
def test_a_wrong_mirror_leads_to_the_next_address(tmp_path, server, path, message):
    server(path, "fine")
    said = []
    prepare("cifar10", tmp_path / "data", lambda text, style=None: said.append(text))
    assert message in " ".join(said)
    assert len(load_data("cifar10", tmp_path / "data").train_labels) == 15
    assert not list((tmp_path / "data").glob(".*")), "nothing half loaded is left"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",  # is cut short
        b"what is this?\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n",
    ],
)
def test_an_answer_that_is_no_http_is_a_failed_download(tmp_path, answer):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        said = []
        file = Remote("x", "0" * 32, (f"http://127.0.0.1:{server.getsockname()[1]}/x",))
        with pytest.raises(Unreachable):
            download(file, tmp_path / "x", lambda text, **_: said.append(text))
        thread.join()
    assert "failed: " in said[-1] and not list(tmp_path.iterdir())


@pytest.mark.parametrize("is_made", [True, False])
def test_who_prepares_waits_for_another_process_that_does(tmp_path, monkeypatch, is_made):
    fetched = []
    monkeypatch.setattr(preparing, "fetch", lambda *_: fetched.append(1) or {"x": np.zeros(1)})
    waits = threading.Thread(target=prepare, args=("cifar10", tmp_path, SILENT))
    with hold(tmp_path):
        waits.start()
        waits.join(0.3)
        assert fetched == []
        if is_made:
            np.savez(tmp_path / "cifar10.npz", x=np.zeros(1))
    waits.join()
    assert len(fetched) == (not is_made)


def test_auto_falls_back_loudly_where_nothing_answers(tmp_path, monkeypatch):
    [file] = DATASETS["cifar10"].files
    nowhere = replace(file, addresses=("http://127.0.0.1:9/nothing",))
    monkeypatch.setitem(DATASETS, "cifar10", replace(DATASETS["cifar10"], files=(nowhere,)))
    with pytest.raises(Unreachable, match="cannot be downloaded"):
        prepare("cifar10", tmp_path, SILENT)
    said = []
    name = prepare_any("auto", tmp_path, lambda text, style=None: said.append(text))
    assert name == "cifar10_mini"
    assert [text for text in said if "CIFAR-10 mini: 2,500 training" in text]
    assert len(load_data("cifar10_mini", tmp_path).test_labels) == 2000


def test_a_deadline_ends_a_slow_download_and_only_a_deadline(tmp_path, archive, home):
    endless, address = (f"{home}/{kind}/{archive[0].name}" for kind in ("endless", "slow"))
    with pytest.raises(TimeoutError, match="too slow"):
        read(endless, io.BytesIO(), deadline=time.monotonic() + 60, first=0)
    with pytest.raises(OSError):
        read(address, io.BytesIO(), deadline=time.monotonic() + 0.2)
    with pytest.raises(TimeoutError, match="no time is left"):
        read(address, io.BytesIO(), deadline=time.monotonic() - 1)
    read(address, (file := io.BytesIO()), deadline=None, first=0.1)
    assert file.getvalue()


def test_a_folder_of_torchvision_is_used_and_a_damaged_archive_is_refused(
    tmp_path, server, archive
):
    folder = tmp_path / "data"
    folder.mkdir()
    with tarfile.open(archive[0]) as tar:
        tar.extractall(folder, filter="data")
    prepare("cifar10", folder, SILENT)
    assert len(load_data("cifar10", folder).train_labels) == 15
    other = tmp_path / "other"
    other.mkdir()
    (other / torchvision.datasets.CIFAR10.filename).write_bytes(b"half of it")
    with pytest.raises(ConfigError, match="does not have the published checksum"):
        prepare_any("auto", other, SILENT)
