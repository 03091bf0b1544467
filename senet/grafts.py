"""Puts SE into a network that was built elsewhere, without subclassing it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from senet.block import new_block
from senet.config import SEConfig
from senet.hooks import Hooks, evaluating

Where = type[nn.Module] | Callable[[str, nn.Module], bool]


def graft(model: nn.Module, after: Where, se: SEConfig, example: Tensor) -> nn.Module:
    """Puts an SE block after each chosen module of a network, in place, and returns it.

    A dry forward pass of `example` finds the widths. The trunk keeps its weights and their names;
    a block is the child `se` of the module whose output it scales, so that `state_dict`, copies
    and pickles hold it.

    Args:
        after: a class of modules, or a function of (name, module) that picks them.
        se: the block; its position and stages must be left alone, as `after` says where blocks go.
        example: an input (B, 3, H, W) on the model's device.

    Raises:
        ValueError: nothing is picked, or a picked module cannot be served; it is named.
    """
    for setting in ("position", "stages"):
        if getattr(se, setting) != getattr(SEConfig, setting):
            raise ValueError(
                f"{setting} {getattr(se, setting)!r} means nothing in a graft: "
                "`after` says where its blocks are"
            )
    is_picked = (lambda name, m: isinstance(m, after)) if isinstance(after, type) else after
    picked = {name: m for name, m in model.named_modules() if name and is_picked(name, m)}
    if not picked:
        raise ValueError(f"no module of {type(model).__name__} is picked by {after!r}")
    blocks = {
        name: _block_after(name, picked[name], outputs, se)
        for name, outputs in _outputs(model, picked, example).items()
    }
    for name, module in picked.items():
        module.add_module("se", blocks[name].to(example.device))
        if not isinstance(module, nn.Sequential):  # which calls its last child by itself
            module.register_forward_hook(scale_output)
    return model


def scale_output(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
    """Scales what a grafted module returns: the hook that it keeps."""
    return module.get_submodule("se")(output)  # by this name it is pickled


def _outputs(
    model: nn.Module, modules: dict[str, nn.Module], example: Tensor
) -> dict[str, list[Any]]:
    """Lists what each of these modules returns in one forward pass, which changes no module."""
    found: dict[str, list[Any]] = {name: [] for name in modules}
    names = {module: name for name, module in modules.items()}

    def keep(module: nn.Module, _: tuple, output: Any) -> None:
        found[names[module]].append(output)

    with Hooks(*((module, keep) for module in modules.values())), evaluating(model):
        model(example)
    return found


def _block_after(name: str, module: nn.Module, outputs: list[Any], se: SEConfig) -> nn.Module:
    """Makes the block after a module. Raises ValueError where there can be none."""
    if hasattr(module, "se"):
        raise ValueError(f"{name} has a child called se already: was it grafted before?")
    if len(outputs) != 1:
        times = "is not used" if not outputs else f"is used {len(outputs)} times"
        raise ValueError(f"{name} {times} in a forward pass: one block cannot serve it")
    [output] = outputs
    if not isinstance(output, Tensor) or output.dim() != 4:
        kind = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output)
        raise ValueError(f"{name} returns {kind}, not images (B, C, H, W): SE cannot scale it")
    return new_block(output.shape[1], se, name)


def _kinds(*names: str) -> Callable[[str, nn.Module], bool]:
    """Picks the modules of classes with these names."""
    return lambda name, module: type(module).__name__ in names


# Name -> the size of its images, and after which modules SE goes.
GRAFTS: dict[str, tuple[int, Callable[[str, nn.Module], bool]]] = {
    # after each convolution's non-linearity
    "vgg16_bn": (224, lambda n, m: n.startswith("features") and isinstance(m, nn.ReLU)),
    # after each module
    "googlenet": (224, _kinds("Inception")),
    "inception_v3": (299, _kinds(*(f"Inception{kind}" for kind in "ABCDE"))),
    # after each dense layer
    "densenet121": (224, _kinds("_DenseLayer")),
    # at the end of the branch, before the sum or the concatenation
    "mobilenet_v2": (224, lambda n, m: n.endswith(".conv") and len(n.split(".")) == 3),
    "shufflenet_v2_x1_0": (224, lambda n, m: n.endswith(".branch2")),
}


def build_grafted(name: str, se: SEConfig | None, classes: int) -> nn.Module:
    """Builds a network of torchvision with random weights, with or without SE."""
    import torchvision  # takes seconds, and only these networks need it

    size, after = GRAFTS[name]
    has_more = name in ("googlenet", "inception_v3")
    options = {"aux_logits": False, "init_weights": True} if has_more else {}
    model = getattr(torchvision.models, name)(num_classes=classes, **options)
    model.size = size
    if se is None:
        return model
    device = next(model.parameters()).device
    return graft(model, after, se, torch.zeros(1, 3, size, size, device=device))
