"""Looks into a network while it runs: what its modules return, and eval mode for a while."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import nn

Hook = Callable[[nn.Module, tuple, Any], Any]  # (module, inputs, output) -> a new output, or None


class Hooks:
    """Calls functions with what modules return, from `with` to its end, also after an error.

    Takes (module, function) pairs. What a function returns takes the output's place, unless it is
    None.
    """

    def __init__(self, *hooks: tuple[nn.Module, Hook]) -> None:
        self._hooks = hooks
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> Self:
        self._handles = [module.register_forward_hook(hook) for module, hook in self._hooks]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Puts a model in eval mode, without gradients; then each module has its own mode again."""
    modes = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad():
            model.eval()
            yield
    finally:
        for module, mode in modes.items():  # some may be frozen on their own
            module.training = mode
