"""Weights small enough to be committed: float16, packed, with a checksum, and how to load them."""

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from senet.config import SEConfig, choose
from senet.networks import build

PUBLISHED = Path(__file__).resolve().parents[1] / "results" / "published" / "weights"
INDEX = "index.json"
COUNTER = "num_batches_tracked"  # of batch norm: nothing that is computed in eval mode needs it


def pack(state: dict[str, torch.Tensor]) -> bytes:
    """A `state_dict` in float16 as a compressed .npz, without the counters of batch norm.

    All low bytes of the numbers lie before all high ones (sign, exponent), which compress well.

    Raises ValueError where a weight is beyond float16.
    """
    kept = {name: tensor for name, tensor in state.items() if not name.endswith(COUNTER)}
    numbers = torch.cat([tensor.detach().cpu().flatten() for tensor in kept.values()]).half()
    if not numbers.isfinite().all():
        raise ValueError("a weight is not finite in float16")
    planes = numbers.numpy().astype("<f2").view(np.uint8).reshape(-1, 2).T  # (N,) -> (2, N)
    arrays = {"names": np.array(list(kept)), "planes": np.ascontiguousarray(planes)}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as archive:  # numpy itself writes deflate
        for name, array in arrays.items():
            content = io.BytesIO()
            np.save(content, array)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue(), zipfile.ZIP_LZMA)
    return file.getvalue()


def unpack(content: bytes, model: nn.Module) -> nn.Module:
    """Puts what `pack` made of a network's `state_dict` into a network of the same kind.

    Raises ValueError where it is of another kind.
    """
    state = {n: t for n, t in model.state_dict().items() if not n.endswith(COUNTER)}
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        names, planes = list(file["names"]), np.ascontiguousarray(file["planes"].T)
    numbers = torch.from_numpy(planes.view("<f2").astype(np.float32).ravel())
    sizes = [tensor.numel() for tensor in state.values()]
    if names != list(state) or len(numbers) != sum(sizes):
        raise ValueError("these weights are of another network")
    for tensor, values in zip(state.values(), numbers.split(sizes), strict=True):
        tensor.copy_(values.view_as(tensor))  # state_dict's tensors are the network's own
    return model


def published(name: str, folder: str | Path = PUBLISHED) -> nn.Module:
    """A network that was trained for the study, in eval mode.

    Its weights are float16 rounded, held in float32. It takes images (B, 3, 32, 32) on a scale from
    0 to 1, minus the `mean` and over the `std` by channel that stand in the folder's index.json.

    Args:
        name: a row of the study's tables, such as "r = 16", or a network's folder, `<label>-<id>`,
            where several have a row of this name.
        folder: that holds the weights and index.json.

    Raises:
        ValueError: no network, or more than one, is called so, or the file is not what was
            exported.
    """
    folder = Path(folder)
    try:
        index: dict[str, dict[str, Any]] = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"no weights are published in {folder}") from None
    cells = [cell for cell, entry in index.items() if name in (cell, *entry["rows"])]
    if len(cells) > 1:
        raise ValueError(f"{name!r} is a row of several networks: name one of {', '.join(cells)}")
    rows = {row: None for entry in index.values() for row in entry["rows"]}
    entry = index[cells[0]] if cells else choose("network", name, rows | dict.fromkeys(index))
    path = folder / entry["file"]
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise ValueError(f"{path} is not what was exported: its checksum is another")
    options = dict(entry["build"])
    se = options.pop("se")
    model = build(**options, se=None if se is None else SEConfig(**se))
    return unpack(content, model).eval()
