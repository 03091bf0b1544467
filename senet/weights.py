"""Reads and writes published weights: a folder a network, `model.safetensors` and `README.md`.

Such a folder can be pushed to a model hub as it is, and any program that reads safetensors reads
its weights, which are float16. The header's one entry, ABOUT, is JSON: `build` (the
arguments of `senet.build`), `rows` (of the study's tables that this network is), `config` (of the
run that trained it), `test_error` (%, of the float32 weights) on `test_images` images, `data` (the
fingerprint of the images), `mean` and `std` (of the pixels by channel, on a scale from 0 to 1),
`class_names` and `sha256` (of the weights).
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from senet.config import SEConfig, find_row
from senet.networks import build

PUBLISHED = Path(__file__).resolve().parents[1] / "results" / "published" / "weights"
FILE, CARD, ABOUT = "model.safetensors", "README.md", "about"
COUNTER = "num_batches_tracked"  # of batch norm: nothing that is computed in eval mode needs it


def pack_weights(state: dict[str, Tensor], about: dict[str, Any]) -> bytes:
    """Writes a `state_dict` as a safetensors file in float16, without the counters of batch norm.

    Raises ValueError where a weight is beyond float16.
    """
    kept = {
        name: tensor.detach().cpu().half().contiguous()
        for name, tensor in state.items()
        if not name.endswith(COUNTER)
    }
    if not all(tensor.isfinite().all() for tensor in kept.values()):
        raise ValueError("a weight is not finite in float16")
    # One entry, since safetensors writes several in an order that is new each time.
    return save(kept, {ABOUT: json.dumps(about | {"sha256": _digest(kept)})})


def read_about(path: Path) -> dict[str, Any]:
    """Reads the header of a file of `pack`. Raises ValueError where it is no such file."""
    try:
        with safe_open(path, "pt") as file:
            return json.loads(file.metadata()[ABOUT])
    except (SafetensorError, TypeError, KeyError, ValueError):
        raise ValueError(f"{path} is not what was exported: its header cannot be read") from None


def load(path: Path, model: nn.Module) -> nn.Module:
    """Puts the weights of a file of `pack` into a network of the same kind, and returns it.

    Raises ValueError where the file was changed, or is of another kind of network.
    """
    about = read_about(path)
    state = load_file(path)
    if _digest(state) != about["sha256"]:
        raise ValueError(f"{path} is not what was exported: its checksum is another")
    try:
        model.load_state_dict(state)
    except RuntimeError:
        raise ValueError(f"{path}: these weights are of another network") from None
    return model


def from_pretrained(folder: str | Path) -> nn.Module:
    """Loads the network of a folder that holds a `model.safetensors`, in eval mode.

    Its weights are float16 rounded, held in float32. It takes images (B, 3, 32, 32) on a scale from
    0 to 1, minus the `mean` and over the `std` by channel that stand in the file's header
    (`read_about`), and its outputs are the classes `class_names`.

    Raises:
        ValueError: there is no such file, or it is not what was exported.
    """
    path = Path(folder) / FILE
    if not path.exists():
        raise ValueError(f"{folder} has no {FILE}")
    options = dict(read_about(path)["build"])
    se = options.pop("se")
    return load(path, build(**options, se=None if se is None else SEConfig(**se))).eval()


def published(name: str, folder: str | Path = PUBLISHED) -> nn.Module:
    """Loads a network that was trained for the study, as `from_pretrained` does.

    Args:
        name: a row of the study's tables, such as "r = 16", or a network's folder, `<label>-<id>`,
            where several have a row of this name.
        folder: that holds these folders; that of the checkout unless it is given.

    Raises:
        ValueError: no network, or more than one, is called so, or the file is not what was
            exported.
    """
    files = sorted(Path(folder).glob(f"*/{FILE}"))
    if not files:
        raise ValueError(
            f"no weights are published in {folder}: give the results/published/weights of a "
            "checkout as `folder`"
        )
    networks = {path.parent.name: read_about(path) for path in files}
    found = [cell for cell, about in networks.items() if name in (cell, *about["rows"])]
    if len(found) > 1:
        raise ValueError(f"{name!r} is a row of several networks: name one of {', '.join(found)}")
    if not found:
        rows = {row: None for about in networks.values() for row in about["rows"]}
        find_row("network", name, rows | networks)
    return from_pretrained(Path(folder) / found[0])


def _digest(state: dict[str, Tensor]) -> str:
    """Returns a checksum of a state: of the names, shapes and bytes of its tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
