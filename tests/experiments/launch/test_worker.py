"""A worker's side of its process, in this one."""

import signal
import threading

from experiments.launch import worker


def test_a_second_signal_while_the_first_is_handled_does_not_block_the_worker(monkeypatch):
    """An event has a lock: whoever holds it must not wait for it. A runner signals repeatedly."""
    monkeypatch.setattr(worker, "die_with_parent", lambda: None)
    lock, done = threading.Lock(), threading.Event.set

    def set_slowly(event: threading.Event) -> None:
        assert lock.acquire(blocking=False), "it would wait for ever"
        signal.raise_signal(signal.SIGTERM)
        done(event)
        lock.release()

    monkeypatch.setattr(threading.Event, "set", set_slowly)
    stop = worker.start_work()
    signal.raise_signal(signal.SIGTERM)
    assert stop.is_set()
