"""Simulates the schedule of a study on workers that are not here.

Runs wait in one line, in the order of `run`, and each goes to the first worker that is free: list
scheduling, which Graham (1969) proved to take at most 2 - 1/workers times as long as the best
schedule. A worker that fails is back after RESTART, and its run goes on from its last checkpoint.
What a cluster's own queue makes one wait is not known here, and not in it.
"""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from experiments.records.parsing import ConfigError

RESTART = 60.0  # seconds: a process, torch, data, checkpoint; 49 were measured on two busy cores
SIMULATIONS = 100


@dataclass(frozen=True)
class Schedule:
    """Holds one schedule: times in seconds, those of all workers together in worker seconds.

    makespan  from the beginning to the end of the last run
    work      of all workers together, that results are made of
    lost      of all workers together, to failures: what was trained again, and restarts
    tail      at the end, while at least half of the workers have nothing to do
    restarts  how many
    last      which run ended last, by its place in the line
    """

    workers: int
    makespan: float
    work: float
    lost: float
    tail: float
    restarts: int
    last: int

    @property
    def utilisation(self) -> float:
        """Returns the share of the workers' time that results are made of."""
        return self.work / (self.workers * self.makespan)

    @property
    def speedup(self) -> float:
        """Tells how many times as fast it is as one worker that never fails."""
        return self.work / self.makespan

    def cost(self, price: float) -> float:
        """Returns what all workers cost until the last run has ended; the price is per hour."""
        return self.workers * self.makespan / 3600 * price


def simulate(
    seconds: ArrayLike,
    workers: int,
    *,
    spread: float = 0.0,
    failures: float = 0.0,
    between: ArrayLike = 60.0,
    seed: int = 0,
) -> Schedule:
    """Simulates one schedule of runs on so many workers.

    Args:
        seconds: (n,) what each run takes on the average, in the order in which they start.
        spread: of the times of one row's runs: the standard deviation of their logarithm.
        failures: of one worker in an hour on which it trains, on the average (a Poisson process).
        between: seconds between two checkpoints of a run; (n,), or one number.
    """
    mean, random = np.asarray(seconds, dtype=float), np.random.default_rng(seed)
    drawn = mean * np.exp(spread * random.standard_normal(len(mean)) - spread**2 / 2)
    lost, restarts = fail(drawn, failures / 3600, np.broadcast_to(between, mean.shape), random)
    free, ends = [0.0] * workers, []
    for duration in (drawn + lost).tolist():
        ends.append(free[0] + duration)
        heapq.heapreplace(free, ends[-1])
    makespan, half = max(ends), sorted(free)[(workers - 1) // 2]
    totals = float(drawn.sum()), float(lost.sum())
    return Schedule(workers, makespan, *totals, makespan - half, restarts, ends.index(makespan))


def fail(
    seconds: np.ndarray, rate: float, between: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, int]:
    """Returns what failures add to the seconds (n,) of each run, and how many there are.

    Raises ConfigError where workers fail so often that a run hardly gets to its next checkpoint.
    """
    lost, restarts = np.zeros_like(seconds), 0
    if rate and (longest := between.max()) > 1 / rate:
        raise ConfigError(
            f"failures {rate * 3600:g}: a worker that fails every {1 / rate:.0f} s hardly gets to "
            f"its next checkpoint, {longest:.0f} s away: at most {3600 / longest:.3g} an hour"
        )
    left, going = seconds.copy(), np.arange(len(seconds) if rate else 0)
    while len(going):
        until = random.exponential(1 / rate, len(going))
        has_failed = until < left[going]
        going, until = going[has_failed], until[has_failed]
        kept = until // between[going] * between[going]
        left[going] -= kept
        lost[going] += until - kept + RESTART
        restarts += len(going)
    return lost, restarts


def spread_of(times: Sequence[Sequence[float]]) -> float | None:
    """Measures how much the seconds of a row's runs differ: the deviation of their logarithm.

    It is a standard deviation, pooled over rows; None where no row has two runs.
    """
    logs = [np.log(row) for row in times if len(row) > 1]
    if not logs:
        return None
    squares = sum(((row - row.mean()) ** 2).sum() for row in logs)
    return math.sqrt(squares / sum(len(row) - 1 for row in logs))
