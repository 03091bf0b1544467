"""What goes on in another process beside the training: it may end as it likes."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from experiments.launch.background import BackgroundProcess, Message


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
