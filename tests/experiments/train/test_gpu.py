"""What would break a captured step on a GPU, each on a GPU that is not there: fake_cuda.py."""

import gc
import os
import re
import threading
import weakref
from contextlib import contextmanager
from pathlib import Path

import fake_cuda
import pytest
import torch
from conftest import ROOT, tiny
from fake_cuda import DEVICE, FakeTensorMode
from test_epoch import config, pictures
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from experiments.data import images as data
from experiments.launch import shared_process, worker
from experiments.launch.failures import OUT_OF_MEMORY
from experiments.launch.worker import Task, _attempt
from experiments.records.files import read_sealed
from experiments.records.record import Record
from experiments.train import epoch as loop
from experiments.train import gpu, train
from experiments.train.checkpoint import GENERATORS
from experiments.train.devices import STREAMS
from experiments.train.epoch import Captured
from experiments.train.optimization import arithmetic, build_network


class Told:
    """As much of a lock as a run tells of itself."""

    def tell(self, **facts) -> None:
        pass


def attempted(folder: Path, is_shared: bool = True):
    """How a thread of a shared process ends a run on the GPU; what it trains is patched."""
    task = Task(Record(folder, tiny()), folder, str(DEVICE), 60.0, is_shared)
    task.record.path.mkdir(parents=True, exist_ok=True)
    return _attempt(task, Told(), lambda message: None, lambda: False)


def captured(monkeypatch, **recipe) -> Captured:
    """A loop on the GPU, within a FakeTensorMode."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10, device=DEVICE))
    fake_cuda.without_backward(monkeypatch, model)
    rest = config(**recipe).recipe, 6, torch.autocast("cpu", enabled=False)
    return Captured(model, fake_cuda.faked(pictures("cpu")), *rest)


# -- streams ----------------------------------------------------------------------------------


def test_no_two_threads_have_one_stream_however_many_cells_they_train(tmp_path, monkeypatch):
    """Eight threads, forty cells; torch has 32 streams."""
    fake_cuda.put_in(monkeypatch)
    used: set[tuple[int, int]] = set()
    ready = threading.Barrier(8)

    def trained(*_) -> None:
        with FakeTensorMode():
            stream = captured(monkeypatch).stream
        used.add((threading.get_ident(), stream.number))

    def crew_thread(number: int) -> None:
        for cell in range(5):
            ready.wait()
            assert attempted(tmp_path / f"{number}-{cell}").state == "done"

    monkeypatch.setattr(train, "train", trained)
    threads = [threading.Thread(target=crew_thread, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({thread for thread, _ in used}) == len({stream for _, stream in used}) == 8
    assert len(used) == 8


def test_more_threads_than_there_are_streams_need_another_process(monkeypatch):
    sizes = []
    monkeypatch.setattr(
        shared_process, "start_process", lambda threads, pipes: sizes.append(len(pipes))
    )
    shared_process.SharedProcesses({"cuda:0": 40}).take("cuda:0", tiny())
    assert sizes == [STREAMS] == [fake_cuda.POOL]


@pytest.mark.parametrize(
    ("threads", "own", "expected"), [(8, None, None), (9, None, "9"), (40, None, "32"),
                                     (40, "12", "12")],
)  # fmt: skip
def test_more_than_eight_streams_are_allowed_before_cuda_begins(
    monkeypatch, threads, own, expected
):
    name, seen = "CUDA_DEVICE_MAX_CONNECTIONS", []
    monkeypatch.delenv(name, raising=False)
    if own:
        monkeypatch.setenv(name, own)
    monkeypatch.setattr(worker, "start_work", threading.Event)
    monkeypatch.setattr(worker.os, "dup2", lambda *_: None)
    monkeypatch.setattr(
        worker,
        "_take_tasks",
        lambda *_: seen.append((os.environ.get(name), torch.cuda.is_initialized())),
    )
    try:
        worker.train_in_threads([None] * threads)
    finally:
        os.environ.pop(name, None)
    assert seen == [(expected, False)] * threads


# -- what must not happen while another thread captures ---------------------------------------


def test_a_second_data_set_waits_for_its_stream_and_not_for_the_device(monkeypatch):
    fake_cuda.put_in(monkeypatch)
    waited = []
    monkeypatch.setattr(fake_cuda.Stream, "synchronize", lambda self: waited.append(self))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *_: pytest.fail("waits for the device"))
    monkeypatch.setattr(data, "split", lambda *_: ("images",))
    monkeypatch.setattr(data, "SHARED", {})
    arrays = type("Arrays", (), {"name": "cifar10", "fingerprint": "1"})
    assert data.shared(arrays, tiny().recipe, DEVICE) == ("images",) and len(waited) == 1


def test_nothing_else_waits_for_the_whole_device():
    paths = [*ROOT.glob("experiments/**/*.py"), *ROOT.glob("senet/**/*.py")]
    assert len(paths) > 70
    waits = re.compile(r"(cuda|accelerator)\.(synchronize|empty_cache)|from torch\.cuda import")
    found = {str(path.relative_to(ROOT)) for path in paths if waits.search(path.read_text())}
    assert found <= {"experiments/train/trial.py"}  # in which nothing is captured meanwhile


class Cycle:
    """What only the garbage collector can end."""

    def __init__(self) -> None:
        self.itself = self


def test_the_garbage_collector_ends_no_graph_during_a_capture(monkeypatch):
    ended, seen = [], []

    @contextmanager
    def recording(*args, **kwargs):
        cycle = Cycle()
        weakref.finalize(cycle, ended.append, "in a capture")
        del cycle
        kept = [[] for _ in range(100_000)]  # as many new objects as make it collect
        seen.append((GENERATORS._is_owned(), len(kept), list(ended)))
        yield

    fake_cuda.put_in(monkeypatch, recording)
    gc.collect()
    with FakeTensorMode():
        captured(monkeypatch).launch(16)
    assert seen == [(True, 100_000, [])] and gc.isenabled()
    gc.collect()
    assert ended == ["in a capture"]  # it was there to be ended


def test_a_graph_ends_only_while_nobody_captures(monkeypatch):
    """When a thread goes on to another cell, and when its run fails."""
    held = []
    fake_cuda.put_in(monkeypatch)
    monkeypatch.setattr(loop, "KEPT", threading.local())

    def watch(of: Captured) -> None:
        [graph] = of.graphs.values()
        weakref.finalize(graph, lambda: held.append(GENERATORS._is_owned()))

    def launched(lr: float) -> Captured:
        images = fake_cuda.faked(pictures("cpu"))
        model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10, device=DEVICE))
        fake_cuda.without_backward(monkeypatch, model)
        autocast = torch.autocast("cpu", enabled=False)
        ours = loop.new_loop("captured", config(lr=lr), model, images, 6, autocast)
        ours.launch(16)
        return ours

    with FakeTensorMode():
        watch(launched(0.1))
        watch(launched(0.2))
        assert held == [True]
        try:
            last = launched(0.2)
            raise RuntimeError("a run fails")
        except RuntimeError as error:
            del last
            loop.free_kept_loop(error)
    assert held == [True, True]


# -- out of memory in a capture ---------------------------------------------------------------


@contextmanager
def invalidated(*args, **kwargs):
    """As torch.cuda.graph: where what it captures fails, its end raises an error of its own."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise torch.AcceleratorError(
            "CUDA error: operation failed due to a previous error during capture"
        ) from None


def raise_no_room(self, size: int) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB.")


def test_no_room_in_a_capture_ends_one_run_and_not_its_process(tmp_path, monkeypatch):
    fake_cuda.put_in(monkeypatch, invalidated)
    monkeypatch.setattr(Captured, "warm_up", lambda *_: None)
    monkeypatch.setattr(Captured, "once", raise_no_room)
    monkeypatch.setattr(
        worker.os, "_exit", lambda status: pytest.fail("all runs of the process end")
    )
    left = []

    def trained(*_) -> None:
        with FakeTensorMode():
            ours = captured(monkeypatch)
            weakref.finalize(ours, left.append, "its memory is given back")
            ours.launch(16)

    monkeypatch.setattr(train, "train", trained)
    outcome = attempted(tmp_path)
    assert (outcome.state, outcome.kind) == ("failed", OUT_OF_MEMORY)
    assert "Tried to allocate" in outcome.reason and left and not GENERATORS._is_owned()


@pytest.mark.parametrize(
    ("message", "is_over"),
    [("CUDA error: an illegal memory access was encountered", True),
     ("CUDA error: out of memory", False)],  # where there is none for the graph itself
)  # fmt: skip
def test_only_an_error_that_breaks_the_gpu_ends_the_crew(tmp_path, monkeypatch, message, is_over):
    fake_cuda.put_in(monkeypatch)
    ended = []

    def trained(*_) -> None:
        raise torch.AcceleratorError(message)

    monkeypatch.setattr(worker.os, "_exit", ended.append)
    monkeypatch.setattr(train, "train", trained)
    outcome = attempted(tmp_path)
    assert bool(ended) is is_over and (is_over or outcome.kind == OUT_OF_MEMORY)


# -- flags ------------------------------------------------------------------------------------


def test_a_run_sets_its_flags_and_records_them(tmp_path, data_dir):
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = False, *[True] * 3
    assert gpu.flags() == {"tf32": True, "deterministic": False}
    record = Record(tmp_path, tiny(recipe={"epochs": 1}))
    train.train(record.config, record, data_dir)
    env = read_sealed(record.path / "env.json")
    assert (env["tf32"], env["deterministic"]) == (False, True)
    assert cudnn.deterministic and not (cudnn.benchmark or cudnn.allow_tf32 or matmul.allow_tf32)


# -- the step that is captured ----------------------------------------------------------------


class OnTheHost(TorchDispatchMode):
    """Raises where an operation has a tensor of the CPU, which a capture cannot wait for."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **kwargs or {})
        for leaf in tree_leaves((args, kwargs, found)):
            if isinstance(leaf, torch.Tensor) and leaf.device.type == "cpu":
                raise AssertionError(f"{function} has a tensor of the CPU")
        return found


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("cutout", [0, 8])
def test_the_captured_step_stays_on_the_gpu(monkeypatch, precision, cutout):
    fake_cuda.put_in(monkeypatch)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    recipe = config(cutout=cutout).recipe
    with FakeTensorMode():
        images = fake_cuda.faked(pictures("cpu"))
        with torch.device(DEVICE):
            model = build_network(config())
        fake_cuda.without_backward(monkeypatch, model)
        ours = Captured(model, images, recipe, 6, arithmetic("cuda", precision))
        with OnTheHost():
            ours.once(16)


READS = {
    "a number": lambda model, x: model(x) * x.mean().item(),
    "a condition": lambda model, x: model(x) if x.sum() > 0 else model(-x),
    "how many": lambda model, x: model(x) + len(x.nonzero()),
    "a copy to the host": lambda model, x: model(x.cpu().cuda()),
    "a tensor of Python's": lambda model, x: model(x) * torch.tensor([2.0], device=DEVICE),
}


@pytest.mark.parametrize("what", READS)
def test_a_step_that_looks_at_the_host_is_found(monkeypatch, what):
    fake_cuda.put_in(monkeypatch)
    with FakeTensorMode():
        ours = captured(monkeypatch)
        model = ours.model
        ours.forward = lambda x: READS[what](model, x)
        with pytest.raises(Exception, match=r"of the CPU|_local_scalar|nonzero"), OnTheHost():
            ours.once(16)
