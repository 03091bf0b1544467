"""Loads and checks a user's file that adds rows to SQUEEZES, EXCITATIONS, GATES or BLOCKS."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from senet import block
from senet.config import SEConfig, digest_of
from senet.cost import count

PIXELS = 6, 5  # height, width: no two sizes of the maps that are tried are alike
TABLES = {
    "squeeze": block.SQUEEZES,
    "excitation": block.EXCITATIONS,
    "gate": block.GATES,
    "block": block.BLOCKS,
}


def load_own(path: Path) -> None:
    """Runs the file, once a process for each content.

    Raises ValueError, in one sentence, where it is not there or does not run.
    """
    try:
        name, source = f"own_{digest_of(path)}", path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    if name in sys.modules:
        return
    sys.modules[name] = module = ModuleType(name)
    try:
        exec(compile(source, str(path), "exec"), vars(module))  # leaves no bytecode beside it
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} does not run: {type(error).__name__}: {reason}") from None


def check_own(path: Path, channels: int = 64) -> Iterator[dict[str, object]]:
    """Tries each row that a file adds in a block: its shapes, its gradients, its parameters.

    Yields one dict a row: setting, row, parameters, and what is wrong, or "".
    """
    before = {setting: dict(table) for setting, table in TABLES.items()}
    load_own(path)
    for setting, table in TABLES.items():
        for name in table:
            if before[setting].get(name) is not table[name]:
                yield {"setting": setting, "row": name} | _try_row(setting, name, channels)


def _try_row(setting: str, name: str, channels: int) -> dict[str, object]:
    """Says how many parameters a row has and what is wrong with it, or ""."""
    torch.manual_seed(0)
    made, reason = None, ""
    try:
        made = block.new_block(channels, replace(SEConfig(), **{setting: name}), "SE")
        reason = _fault(made, channels)
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return {"parameters": count(made) if made else 0, "wrong": reason}


def _fault(made: nn.Module, channels: int) -> str:
    """Says what is wrong with a block's shapes, numbers or gradients, or ""."""
    x = torch.randn(4, channels, *PIXELS, requires_grad=True)
    y = made(x)
    if y.shape != x.shape:
        return f"{tuple(x.shape)} becomes {tuple(y.shape)}"
    y.square().mean().backward()
    if x.grad is None or not (y.isfinite().all() and x.grad.isfinite().all()):
        return "outputs or gradients are not finite"
    for key, parameter in made.named_parameters():
        if parameter.grad is None or not parameter.grad.isfinite().all():
            return f"{key} has no finite gradient"
    return ""
