"""Keeps runs that share a GPU apart: a stream a thread, one capture at a time, the same flags.

PyTorch's notes: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

import gc
import os
import threading
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from experiments.train.checkpoint import GENERATORS
from experiments.train.devices import STREAMS

AT_ONCE = 8  # streams that CUDA serves at a time, unless it is told before it begins
OWN = threading.local()  # .streams: device -> the stream of this thread


def own_stream(device: torch.device) -> torch.cuda.Stream | None:
    """Returns the stream of this thread on a GPU, the same for the thread's life; None on a CPU.

    A new one for each run would soon be a stream on which another thread works, or captures.
    """
    if device.type != "cuda":
        return None
    streams = vars(OWN).setdefault("streams", {})
    if device not in streams:
        streams[device] = torch.cuda.Stream(device)
    return streams[device]


def on_own_stream(device: torch.device) -> AbstractContextManager:
    """Returns a context in which this thread works beside others on a GPU: on its stream."""
    stream = own_stream(device)
    return torch.cuda.stream(stream) if stream else nullcontext()


def allow_streams(count: int) -> None:
    """Lets CUDA serve so many streams at a time, where the user has not said how many.

    To be called before CUDA is begun, which reads it once.
    """
    if count > AT_ONCE:
        os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", str(min(count, STREAMS)))


@contextmanager
def capturing() -> Iterator[None]:
    """Blocks, in all threads, what would break the capture of a CUDA graph.

    That is another capture, a seed of the generators, the end of a graph (`dropping`), and the
    garbage collector, which ends graphs, too.

    Nobody may wait for the whole device meanwhile: outside of here a thread waits for its stream.
    """
    with GENERATORS, torch.autograd.set_multithreading_enabled(False):
        collects = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if collects:
                gc.enable()


@contextmanager
def dropping(error: BaseException | None = None) -> Iterator[None]:
    """Blocks captures while CUDA graphs are freed.

    The variables that the error which ended their run keeps alive are given up, too.
    """
    with GENERATORS:
        while error is not None:
            traceback.clear_frames(error.__traceback__)
            error = error.__context__
        yield


def out_of_memory(error: BaseException | None) -> torch.OutOfMemoryError | None:
    """Returns the OutOfMemoryError behind an error, or None.

    A capture that fails raises another error when it is ended.
    """
    while error is not None and not isinstance(error, torch.OutOfMemoryError):
        error = error.__context__
    return error


def set_flags() -> None:
    """Makes float32 mean float32 on a GPU, and has cuDNN choose algorithms that repeat their bits.

    As torch comes, its convolutions round to TF32, and its choices may add up in any order.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False


def flags() -> dict[str, bool]:
    """Returns whether anything is rounded to TF32, and whether cuDNN is to repeat its bits."""
    cudnn = torch.backends.cudnn
    return {
        "tf32": bool(torch.backends.cuda.matmul.allow_tf32 or cudnn.allow_tf32),
        "deterministic": bool(cudnn.deterministic and not cudnn.benchmark),
    }
