"""Trains runs on the nodes of a Ray cluster: the driver's side (a node's: node.py).

The nodes share no disk with the driver. A run's files go to its node when it begins, and come back
as they change; the driver holds the run's lock, and writes its record.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Self

from experiments.data.datasets import path_of
from experiments.data.download import Say
from experiments.launch.cluster import RaySettings
from experiments.launch.events import Ended, Event, Noted, Outcome, Progressed, Requeued
from experiments.launch.failures import first_line, kind_of
from experiments.launch.queue import GRACE, SlotLauncher
from experiments.launch.ray.connection import connect
from experiments.launch.ray.files import keep, share_data, to_send
from experiments.launch.ray.node import Actor, Report
from experiments.records.lock import Lock, Moved, hold, holder
from experiments.records.parsing import ConfigError
from experiments.records.record import Record
from experiments.records.signs import Signs
from experiments.records.states import KILLED, UNFIT


@dataclass
class RemoteRun:
    """Holds what is known of a run that is under way on a node.

    actor      trains it there
    lock       of its folder, here
    held       gives the lock back when it is closed
    has_begun  whether its actor has answered
    epoch      the metrics of its last epoch
    """

    record: Record
    actor: Any
    lock: Lock
    held: ExitStack
    has_begun: bool = False
    epoch: dict[str, Any] = field(default_factory=dict)


class Ray(SlotLauncher):
    """Trains runs on a Ray cluster: that of RAY_ADDRESS, else one on this machine for the time.

    A context manager: at its end, the runs that are under way write checkpoints, which come back.

    `device` is that of each run, on its node; at `most` so many go at a time, None for as many as
    there is room for. `data_dir` may be there on the nodes, too. What is not said here is as for
    `Local`.
    """

    def __init__(
        self,
        settings: RaySettings,
        device: str,
        most: int | None,
        data_dir: Path,
        patience: float,
        checkpoint_every: float,
        say: Say,
    ) -> None:
        super().__init__()
        self.settings, self.most, self.say = settings, most, say
        self.workers = 0  # not known before the cluster is
        self.data_dir, self.put = data_dir.absolute(), cache(share_data)  # each data set once
        self.actor_args = (device, self.data_dir, patience, checkpoint_every)
        self.active: dict[Any, RemoteRun] = {}  # by what its actor will answer
        self.free: list[Any] = []  # actors without a run
        self.unfit: list[Any] = []  # those on nodes that cannot compute as the study was begun
        self.losses: dict[Record, int] = {}
        self.has_waited = False  # for a node, which the user knows

    def __enter__(self) -> Self:
        connect()
        self.workers = self.room()
        if not self.workers:
            import ray

            ray.shutdown()
            asked = f"{self.settings.cpus:g} CPU and {self.settings.gpus:g} GPU"
            raise ConfigError(f"the Ray cluster has no room for a run, which needs {asked}")
        return self

    def __exit__(self, *_: object) -> None:
        import ray
        from ray.exceptions import RayError

        try:
            if self.active:
                n = len(self.active)
                self.say(f"stopping: {n} runs write their checkpoints; Ctrl-C again ends them at "
                         "once, with the checkpoints that are here")  # fmt: skip
            last = {run.actor.stop.remote(): (ref, run) for ref, run in self.active.items()}
            deadline = time.monotonic() + GRACE
            while last and (left := deadline - time.monotonic()) > 0:
                for ref in ray.wait(list(last), timeout=left)[0]:
                    before, run = last.pop(ref)  # what it had still to answer, and this
                    try:
                        for report in ray.get([before, ref]):
                            keep(run.record, report.files)
                    except (OSError, ConfigError) as error:  # the others' may be kept
                        self.say(f"{run.record.name}: {first_line(error)}")
                    except RayError:
                        pass  # it was lost before: its last checkpoint is here
        finally:
            for run in self.active.values():
                run.held.close()
            ray.shutdown()

    def room(self) -> int:
        """Counts the runs that the nodes of now have room for."""
        import ray

        if self.most is not None:
            return self.most
        there = ray.cluster_resources()
        needs = {"CPU": self.settings.cpus, "GPU": self.settings.gpus}
        return int(min(there.get(kind, 0) / n for kind, n in needs.items() if n) + 1e-9)

    def has_room(self) -> bool:
        return bool(self.free) or len(self.active) + len(self.unfit) < self.room()

    def start(self, record: Record) -> Signs | None:
        record.path.mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            if (lock := held.enter_context(hold(record.path))) is None:
                return holder(record.path) or Signs()
            (record.path / "error.txt").unlink(missing_ok=True)  # of an earlier try
            actor = self.free.pop() if self.free else self._new_actor()
            code = record.code_path.read_bytes() if record.config.code else None
            run = RemoteRun(record, actor, lock, held.pop_all())
        digest, content = self.put(path_of(record.config.dataset, self.data_dir))
        what = (record.config, to_send(record.path), code, digest, [content], record.arithmetic)
        self.active[actor.start.remote(*what)] = run
        return None

    def _new_actor(self) -> Any:
        import ray

        needs = {"num_cpus": self.settings.cpus, "num_gpus": self.settings.gpus}
        return ray.remote(Actor).options(**needs).remote(*self.actor_args)

    def look(self) -> Iterator[Event]:
        import ray

        while self.free and not self.queue.pending:  # another actor may need its cores
            ray.kill(self.free.pop())
        if not self.active:
            if self.queue.pending and not self.has_waited:
                self.has_waited = True
                self.say("the Ray cluster has no room for a run: waiting for a node")
            time.sleep(0.5)
            return
        for answer in ray.wait(list(self.active), timeout=1.0)[0]:
            yield from self._receive(answer)

    def _receive(self, answer: Any) -> Iterator[Event]:
        """Takes the report of an actor, or its loss. The run is active until that is done."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        run = self.active[answer]
        try:
            report: Report = ray.get(answer)
        except RayTaskError as error:  # of the actor itself: of what it was given
            yield self._end_alone(answer, error.cause or error)
            return
        except RayError as error:
            del self.active[answer]
            yield self.lose(run, error)
            return
        run.has_begun = True
        try:
            keep(run.record, report.files)
            told = [self._translate(run, event, report) for event in report.events]
        except (OSError, ConfigError) as error:  # its folder is gone, or the disk is full
            yield self._end_alone(answer, error)
            return
        yield from (event for event in told if isinstance(event, Progressed | Noted))
        outcomes = [event.outcome for event in told if isinstance(event, Ended)]
        if not outcomes:
            again = run.actor.advance.remote()
            self.active[again] = self.active.pop(answer)
        elif outcomes[-1].kind == UNFIT and len(self.unfit) + 1 < self.room():
            del self.active[answer]
            self.unfit.append(run.actor)  # it keeps its place, so that another one is found
            yield self._again(run, outcomes[-1], "its node cannot compute it: again on another one")
        else:
            del self.active[answer]
            self.free.append(run.actor)
            yield self.end(run, outcomes[-1])

    def _end_alone(self, answer: Any, error: Exception) -> Ended:
        """Ends a run that cannot go on, and its actor; the others go on."""
        import ray

        run = self.active.pop(answer)
        ray.kill(run.actor)
        return self.end(run, Outcome("failed", kind_of(error), first_line(error)))

    def _translate(self, run: RemoteRun, event: Event, report: Report) -> Event:
        """Returns an event of a node's record as one of ours."""
        if isinstance(event, Progressed):
            return self.progress(run, event, report)
        return replace(event, record=run.record)

    def progress(self, run: RemoteRun, event: Progressed, report: Report) -> Progressed:
        """Passes on how far a run is, also to whom reads its lock."""
        run.epoch = event.row or run.epoch
        run.lock.tell(host=report.host, pid=report.pid, step=event.step, steps=event.steps,
            epoch=run.epoch.get("epoch", 0), error=run.epoch.get("val_error"),
            images_per_second=0.0, seconds_left=None)  # fmt: skip
        return replace(event, record=run.record)

    def lose(self, run: RemoteRun, error: Exception) -> Event:
        """Takes a run back whose actor is gone, with its node or alone.

        It is the next one, and goes on from what has come back.
        """
        times = self.losses[run.record] = self.losses.get(run.record, 0) + 1
        if times > self.settings.restarts:
            reason = f"its node or its process there was lost {times} times"
            return self.end(run, Outcome("failed", KILLED, reason), str(error))
        has = "its last" if run.record.checkpoint.exists() else "no"
        sentence = f"its node was lost, or its process there: again, with {has} checkpoint"
        if not run.has_begun:  # Ray did not know yet that the node was gone
            sentence = "there was no node for it after all: again"
        return self._again(run, Outcome("interrupted"), sentence)

    def _again(self, run: RemoteRun, outcome: Outcome, sentence: str) -> Requeued:
        """Puts a run at the head of the queue, and releases its lock."""
        run.held.close()
        self.queue.pending.appendleft(run.record)
        return Requeued(run.record, outcome, sentence)

    def end(self, run: RemoteRun, outcome: Outcome, details: str = "") -> Ended:
        """Gives the run's lock back; a failure that the node could not write is written here."""
        if outcome.state == "failed" and not (run.record.path / "error.txt").exists():
            with suppress(OSError, Moved):  # a full disk: the user is told all the same
                run.record.fail(outcome.kind, outcome.reason, details)
        run.held.close()
        return Ended(run.record, outcome)
