"""Keeps a run's state between two steps in one file that is whole or refused."""

import hashlib
import io
import random
import struct
import threading
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.records.files import write_atomically
from experiments.records.parsing import ConfigError

GENERATORS = threading.RLock()  # held where the process's generators are seeded and drawn from
DIGEST = hashlib.sha256().digest_size * 2  # characters


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes tensors, numbers, text, lists and dicts, atomically and with their checksum.

    The checksum is the comment of the zip archive that `torch.save` makes: `torch.load` opens the
    file as any other.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    archive = buffer.getbuffer()[:-2]  # the last field is the length of the comment, 0
    digest = hashlib.sha256(archive).hexdigest().encode()

    def write(file) -> None:
        file.write(archive)
        file.write(struct.pack("<H", len(digest)) + digest)

    write_atomically(path, write)


def load(path: Path, device: str) -> dict[str, Any]:
    """Reads the state that `save` has written.

    Raises FileNotFoundError where there is no file, and ConfigError, which names it, where it is
    not what was written.
    """
    data = path.read_bytes()
    archive, digest = data[: -DIGEST - 2], data[-DIGEST:]
    if hashlib.sha256(archive).hexdigest().encode() != digest:
        raise ConfigError(f"{path} is damaged: its checksum does not fit")
    try:
        return torch.load(io.BytesIO(data), map_location=device, weights_only=True)
    except Exception as error:  # of another version, or by somebody else
        raise ConfigError(f"{path} is not what a run writes: {type(error).__name__}") from None


def seed_all(seed: int) -> None:
    """Seeds every generator that a network, or somebody's own block, may draw from."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def random_states(device: str) -> dict[str, Any]:
    """Returns the states of the generators that `seed_all` seeds."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": [name, np.asarray(keys).tolist(), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if "cuda" in device else None,
        "mps": torch.mps.get_rng_state() if device == "mps" else None,
    }


def try_random_states(states: dict[str, Any]) -> None:
    """Raises whatever `set_random_states` would, and changes nothing."""
    random.Random().setstate(states["python"])
    np.random.RandomState().set_state(tuple(states["numpy"]))
    torch.Generator().set_state(states["torch"].cpu())


def set_random_states(states: dict[str, Any], device: str) -> None:
    """Sets the generators to the states that `random_states` returned."""
    random.setstate(states["python"])
    np.random.set_state(tuple(states["numpy"]))
    torch.set_rng_state(states["torch"].cpu())
    if states["cuda"] is not None:
        torch.cuda.set_rng_state(states["cuda"].cpu(), device)
    if states.get("mps") is not None:  # older versions did not keep it
        torch.mps.set_rng_state(states["mps"].cpu())
