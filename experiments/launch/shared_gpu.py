"""Decides which runs may share a process, and how many go at a time on each GPU."""

from collections.abc import Iterable, Sequence

from experiments.data.download import Say
from experiments.processes.fork_server import call_in_process
from experiments.records.config import RunConfig
from experiments.records.record import Record


def shareable(records: Iterable[Record]) -> set[Record]:
    """Returns the runs whose step is captured, and whose networks draw no random numbers."""
    captured = [r for r in records if r.arithmetic.of(r.config.recipe).step == "captured"]
    if not captured:
        return set()
    from experiments.train.epoch import (
        draws_nothing,  # torch, of which a CPU's driver needs nothing
    )

    cells = {record.config.cell: record.config for record in captured}
    draws = {cell: not draws_nothing(config) for cell, config in cells.items()}
    return {record for record in captured if not draws[record.config.cell]}


def _as_begun(record: Record) -> RunConfig:
    """Returns a run's config with the precision and the step that its study was begun with."""
    own = record.arithmetic.of(record.config.recipe)
    recipe = record.config.recipe.model_copy(update=dict(own))
    return record.config.model_copy(update={"recipe": recipe})


def widened(slots: list[str], records: Sequence[Record], say: Say) -> list[str]:
    """Gives as many slots on each GPU as train the most images.

    Measured with the first of these runs that may share a process, where there is one.
    """
    together = shareable(records)
    first = next((record for record in records if record in together), None)
    if first is None:
        return slots
    from experiments.plan.rates import best, rates

    found = call_in_process(rates, _as_begun(first), slots[0]) or {}
    count = best(found)
    measured = ", ".join(f"{n}: {rate:,.0f}" for n, rate in found.items()) or "nothing came of it"
    say(f"{count} at a time on each GPU (images/s measured with so many: {measured})")
    return slots * count
