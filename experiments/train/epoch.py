"""Makes the steps of an epoch: Python begins each operation, or launches each step as a CUDA graph.

Both classes are given the network and own its optimiser; `epoch` makes one step at a time.
"""

import threading
from collections.abc import Iterator
from itertools import islice
from typing import Any, cast

import torch
from torch import Tensor, nn

from experiments.data.images import Images
from experiments.records.config import Recipe, RunConfig
from experiments.records.schedules import learning_rate
from experiments.records.study_file import Arithmetic
from experiments.train.gpu import capturing, dropping, out_of_memory, own_stream
from experiments.train.optimization import (
    build_network,
    new_forward,
    new_optimizer,
    train_step,
)
from senet.block import OtherBlock
from senet.residual import Mixed

WARM_UP = 3  # steps before a capture, in which libraries make what they keep
KEPT = threading.local()  # .loop: the captured loop that a thread keeps; .cell: what it is for


class Eager:
    """Makes steps whose operations Python begins one after the other.

    The model lies in the device's memory. `steps` are those of the whole training; `step` is
    "plain" or "fused".
    """

    def __init__(
        self,
        model: nn.Module,
        images: Images,
        recipe: Recipe,
        steps: int,
        autocast: torch.autocast,
        step: str = "plain",
    ) -> None:
        self.model, self.images, self.recipe, self.steps = model, images, recipe, steps
        self.forward, self.autocast = new_forward(model, step), autocast
        self.optimizer = new_optimizer(model, recipe)

    def epoch(self, random: torch.Generator, step: int, skipped: int) -> Iterator[Tensor]:
        """Trains on all images, shuffled by `random`; yields each step's sums as in `train_step`.

        Of the training `step` steps are done, of this epoch `skipped`: none of them is made again.
        """
        batches = self.images.shuffled(self.recipe.batch_size, random, self.recipe.cutout)
        for number, (x, y) in enumerate(islice(batches, skipped, None), step):
            lr = learning_rate(number, self.steps, self.recipe)
            yield train_step(self.forward, self.optimizer, x, y, lr, self.autocast)

    def restore(self, optimizer: dict[str, Any]) -> None:
        """Goes on with the optimiser's `state_dict`; the model's is loaded in place."""
        self.optimizer.load_state_dict(optimizer)


class Captured:
    """Makes each step by one launch of a CUDA graph, which is captured before the first step.

    A graph cannot ask Python for anything, so all that changes from step to step lies on the
    device: which images are cut where (drawn for a whole epoch), the learning rates of the whole
    training, and two numbers that count. Weights are changed in place: `adopt` makes the graph
    that of another seed. On a CPU the same operations are made without a graph.

    Its network may draw no random numbers (`draws_nothing`). `stream` is that of the capture, this
    thread's unless given; no two threads may have one.
    """

    def __init__(
        self,
        model: nn.Module,
        images: Images,
        recipe: Recipe,
        steps: int,
        autocast: torch.autocast,
        stream: torch.cuda.Stream | None = None,
    ) -> None:
        self.model = self.forward = model
        self.images, self.recipe, self.autocast = images, recipe, autocast
        self.optimizer = new_optimizer(model, recipe, fused=True)
        for parameter in model.parameters():  # as at the first step of SGD, whose buffer it makes
            buffer = torch.zeros_like(parameter)
            self.optimizer.state[parameter]["momentum_buffer"] = buffer
        rates = [learning_rate(step, steps, recipe) for step in range(steps)]
        self.rates = torch.tensor(rates, device=images.device)
        self.draws = torch.zeros(6, len(images), dtype=torch.long, device=images.device)
        self.step, self.batch = torch.zeros(2, 1, dtype=torch.long, device=images.device)
        self.sums = torch.zeros(2, device=images.device)
        self.graphs: dict[int, torch.cuda.CUDAGraph] = {}  # by images in the batch
        self.stream = stream or own_stream(images.device)

    def epoch(self, random: torch.Generator, step: int, skipped: int) -> Iterator[Tensor]:
        """Trains as `Eager.epoch` does, but each step overwrites the sums of the last one."""
        self.draw(random)
        self.step.fill_(step)
        self.batch.fill_(skipped)
        size, count = self.recipe.batch_size, len(self.images)
        for start in range(skipped * size, count, size):
            self.launch(min(size, count - start))
            yield self.sums

    def draw(self, random: torch.Generator) -> None:
        """Draws which images of an epoch are cut where."""
        drawn = self.images.draw(random, self.recipe.cutout)
        self.draws[: len(drawn)].copy_(drawn)

    def launch(self, size: int) -> None:
        if self.images.device.type != "cuda":
            self.once(size)
            return
        if size not in self.graphs:
            self.graphs[size] = self.capture(size)
        self.graphs[size].replay()

    def once(self, size: int) -> None:
        """Makes the step on the next `size` images."""
        numbers = self.batch * self.recipe.batch_size + torch.arange(size, device=self.batch.device)
        x, y = self.images.batch(self.draws, numbers, self.recipe.cutout)
        lr = self.rates.index_select(0, self.step)
        sums = train_step(self.forward, self.optimizer, x, y, lr, self.autocast)
        self.sums.copy_(sums)
        self.step += 1
        self.batch += 1

    def capture(self, size: int) -> torch.cuda.CUDAGraph:
        """Records `once`. Other runs of the process may go on meanwhile, on their own streams.

        Raises torch.OutOfMemoryError where there is no room, after which others can go on.
        """
        graph, current = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self.images.device)
        stream = cast(torch.cuda.Stream, self.stream)  # as on every GPU
        pool = next(iter(self.graphs.values())).pool() if self.graphs else None
        with capturing():
            stream.wait_stream(current)
            with torch.cuda.stream(stream):
                self.warm_up(size)
            try:
                with self.recording(graph, pool):
                    self.once(size)
            except Exception as error:
                if (found := out_of_memory(error)) is None:
                    raise
                raise torch.OutOfMemoryError(str(found)) from None
            current.wait_stream(stream)
        return graph

    def recording(self, graph: torch.cuda.CUDAGraph, pool: Any) -> torch.cuda.graph:
        return torch.cuda.graph(graph, pool, self.stream, capture_error_mode="thread_local")

    def warm_up(self, size: int) -> None:
        """Makes the same step a few times, and puts back after each what it has changed."""
        changed = [*self.model.state_dict().values(), *self.momentum(), self.step, self.batch]
        before = [tensor.clone() for tensor in changed]
        for _ in range(WARM_UP):
            self.once(size)
            for tensor, old in zip(changed, before, strict=True):
                tensor.copy_(old)

    def momentum(self) -> list[Tensor]:
        return [state["momentum_buffer"] for state in self.optimizer.state.values()]

    def restore(self, optimizer: dict[str, Any]) -> None:
        """Copies the momentum of the optimiser's `state_dict` to where the graph reads it."""
        saved = [state["momentum_buffer"] for state in optimizer["state"].values()]
        for buffer, old in zip(self.momentum(), saved, strict=True):
            buffer.copy_(old)

    def adopt(self, model: nn.Module) -> None:
        """Begins anew with another network's weights and statistics."""
        self.model.load_state_dict(model.state_dict())
        for buffer in self.momentum():
            buffer.zero_()


def new_loop(
    step: str,
    config: RunConfig,
    model: nn.Module,
    images: Images,
    steps: int,
    autocast: torch.autocast,
) -> Eager | Captured:
    """Returns the loop that trains a new network.

    The last captured loop of this thread is used again for another seed of the same cell: it then
    trains its own network, with the weights of this one.
    """
    if step != "captured":
        return Eager(model, images, config.recipe, steps, autocast, step)
    cell = (config.model_copy(update={"seed": 0}), images, autocast.fast_dtype, autocast._enabled)
    if getattr(KEPT, "cell", None) == cell:
        KEPT.loop.adopt(model)
    else:
        free_kept_loop()
        KEPT.loop = Captured(model, images, config.recipe, steps, autocast)
        KEPT.cell = cell
    return KEPT.loop


def free_kept_loop(error: BaseException | None = None) -> None:
    """Frees the memory of this thread's last captured loop, whose run `error` may have ended."""
    with dropping(error):
        KEPT.cell = KEPT.loop = None


def arithmetic_of(config: RunConfig, picked: Arithmetic) -> Arithmetic:
    """Returns the arithmetic, its step plain where the network cannot be captured."""
    if picked.step == "captured" and not draws_nothing(config):
        return picked.model_copy(update={"step": "plain"})
    return picked


def draws_nothing(config: RunConfig) -> bool:
    """Tells whether a network, once it is built, draws no numbers from the process's generators.

    Then it can be captured, and train beside others in one process.
    """
    if config.code:
        return False
    with torch.device("meta"):
        model = build_network(config)
    return not any(
        isinstance(module, Mixed | OtherBlock) or (isinstance(module, nn.Dropout) and module.p > 0)
        for module in model.modules()
    )
