"""What goes on in another process beside the training: it may end as it likes."""

import os
import subprocess
import time
from pathlib import Path

import pytest
from conftest import tiny

from experiments.launch.background import BackgroundProcess, Message
from experiments.launch.events import Ended, Noted, Outcome, Progressed, Requeued, Started
from experiments.records.record import Record


def dies(inbox, tell) -> None:
    tell("a last word")
    os._exit(3)


def sleeps(inbox, tell) -> None:
    subprocess.run(["sleep", "1000"])


def raises(inbox, tell) -> None:
    raise ValueError("something is wrong\nand more")


@pytest.mark.parametrize(
    ("function", "patience", "said"),
    [
        (dies, 600.0, ["a last word", "lost"]), (sleeps, 0.5, ["lost"]),
        (raises, 600.0, ["it: ValueError: something is wrong", "lost"]),
    ],
)  # fmt: skip
def test_whatever_happens_beside_the_training_is_said_and_no_more(function, patience, said):
    heard = []
    with BackgroundProcess(
        "it", function, say=lambda text, **_: heard.append(text), lost="lost"
    ) as process:
        process.send(Message("drawn"))  # nothing was trained: nothing is started
        assert process.state == "idle"
        process.start()
        for _ in range(3000):  # more than a pipe holds
            process.send(Message("epoch", Path("x" * 100)))
        process.close(patience)
    assert [line for line in heard if "last of it" not in line] == said


def repeats(inbox, tell) -> None:
    while (message := inbox.get()) is not None:
        tell(f"{message.kind} {message.run.name}")


ELSEWHERE, AGAIN = Outcome("elsewhere"), Outcome("interrupted")


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ([Started, (Progressed, 1, 9)], ["started"]),
        ([Started, (Progressed, 1, 9, {"epoch": 1}), (Progressed, 9, 9)], ["started", "epoch"]),
        ([Started, (Ended, Outcome("failed"))], ["started", "ended"]),
        ([Started, (Noted, "it is so")], []),
        # Between a look at the lock and the worker's try another process has taken it.
        ([Started, (Requeued, ELSEWHERE, ""), (Ended, Outcome("done"))], ["ended"]),
        ([Started, (Requeued, ELSEWHERE, ""), Started, (Progressed, 1, 9)], ["started"]),
        (
            [Started, (Requeued, AGAIN, ""), Started, (Ended, Outcome("done"))],
            ["started", "ended", "started", "ended"],
        ),
    ],
)
def test_a_run_is_told_once_it_is_known_to_be_ours(tmp_path, what, said):
    record, heard = Record(tmp_path, tiny()), []
    words = {"say": lambda text, **_: heard.append(text), "lost": "lost"}
    with BackgroundProcess("it", repeats, **words) as process:
        for event in what:
            kind, *facts = event if isinstance(event, tuple) else (event,)
            process.follow(kind(record, *facts))
        process.close(600.0)
    told = [line for line in heard if "last of it" not in line]
    assert told == [f"{kind} seed0" for kind in said]


class Slow:
    """Takes its time to reach another process."""

    def __reduce__(self):
        return time.sleep, (1000,)


def test_a_process_that_has_not_even_begun_is_not_waited_for():
    heard = []
    words = {"say": lambda text, **_: heard.append(text), "lost": "lost"}
    with BackgroundProcess("it", dies, Slow(), **words) as process:
        process.start()
        process.close(0.5)
    assert heard == ["lost"] and not process.process.is_alive()


def test_a_process_that_dies_is_missed_at_once(capfd):
    heard = []
    with BackgroundProcess(
        "it", dies, say=lambda text, **_: heard.append(text), lost="lost"
    ) as process:
        process.start()
        process.process.join()
        process.send(Message("epoch"))
        assert heard == ["a last word", "lost"]
        process.send(Message("epoch"))
    assert heard == ["a last word", "lost"]


def test_the_training_does_not_notice_what_cannot_be_started(monkeypatch):
    def full(*_):
        raise OSError("no room")

    monkeypatch.setattr("experiments.launch.background.spawn", full)
    heard = []
    with BackgroundProcess(
        "it", dies, say=lambda text, **_: heard.append(text), lost="lost"
    ) as process:
        process.start()
        process.send(Message("epoch"))
    assert heard == ["lost"]
