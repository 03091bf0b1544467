"""What is printed never stands before what is saved."""

import array
import fcntl
import io
import os
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from command_line import start, workers
from conftest import LINUX, ROOT, tiny_words
from waiting import wait_for

from experiments.processes import output
from experiments.processes.output import Lossy, say, waiting_for_nobody

LINES = 500
pytestmark = LINUX  # how much a pipe takes


@pytest.fixture
def stuck() -> Iterator[tuple[io.FileIO, io.FileIO]]:
    """The two ends of a pipe that takes nothing more, as its reader has stopped to read."""
    reader, writer = (io.FileIO(end, mode) for end, mode in zip(os.pipe(), "rw", strict=True))
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writer.fileno(), False)
    while writer.write(b"."):
        pass
    os.set_blocking(writer.fileno(), True)
    yield reader, writer
    reader.close()  # a thread that still writes is told
    for thread in threading.enumerate():  # it would write into a file that gets the same number
        if thread.name == output.PASSES_ON:
            thread.join()
    writer.close()


def read_all(reader: io.FileIO) -> str:
    with reader:
        return reader.readall().decode().lstrip(".")


@contextmanager
def printing_into(writer: io.FileIO) -> Iterator[None]:
    before, sys.stdout = sys.stdout, Lossy(os.fdopen(writer.fileno(), "w", closefd=False))
    try:
        yield
    finally:
        sys.stdout = before


def fill() -> list[str]:
    lines = [f"line {number}" for number in range(LINES)]
    for line in lines:
        say(line)
    return lines


@pytest.mark.parametrize(("most", "kept"), [(LINES, LINES), (10, 10)])
def test_who_prints_does_not_wait_and_a_late_reader_gets_the_last_texts(
    stuck, monkeypatch, most, kept
):
    reader, writer = stuck
    monkeypatch.setattr(output, "MOST_WAITING", 2 * most)  # a line is a text, or two
    found = []
    reading = threading.Thread(target=lambda: found.append(read_all(reader)))
    with printing_into(writer):
        with waiting_for_nobody():
            lines = fill()  # would wait here
            reading.start()
        print("after")  # at once, again
        sys.stdout.flush()
    writer.close()
    reading.join()
    *said, last = found[0].splitlines()
    assert last == "after" and kept <= len(said) <= 2 * kept + 1 and said[-kept:] == lines[-kept:]


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(143)], ids=repr)
def test_who_is_told_to_end_does_not_wait_for_the_reader(stuck, monkeypatch, stop):
    monkeypatch.setattr(output, "LAST_WORDS", 0.01)
    with printing_into(stuck[1]):
        with pytest.raises(type(stop)), waiting_for_nobody():
            fill()
            raise stop
        fill()  # nor do the last words


def test_a_reader_that_is_gone_ends_nothing(stuck):
    reader, writer = stuck
    with printing_into(writer), waiting_for_nobody():
        fill()
        reader.close()


@pytest.mark.slow
def test_a_study_is_trained_and_drawn_while_nobody_reads(tmp_path, data_dir, stuck):
    reader, writer = stuck
    there = {"DATA_DIR": str(data_dir), "RESULTS": str(tmp_path), "WORKERS": "2"}
    process = start("run", "squeeze", *tiny_words(), stdout=writer, stderr=writer, **there)
    writer.close()
    wait_for(
        lambda: (tmp_path / "report.html").exists() and list(tmp_path.glob("figures/squeeze*"))
    )
    assert len(list(tmp_path.glob("runs/*/*/summary.json"))) == 5 and process.poll() is None
    said = read_all(reader)
    assert process.wait() == 0 and said.count("done  ") == 5 and "report.html" in said


@pytest.mark.slow
def test_checkpoints_are_written_while_nobody_reads(tmp_path, data_dir, stuck):
    _, writer = stuck
    there = {"DATA_DIR": str(data_dir), "RESULTS": str(tmp_path), "WORKERS": "2"}
    words = tiny_words(epochs=400)
    process = start("run", "squeeze", *words, stdout=writer, stderr=writer, **there)
    wait_for(lambda: len(workers(tmp_path, steps=1)) == 2)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 143
    assert len(list(tmp_path.glob("runs/*/*/checkpoint.pt"))) == 2


def waiting_in(reader: int) -> int:
    """How many bytes nobody has read."""
    number = array.array("i", [0])
    fcntl.ioctl(reader, termios.FIONREAD, number)
    return number[0]


def test_a_pipe_that_does_not_block_loses_nothing():
    code = (
        "from experiments.processes.output import protect, say\n"
        f"protect()\nfor n in range({100 * LINES}): say(f'line {{n}}')"
    )
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    size = fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ)
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=writer) as process:
        os.close(writer)
        wait_for(lambda: waiting_in(reader) > size // 2 or process.poll() is not None)
        with os.fdopen(reader) as lines:
            assert len(lines.readlines()) == 100 * LINES
    assert process.returncode == 0
