"""Starts a process that several runs share, a thread for each, and keeps its idle threads."""

import multiprocessing
from collections import deque
from collections.abc import Mapping, Set
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from experiments.launch.worker import train_in_threads
from experiments.processes.fork_server import start_process
from experiments.records.config import RunConfig
from experiments.records.record import Record
from experiments.train.devices import STREAMS


@dataclass
class Worker:
    """Trains one run at a time: it is a process, or a thread of one that several runs share.

    pipe  our end of its pipe: tasks go in, and what worker.py sends comes out
    last  what it trained before: another seed of that begins sooner
    """

    process: BaseProcess
    pipe: Connection
    is_shared: bool = False
    last: RunConfig | None = None


class SharedProcesses:
    """Keeps the idle threads of one process on each device, which has as many as it has slots."""

    def __init__(self, slots: Mapping[str, int]) -> None:
        self.slots = slots
        self.idle: dict[str, list[Worker]] = {device: [] for device in slots}

    def choose(self, device: str, pending: deque[Record], shareable: Set[Record]) -> Record:
        """Takes another seed of what an idle thread has trained out of the queue, or the first."""
        known = [worker.last for worker in self.idle[device] if worker.last is not None]
        for record in pending if known else ():
            if record in shareable and any(_same_cell(record.config, last) for last in known):
                pending.remove(record)
                return record
        return pending.popleft()

    def take(self, device: str, config: RunConfig) -> Worker:
        """Returns an idle thread on a device: best one that has trained another seed of this."""
        idle = [worker for worker in self.idle[device] if worker.process.is_alive()]
        idle = idle or self._start(min(self.slots[device], STREAMS))  # a thread has its own stream
        idle.sort(key=lambda worker: worker.last is None or not _same_cell(worker.last, config))
        worker, *self.idle[device] = idle
        worker.last = config
        return worker

    def _start(self, threads: int) -> list[Worker]:
        pairs = [multiprocessing.Pipe() for _ in range(threads)]
        process = start_process(train_in_threads, [theirs for _, theirs in pairs])
        for _, theirs in pairs:
            theirs.close()
        return [Worker(process, ours, is_shared=True) for ours, _ in pairs]


def _same_cell(one: RunConfig, other: RunConfig) -> bool:
    return one.model_copy(update={"seed": other.seed}) == other
