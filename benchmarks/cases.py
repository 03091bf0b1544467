"""Lists what `make bench` times, and which ratios it is to reach."""

import os
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.measure import ADDED, BATCH
from experiments.train.environment import pick_precision
from senet.residual import POSITIONS

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
ON_GPU = (1, 2, 4, 8, 16, 32)  # runs that train on one GPU at a time
SE: dict[str, object] = {}  # the paper's block
NETWORKS = {"ResNet-20": "resnet20", "resnet29b": "resnet29b"}
PAIR = ((SE, "SE-"), (None, ""))  # what is compared stands side by side
USUAL, LADDER = "usual loop, SE-ResNet-20", "ladder: "


@dataclass(frozen=True)
class Case:
    """Describes what is timed: a function of measure.py, its arguments, and how many processes."""

    name: str
    kind: str
    args: tuple = ()
    processes: int = 1
    threads: int = 1


def sized(name: str, batch: int) -> str:
    return name if batch == BATCH else f"{name}, batch {batch}"


def ladder(device: str) -> Iterator[Case]:
    """Lists cases of one network from the usual loop to ours; each adds a change to the last one.

    All in one process of one thread, which loads its images itself, but for the last rung.
    """
    added = [word for word in ADDED if word != "bf16" or pick_precision("auto", device) == "bf16"]
    for count in range(len(added) + 1):
        name = f"+ {added[count - 1]}" if count else "usual loop"
        yield Case(LADDER + name, "usual", ("resnet20", SE, 0, *added[:count]))
    step = "fused" if device == "cpu" else "plain"
    yield Case(f"{LADDER}+ {step} step", "ours", ("resnet20", SE, step))
    if device == "cpu":
        name = f"{LADDER}+ a process a core"
        yield Case(name, "ours", ("resnet20", SE, step), CORES)


def cases(device: str, is_full: bool = False) -> Iterator[Case]:
    together, steps = (CORES, ("fused", "plain")) if device == "cpu" else (1, ("plain",))
    yield from ladder(device)
    yield Case(USUAL, "usual", ("resnet20", SE, CORES), 1, CORES)
    for batch in (128, 64, 32):
        for title, network in NETWORKS.items():
            for step in steps:
                for se, prefix in PAIR:
                    name = sized(f"{step} step, {prefix}{title}", batch)
                    yield Case(name, "ours", (network, se, step, batch), together)
    for title, network in NETWORKS.items():
        yield Case(f"convolutions of {title} alone", "convolutions", (network,), together)
    for workers in sorted({0, CORES}):
        yield Case(f"input: DataLoader, {workers} workers", "usual_input", (workers,), 1, CORES)
    yield Case("input: ours", "our_input", (), together)
    if is_full:
        yield from more(steps[0], together)
    if device != "cpu":
        for count in ON_GPU:
            name = f"captured step, SE-ResNet-20, {count} at once"
            yield Case(name, "captured", ("resnet20", SE, count))
        yield Case("captured step, ResNet-20, 1 at once", "captured", ("resnet20", None, 1))
        for se, prefix in PAIR:
            name = f"captured step, {prefix}resnet29b, 1 at once"
            yield Case(name, "captured", ("resnet29b", se, 1))


def more(step: str, together: int) -> Iterator[Case]:
    """Lists the cases for BENCH=full alone: they take long, or change little."""
    words = ("resnet20", SE, CORES, "compiled")
    yield Case("usual loop compiled, SE-ResNet-20", "usual", words, 1, CORES)
    varied = {f"SE {at}": {"position": at} for at in POSITIONS if at != "standard"}
    varied["max squeeze"] = {"squeeze": "max"}
    for name, se in varied.items():
        words = ("resnet29b", se, step)
        yield Case(f"{step} step, SE-resnet29b, {name}", "ours", words, together)


Rates = dict[str, list[float]]


def times(rates: Rates, one: str, other: str) -> float:
    """Returns how many times as fast one is as another: the median of the ratios within a round."""
    return statistics.median(a / b for a, b in zip(rates[one], rates[other], strict=True))


def goals(
    rates: Rates, grids: Sequence[dict[str, float]], device: str, instructions: str
) -> Iterator[tuple[str, float, float]]:
    """Lists (what, the ratio that was measured, the goal) of this kind of processor."""

    def ratio(what: str, one: str, other: str, goal: float) -> tuple[str, float, float]:
        return what, times(rates, one, other), goal

    with_se, convolutions = "fused step, SE-resnet29b", "convolutions of resnet29b alone"
    if device != "cpu":
        yield from goals_of_gpu(rates)
    elif instructions in ("amx_bf16", "avx512_bf16"):
        yield ratio("SE-ResNet-20 over the usual loop", "fused step, SE-ResNet-20", USUAL, 3.3)
        yield ratio("resnet29b with SE over without", with_se, "fused step, resnet29b", 0.98)
        yield ratio("SE-resnet29b over its convolutions alone", with_se, convolutions, 0.8)
    elif instructions in ("avx512", "avx2"):
        for batch, goal in ((128, 1.1), (64, 1.1), (32, 1.0)):
            for network in (prefix + title for title in NETWORKS for _, prefix in PAIR):
                ours, plain = (sized(f"{s} step, {network}", batch) for s in ("fused", "plain"))
                yield ratio(f"fused over plain step, {sized(network, batch)}", ours, plain, goal)
        for title in NETWORKS:
            names = f"fused step, SE-{title}", f"fused step, {title}"
            yield ratio(f"{title} with SE over without", *names, 1 / 1.05)
        yield ratio("SE-resnet29b over its convolutions alone", with_se, convolutions, 0.85)
    if grids:
        again = max(grid["again"] for grid in grids)
        yield "5 s over the processor seconds of a finished grid again", 5.0 / again, 1.0


def is_for_a_goal(case: Case) -> bool:
    """Tells whether a goal of a GPU compares this case."""
    return case.name == USUAL or (case.kind == "captured" and case.args[0] == "resnet20")


def goals_of_gpu(rates: Rates) -> Iterator[tuple[str, float, float]]:
    step = "captured step, SE-ResNet-20"
    many = max((name for name in rates if name.startswith(step)),
               key=lambda name: statistics.median(rates[name]))  # fmt: skip
    yield "SE-ResNet-20 over the usual loop", times(rates, many, USUAL), 8.0
    most = statistics.median(rates[many])
    yield "SE-ResNet-20, images a second / 250,000", most / 250_000, 1.0
    one, plain = f"{step}, 1 at once", "captured step, ResNet-20, 1 at once"
    yield "SE-ResNet-20 over ResNet-20", times(rates, one, plain), 1 / 1.1
