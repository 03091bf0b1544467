"""SE into a network that was built elsewhere, without subclassing it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from senet.block import new_block
from senet.config import SEConfig

Where = type[nn.Module] | Callable[[str, nn.Module], bool]


def graft(model: nn.Module, after: Where, se: SEConfig, example: Tensor) -> nn.Module:
    """Puts an SE block after each chosen module of a network, in place, and returns it.

    A dry forward pass of `example` finds the widths. The trunk keeps its weights and their names;
    a block is the child `se` of the module whose output it scales, so that `state_dict`, copies
    and pickles hold it.

    Args:
        model: any network.
        after: a class of modules, or a function of (name, module) that picks them.
        se: the block; its position and stages are the graft's own business and must be left alone.
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
        name: block_after(name, module, outputs, se)
        for (name, module), outputs in zip(
            picked.items(), outputs_of(model, picked.values(), example), strict=True
        )
    }
    for name, module in picked.items():
        module.add_module("se", blocks[name].to(example.device))
        if not isinstance(module, nn.Sequential):  # which calls its last child by itself
            module.register_forward_hook(scale_output)
    return model


def scale_output(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
    """The hook that a grafted module bears."""
    return module.se(output)


def outputs_of(model: nn.Module, modules, example: Tensor) -> list[list]:
    """What each of these modules returns in one forward pass; nothing of the model changes."""
    found: dict[nn.Module, list] = {module: [] for module in modules}
    handles = [
        module.register_forward_hook(lambda module, _, output: found[module].append(output))
        for module in found
    ]
    modes = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad():
            model.eval()(example)
    finally:
        for module, mode in modes.items():  # some may be frozen on their own
            module.training = mode
        for handle in handles:
            handle.remove()
    return list(found.values())


def block_after(name: str, module: nn.Module, outputs: list, se: SEConfig) -> nn.Module:
    """The block after a module, or why there can be none."""
    if hasattr(module, "se"):
        raise ValueError(f"{name} has a child called se already: was it grafted before?")
    if len(outputs) != 1:
        times = "is not used" if not outputs else f"is used {len(outputs)} times"
        raise ValueError(f"{name} {times} in a forward pass: one block cannot serve it")
    [output] = outputs
    if not isinstance(output, Tensor) or output.dim() != 4:
        kind = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output)
        raise ValueError(f"{name} returns {kind}, not images (B, C, H, W): SE cannot scale it")
    try:
        return new_block(output.shape[1], se, name)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


@dataclass(frozen=True)
class Graft:
    """A network of torchvision: the size of its images, and after which modules SE goes."""

    size: int
    after: Callable[[str, nn.Module], bool]


def kinds(*names: str) -> Callable[[str, nn.Module], bool]:
    return lambda name, module: type(module).__name__ in names


GRAFTS: dict[str, Graft] = {
    # after each convolution's non-linearity
    "vgg16_bn": Graft(224, lambda n, m: n.startswith("features") and isinstance(m, nn.ReLU)),
    # after each module
    "googlenet": Graft(224, kinds("Inception")),
    "inception_v3": Graft(299, kinds(*(f"Inception{kind}" for kind in "ABCDE"))),
    # after each dense layer
    "densenet121": Graft(224, kinds("_DenseLayer")),
    # at the end of the branch, before the sum or the concatenation
    "mobilenet_v2": Graft(224, lambda n, m: n.endswith(".conv") and len(n.split(".")) == 3),
    "shufflenet_v2_x1_0": Graft(224, lambda n, m: n.endswith(".branch2")),
}


def build_grafted(name: str, se: SEConfig | None, classes: int) -> nn.Module:
    """A network of torchvision with random weights, with or without SE."""
    import torchvision  # takes seconds, and only these networks need it

    kind = GRAFTS[name]
    auxiliary = {"aux_logits": False} if name in ("googlenet", "inception_v3") else {}
    options = {"init_weights": True} if auxiliary else {}
    model = getattr(torchvision.models, name)(num_classes=classes, **auxiliary, **options)
    model.size = kind.size
    if se is None:
        return model
    device = next(model.parameters()).device
    return graft(model, kind.after, se, torch.zeros(1, 3, kind.size, kind.size, device=device))
