"""Tells W&B of a grid while it trains, in a background process (launch/background.py)."""

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import Empty
from typing import Any

from experiments.launch.background import Message
from experiments.launch.failures import first_line
from experiments.processes.child import printing_into
from experiments.processes.scratch import scratch
from experiments.records.lock import hold
from experiments.records.parsing import ConfigError
from experiments.records.record import load_record
from experiments.records.states import FINISHED, state
from experiments.records.studies import read_studies
from tracking.account import INSTALL, has_key, is_installed, prepare, usual_mode
from tracking.mirror import Mirror, WandbError
from tracking.sent import digest_of_run, folder_of, run_id, state_of
from tracking.study import tell_study

LOOK_EVERY = 1.0  # seconds between two looks at the records of the runs that are under way
PAUSES = (60.0, 120.0, 300.0, 600.0)  # seconds until W&B is tried again; then always the last one

CHOICES = ("auto", "online", "offline", "off")
MODES = {mode: mode for mode in CHOICES}
MODES |= {"disabled": "off", "run": "online", "dryrun": "offline"}  # W&B's own, as in WANDB_MODE


def pick_mode(track: str) -> str:
    """Returns auto, online, offline or off: what `--track` says, else WANDB_MODE.

    Raises ConfigError for another word, and where W&B is asked for and is not installed.
    """
    where = f"track {track!r}"
    if track == "auto":
        track = os.environ.get("WANDB_MODE") or "auto"
        where = f"WANDB_MODE {track!r}"
    elif track not in CHOICES:
        raise ConfigError(f"{where}: allowed are {', '.join(CHOICES)}")
    if track not in MODES:
        raise ConfigError(f"{where}: allowed are online, offline and disabled")
    mode = MODES[track]
    if mode in ("online", "offline") and not is_installed():
        raise ConfigError(f"{where}: {INSTALL}")
    project = os.environ.get("WANDB_PROJECT", "")
    if mode != "off" and (set(project) & set("/\\#?%:") or len(project) > 128):
        raise ConfigError(
            f"WANDB_PROJECT {project!r}: at most 128 characters, none of / \\ # ? % :"
        )
    return mode


def follow(
    results: Path, studies: Sequence[str], mode: str, inbox: Any, tell: Callable[[str], None]
) -> None:
    """Tells W&B what `inbox` has messages of; ends with status 1 where it has not got all of it."""
    folder = prepare(results)
    with scratch() as place, printing_into(folder / f"log-{os.getpid()}.txt"):
        os.environ["TMPDIR"] = tempfile.tempdir = str(place)  # W&B's library leaves files behind
        is_complete = Follower(results, studies, mode, tell).listen(inbox)
    os._exit(0 if is_complete else 1)  # W&B's library would wait for what cannot be sent


class Follower:
    """Keeps runs on W&B in step with their records.

    `studies` are the names of those that are drawn at the end. `mode` is auto, online or offline;
    without a key it is offline in any case.
    """

    def __init__(
        self, results: Path, studies: Sequence[str], mode: str, tell_user: Callable[[str], None]
    ) -> None:
        self.results, self.studies, self.tell_user = results, studies, tell_user
        is_known = has_key()
        mode = usual_mode() if mode == "auto" else mode
        self.mode = "offline" if mode == "online" and not is_known else mode
        self.runs: dict[Path, Mirror | None] = {}  # None: not begun on W&B yet
        self.telling: dict[Path, ExitStack] = {}  # gives back the right to tell a run
        self.ended: set[Path] = set()
        self.drawn: list[str] = []  # studies to be told
        self.failures, self.again = 0, 0.0  # tries in a row to reach W&B; when to try again
        self.has_warned, self.is_complete, self.place = False, True, ""
        if self.mode == "offline":
            why = " (there is no key)" if mode == "online" else ""
            self.say(f"kept in {results / 'wandb'}{why}: `make browse` says how to look at it, "
                     "`make wandb-sync` sends what is finished")  # fmt: skip

    def say(self, sentence: str) -> None:
        self.tell_user(f"W&B: {sentence}")

    def listen(self, inbox: Any) -> bool:
        """Follows messages until the last one; returns whether W&B has got everything then."""
        while True:
            with suppress(Empty):
                message = inbox.get(timeout=LOOK_EVERY)
                if message is None:
                    break
                self.receive(message)
            if self.mode != "off":
                self.tell()
        if self.mode == "off":
            return True
        self.ended |= set(self.runs)  # those were interrupted
        self.tell()
        return self.is_complete and not self.runs and not self.drawn

    def receive(self, message: Message) -> None:
        if message.run is not None and message.kind == "started":
            self.runs.setdefault(message.run, None)
            self.ended.discard(message.run)
        elif message.kind == "ended" and message.run in self.runs:  # else another driver's
            self.ended.add(message.run)
        elif message.kind == "drawn" and "WANDB_SWEEP_ID" not in os.environ:  # an agent has one run
            self.drawn = list(self.studies)

    def tell(self) -> None:
        """Sends what is new, unless W&B could not be reached a moment ago."""
        if time.monotonic() < self.again:
            return
        try:
            for path in list(self.runs):
                self.tell_run(path)
            while self.drawn:
                tell_study(self.results, self.drawn[0], self.mode, is_live=True)
                del self.drawn[0]
        except WandbError as error:
            if not self.has_warned:
                self.has_warned = True
                later = "`make wandb-sync` sends later what is missing"
                self.say(f"not to be reached ({error}): nothing waits for it, and {later}")
            self.again = time.monotonic() + PAUSES[min(self.failures, len(PAUSES) - 1)]
            self.failures += 1

    def tell_run(self, path: Path) -> None:
        """Tells what is new of a run. One that cannot be told is given up, and the others go on."""
        is_over = path in self.ended
        if not (path / "env.json").exists():  # it has hardly started, or never did
            if is_over:
                del self.runs[path]
            return
        try:
            mirror = self.runs[path] = self.runs[path] or self.begin(path)
            if mirror is None:
                del self.runs[path]
                return
            mirror.catch_up()
            if is_over:
                del self.runs[path]
                mirror.conclude()
        except WandbError:
            self.is_complete &= path in self.runs  # what has not begun is begun again
            raise
        except Exception as error:
            self.runs.pop(path, None)
            self.is_complete = False
            if self.mode == "online" and not isinstance(error, ConfigError):
                raise WandbError(first_line(error)) from error
            self.say(f"{path.parent.name}/{path.name} is not told: {first_line(error)}")
        finally:
            if path not in self.runs and path in self.telling:
                self.telling.pop(path).close()

    def begin(self, path: Path) -> Mirror | None:
        """Begins to tell a run; None where another process tells it, or all of it was told."""
        place = folder_of(self.results) / "telling" / path.parent.name / path.name
        place.mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            if held.enter_context(hold(place)) is None or self.was_told(path):
                return None
            mirror = Mirror(path, self.mode, is_live=True)
            self.telling[path] = held.pop_all()
        self.failures = 0
        if mirror.place and mirror.place != self.place:
            self.place = mirror.place
            self.say(self.place)
        return mirror

    def was_told(self, path: Path) -> bool:
        """Tells whether a run is finished, and W&B has been told all of it."""
        if state(path) not in FINISHED:
            return False
        digest = digest_of_run(path, read_studies(self.results, []))
        return (
            state_of(folder_of(self.results), run_id(load_record(path).config), digest) != "missing"
        )
