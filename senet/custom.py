"""A choice of one's own: a Python file that adds rows to SQUEEZES, EXCITATIONS, GATES or BLOCKS."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import torch

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
                yield {"setting": setting, "row": name} | try_row(setting, name, channels)


def try_row(setting: str, name: str, channels: int) -> dict[str, object]:
    torch.manual_seed(0)
    parameters = 0
    try:
        made = block.new_block(channels, SEConfig(**{setting: name}), "SE")
        parameters = count(made)
        x = torch.randn(4, channels, *PIXELS, requires_grad=True)
        y = made(x)
        if y.shape != x.shape:
            return wrong(parameters, f"{tuple(x.shape)} becomes {tuple(y.shape)}")
        y.square().mean().backward()
        if not (y.isfinite().all() and x.grad.isfinite().all()):
            return wrong(parameters, "outputs or gradients are not finite")
        for key, parameter in made.named_parameters():
            if parameter.grad is None or not parameter.grad.isfinite().all():
                return wrong(parameters, f"{key} has no finite gradient")
    except Exception as error:
        return wrong(parameters, f"{type(error).__name__}: {' '.join(str(error).split())}")
    return wrong(parameters, "")


def wrong(parameters: int, reason: str) -> dict[str, object]:
    return {"parameters": parameters, "wrong": reason}
