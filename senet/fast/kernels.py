"""Compiles kernels.cpp for this processor by the C++ compiler that is at hand, and calls it."""

import ctypes
import fcntl
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import torch
from torch import Tensor, nn

SOURCE = Path(__file__).with_name("kernels.cpp")
SOURCES = (SOURCE, *(SOURCE.with_name(name) for name in ("gates.h", "vectors.h")))
FLAGS = ("-std=c++17", "-O3", "-shared", "-fPIC", "-w")
BUILDING = "building-"  # begins the name of a folder to compile in
PATIENCE = 120  # seconds of a compilation, which takes about five
LANES = 16  # channels are a multiple of it
# What is stored -> what is computed.
TYPES = {
    torch.bfloat16: torch.float32,
    torch.float32: torch.float32,
    torch.float64: torch.float64,
}
NUMBERS = {
    **dict.fromkeys(
        ("images", "pixels", "channels", "relu", "trains", "units", "function"), ctypes.c_long
    ),
    **dict.fromkeys(("eps", "momentum"), ctypes.c_double),
}
MAPS = ("x", "shortcut", "y", "grad", "other", "kept", "out")  # (N, C, H, W)
OF_CHANNELS = ("mean", "inverse", "running_mean", "running_var", "weight", "bias", "weight_grad",
               "bias_grad")  # fmt: skip
OF_IMAGES = ("means", "squares", "z", "extreme", "count", "peak", "gate", "sums", "products",
             "gate_grad", "z_grad", "peak_grad")  # fmt: skip
OF_BLOCK = ("w1", "b1", "w2", "b2", "w1_grad", "b1_grad", "w2_grad", "b2_grad",
            "hidden", "hidden_peak")  # fmt: skip


class Arguments(ctypes.Structure):
    """Has the fields of vectors.h, in its order: all but MAPS are numbers as computed."""

    _fields_ = (
        *NUMBERS.items(),
        *((name, ctypes.c_void_p) for name in (*MAPS, *OF_CHANNELS, *OF_IMAGES, *OF_BLOCK)),
    )


@functools.cache
def built() -> tuple[ctypes.CDLL | None, str]:
    """Returns the compiled passes, and their digest and compiler; or None, and why."""
    try:
        compiler = shlex.split(os.environ.get("CXX", "")) or ["c++"]
    except ValueError as error:
        return None, f"CXX cannot be read: {error}"
    if shutil.which(compiler[0]) is None:
        return None, f"there is no C++ compiler {compiler[0]} (CXX names another one)"
    try:
        version(compiler)
    except OSError as error:
        return None, f"CXX cannot be run: {compiler[0]}: {error.strerror}"
    except subprocess.SubprocessError:
        pass  # told below
    try:
        path = compiled(compiler)
        return ctypes.CDLL(str(path)), f"{path.stem.removeprefix('kernels-')}, {version(compiler)}"
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.decode(errors="replace").splitlines() if line]
        first = next((line for line in lines if "error" in line), f"exit status {error.returncode}")
        return None, f"{compiler[0]} failed: {first}"
    except subprocess.TimeoutExpired:
        return None, f"{compiler[0]} took more than {PATIENCE} seconds"
    except OSError as error:
        return None, f"nothing can be compiled in {cache_folder()}: {error}"


def library() -> ctypes.CDLL | None:
    """Returns the compiled passes, or None where there is no compiler, or where it fails."""
    return built()[0]


def compiled(compiler: list[str], march: str = "native") -> Path:
    """Returns the library's file, which is made once for each source, compiler and processor.

    `march` names the instructions that it may use, which decide the width of the vectors. Raises
    OSError where the cache cannot be written, and SubprocessError where compiling fails.
    """
    flags = [f"-march={march}", *FLAGS]
    words = [*compiler, *flags, version(compiler)]
    parts = [*(path.read_bytes() for path in SOURCES), "\0".join(words).encode(), processor()]
    name = f"kernels-{hashlib.sha256(b'|'.join(parts)).hexdigest()[:16]}.so"
    path = cache_folder() / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with _building(path.parent) as folder:  # whole, or not at all
            made = folder / name
            command = [*compiler, *flags, str(SOURCE), "-o", str(made)]
            subprocess.run(command, capture_output=True, check=True, timeout=PATIENCE)
            with made.open("rb") as file:
                os.fsync(file.fileno())  # a loss of power would leave its name, and no content
            made.replace(path)
    return path


@contextmanager
def _building(cache: Path) -> Iterator[Path]:
    """Gives a new folder to compile in, and holds its lock.

    Those of processes that were killed are deleted before: nobody holds their locks.
    """
    for old in cache.glob(f"{BUILDING}*"):
        with suppress(OSError), _locked(old, fcntl.LOCK_NB):  # else it is held
            shutil.rmtree(old)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=BUILDING, dir=cache))
        with ExitStack() as held:
            with suppress(OSError):  # of a disk without locks, where nothing is deleted
                held.enter_context(_locked(folder))
            if folder.exists():  # else it was deleted in the moment before it was locked
                held.callback(shutil.rmtree, folder, ignore_errors=True)
                yield folder
                return


@contextmanager
def _locked(folder: Path, how: int = 0) -> Iterator[None]:
    """Holds the lock of a folder. With LOCK_NB it raises OSError where another process does."""
    file = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | how)
        yield
    finally:
        os.close(file)


def version(compiler: list[str]) -> str:
    """Returns the first line of what a compiler says of itself."""
    command = [*compiler, "--version"]
    done = subprocess.run(command, capture_output=True, check=True, timeout=PATIENCE)
    return (done.stdout.decode(errors="replace").splitlines() or ["a compiler without a name"])[0]


def processor() -> bytes:
    """Returns what `-march=native` depends on."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return f"{platform.machine()} {platform.processor()}".encode()
    names = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({s for s in text.splitlines() if s.startswith(names)})).encode()


def cache_folder() -> Path:
    try:
        home = Path.home()
    except RuntimeError:  # no HOME, and a user without a name, as in some containers
        home = Path(tempfile.gettempdir()) / f"home-of-{os.getuid()}"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "senet"


def fits(x: Tensor, norm: nn.BatchNorm2d | None) -> bool:
    """Tells whether the passes take maps x and a norm; x needs more than one number a channel."""
    return (
        x.device.type == "cpu"
        and x.dtype in TYPES
        and x.dim() == 4
        and x.shape[1] % LANES == 0
        and x.numel() > x.shape[1]
        and (norm is None or norm.weight.dtype == TYPES[x.dtype])
        and library() is not None
    )


def call(name: str, *, x: Tensor, **others: Tensor | float | None) -> None:
    """Runs a function of kernels.cpp over maps x (N, C, H, W) in channels-last memory.

    `others` are its further arguments, by their names there.
    """
    n, c, h, w = x.shape
    tensors = {k: v.data_ptr() if isinstance(v, Tensor) else v for k, v in others.items()}
    arguments = Arguments(images=n, pixels=h * w, channels=c, x=x.data_ptr(), **tensors)
    function = getattr(library(), f"{name}_{str(x.dtype).removeprefix('torch.')}")
    function(ctypes.byref(arguments))
