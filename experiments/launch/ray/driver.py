"""Runs on the nodes of a Ray cluster: the driver's side (a node's: ray_seat.py).

The nodes share no disk with the driver. A run's files go to its node when it begins, and come back
as they change; the driver holds the run's lock, and writes its record.
"""

import logging
import os
import signal
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from experiments.data.datasets import Say, path_of
from experiments.launch.cluster import RaySettings
from experiments.launch.local import GRACE, LOOK_EVERY, Event, failure_of
from experiments.launch.ray.node import Files, News, Seat, Told
from experiments.launch.worker import Outcome, first_line
from experiments.records.config import ConfigError
from experiments.records.files import digest_of_file, read_sealed, write_atomically, write_sealed
from experiments.records.lock import Lock, hold, holder
from experiments.records.record import KILLED, Record
from experiments.train.environment import ROOT, checkout

# Where it is 0, a cluster of one machine listens on 127.0.0.1 alone: Ray's default on others.
LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
LAST = "summary.json"  # is written last, as it says that the others are there


@dataclass
class Active:
    """A run that is under way.

    seat       the actor that trains it
    lock       of its folder, here
    hands      what is given back when it ends
    has_begun  whether its seat has answered
    epoch      the metrics of its last epoch
    """

    record: Record
    seat: Any
    lock: Lock
    hands: ExitStack
    has_begun: bool = False
    epoch: dict[str, Any] = field(default_factory=dict)


class Ray:
    """Trains runs on a Ray cluster: that of RAY_ADDRESS, else one on this machine for the time.

    A context manager: at its end, the runs that are under way write checkpoints, which come back.

    Args:
        settings: of the cluster.
        device: of each run, on its node.
        most: runs that go at a time; None for as many as there is room for.
        data_dir: holds the prepared data sets here, and perhaps on the nodes.
        patience, checkpoint_every: as of `Local`.
        say: tells the user.
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
        self.settings, self.most, self.say = settings, most, say
        self.data_dir = data_dir.absolute()
        self.seat_of = (device, self.data_dir, patience, checkpoint_every)
        self.active: dict[Any, Active] = {}  # by what its seat will answer
        self.free: list[Any] = []  # seats without a run
        self.losses: dict[Record, int] = {}
        self.data: dict[str, tuple[str, Any]] = {}  # its name -> digest of the file, and the file

    def __enter__(self) -> Self:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        address = os.environ.get("RAY_ADDRESS")
        if not address:  # Ray reads it when it is imported; else it listens on every interface
            os.environ.setdefault(LOOPBACK, "0")
        import ray

        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.getsignal(number) for number in numbers}
        code = {"py_modules": [str(ROOT / name) for name in ("experiments", "senet")]}
        try:
            ray.init(
                address or "local",
                runtime_env=code | {"excludes": ["__pycache__"]},
                include_dashboard=None if address else False,
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ConfigError(f"RAY_ADDRESS {address or ''!r}: {first_line(error)}") from None
        finally:
            for number, action in before.items():
                signal.signal(number, action)  # Ray takes SIGTERM for itself
        self.workers = self.room()
        if not self.workers:
            ray.shutdown()
            asked = f"{self.settings.cpus:g} CPU and {self.settings.gpus:g} GPU"
            raise ConfigError(f"the Ray cluster has no room for a run, which needs {asked}")
        return self

    def __exit__(self, *_) -> None:
        import ray

        try:
            if self.active:
                n = len(self.active)
                self.say(f"stopping: {n} runs write their checkpoints; Ctrl-C again ends them at "
                         "once, with the checkpoints that are here")  # fmt: skip
            last = {run.seat.stop.remote(): (ref, run) for ref, run in self.active.items()}
            deadline = time.monotonic() + GRACE
            while last and (left := deadline - time.monotonic()) > 0:
                for ref in ray.wait(list(last), timeout=left)[0]:
                    before, run = last.pop(ref)  # what it had still to answer, and this
                    try:
                        for news in ray.get([before, ref]):
                            self.keep(run.record, news.files)
                    except ray.exceptions.RayError:
                        continue
        finally:
            for run in self.active.values():
                run.hands.close()
            ray.shutdown()

    def room(self) -> int:
        """How many runs the nodes of now have room for."""
        import ray

        if self.most is not None:
            return self.most
        there = ray.cluster_resources()
        needs = {"CPU": self.settings.cpus, "GPU": self.settings.gpus}
        return int(min(there.get(kind, 0) / n for kind, n in needs.items() if n) + 1e-9)

    def train(self, records: Iterable[Record], deadline: float | None = None) -> Iterator[Event]:
        """As `Local.train`."""
        import ray

        waiting, elsewhere, told = deque(records), [], set()
        looked, has_waited = time.monotonic(), False
        while waiting or self.active or elsewhere:
            if deadline is not None and time.monotonic() > deadline:
                return
            while waiting and (self.free or len(self.active) < self.room()):
                record = waiting.popleft()
                if record.finished:
                    yield Event("ended", record, outcome=Outcome("done"))
                elif record.failed:
                    yield Event("ended", record, outcome=Outcome("failed", *failure_of(record)))
                elif self.begin(record):
                    yield Event("started", record)
                else:
                    elsewhere.append(record)
                    if record not in told:
                        told.add(record)
                        other = holder(record.path) or {}
                        who = f"process {other.get('pid', '?')} on {other.get('host', '?')}"
                        yield Event("note", record, sentence=f"{who} trains it: waiting for that")
            while self.free and not waiting:  # gives its cores back, which another seat may need
                ray.kill(self.free.pop())
            if not self.active:
                if waiting and not has_waited:
                    has_waited = True
                    self.say("the Ray cluster has no room for a run: waiting for a node")
                time.sleep(0.5)
            for ref in ray.wait(list(self.active), timeout=1.0)[0] if self.active else ():
                for event in self.hear(ref):
                    if event.kind == "again":
                        waiting.appendleft(event.record)
                    yield event
            if elsewhere and time.monotonic() - looked > LOOK_EVERY:
                looked = time.monotonic()
                waiting.extend(elsewhere)
                elsewhere.clear()

    def begin(self, record: Record) -> bool:
        """Sends a run to a seat; False where another process trains it."""
        import ray

        record.path.mkdir(parents=True, exist_ok=True)
        with ExitStack() as hands:
            if (lock := hands.enter_context(hold(record.path))) is None:
                return False
            if self.free:
                seat = self.free.pop()
            else:
                options = {"num_cpus": self.settings.cpus, "num_gpus": self.settings.gpus}
                seat = ray.remote(Seat).options(**options).remote(*self.seat_of)
            code = record.code_path.read_bytes() if record.config.code else None
            run = Active(record, seat, lock, hands.pop_all())
        name = record.config.dataset
        if name not in self.data:
            file = path_of(name, self.data_dir)
            self.data[name] = digest_of_file(file), ray.put(file.read_bytes())
        digest, content = self.data[name]
        files = {path.name: path.read_bytes() for path in travelling(record.path)}
        what = (record.config, files, code, digest, [content], record.arithmetic)
        self.active[seat.begin.remote(*what)] = run
        return True

    def hear(self, ref: Any) -> Iterator[Event]:
        """What a seat answers, or that it is gone."""
        import ray

        run = self.active.pop(ref)
        try:
            news: News = ray.get(ref)
        except ray.exceptions.RayTaskError as error:  # of the seat itself: of what it was given
            ray.kill(run.seat)
            cause = error.cause or error
            yield self.end(run, Outcome("failed", type(cause).__name__, first_line(cause)))
            return
        except ray.exceptions.RayError as error:
            yield self.lose(run, error)
            return
        run.has_begun = True
        self.keep(run.record, news.files)
        ended = None
        for told in news.told:
            if told.kind == "progress":
                yield self.progress(run, told)
            elif told.kind == "note":
                yield Event("note", run.record, sentence=told.sentence)
            elif told.kind == "ended":
                ended = told.outcome
        if ended is None:
            self.active[run.seat.advance.remote()] = run
        else:
            self.free.append(run.seat)
            yield self.end(run, ended)

    def progress(self, run: Active, told: Told) -> Event:
        run.epoch = told.row or run.epoch
        run.lock.tell(host=told.host, pid=told.pid, step=told.step, steps=told.steps,
            epoch=run.epoch.get("epoch", 0), error=run.epoch.get("val_error"),
            images_per_second=0.0, seconds_left=None)  # fmt: skip
        return Event("progress", run.record, told.step, told.steps, told.row)

    def lose(self, run: Active, error: Exception) -> Event:
        """A seat is gone, with its node or alone: the run goes on from what has come back."""
        times = self.losses[run.record] = self.losses.get(run.record, 0) + 1
        if times > self.settings.restarts:
            reason = f"its node or its process there was lost {times} times"
            run.record.fail(KILLED, reason, str(error))
            return self.end(run, Outcome("failed", KILLED, reason))
        run.hands.close()
        has = "its last" if run.record.checkpoint.exists() else "no"
        sentence = f"its node was lost, or its process there: again, with {has} checkpoint"
        if not run.has_begun:  # Ray did not know yet that the node was gone
            sentence = "there was no node for it after all: again"
        return Event("again", run.record, sentence=sentence, outcome=Outcome("interrupted"))

    def end(self, run: Active, outcome: Outcome) -> Event:
        if outcome.state == "failed" and not (run.record.path / "error.txt").exists():
            run.record.fail(outcome.kind, outcome.reason)
        run.hands.close()
        return Event("ended", run.record, outcome=outcome)

    def keep(self, record: Record, files: Files) -> None:
        """Writes what has come back; what is None was deleted there."""
        for name in sorted(files, key=lambda name: name == LAST):
            path, content = record.path / name, files[name]
            if content is None:
                path.unlink(missing_ok=True)
            else:
                write_atomically(path, lambda file, content=content: file.write(content))
            if name == "env.json" and content is not None:
                self.complete(path)

    def complete(self, path: Path) -> None:
        """The nodes have our code and not its history: the commit is known here."""
        env = read_sealed(path)
        if env.get("commit") is None:
            env |= self.origin
        for again in env.get("resumed", []):
            if again.get("commit", "") is None:
                del again["commit"], again["clean"]
        write_sealed(path, env)

    @cached_property
    def origin(self) -> dict[str, Any]:
        return checkout()


def travelling(folder: Path) -> list[Path]:
    """The files of a run that another machine needs to go on with it."""
    stays = {"lock", "error.txt"}
    return [p for p in folder.iterdir() if p.name not in stays and not p.name.startswith(".")]
