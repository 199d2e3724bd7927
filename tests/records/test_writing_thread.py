from __future__ import annotations

import threading

from gateway.records.writing_thread import WritingThread

DEADLINE_S = 20.0


class Worker:
    """A thread, and what it did, in order."""

    def __init__(self, *, max_waiting_bytes: int = 100) -> None:
        self.done: list[str] = []
        self.failures: list[Exception] = []
        self.thread = WritingThread(
            "writer",
            max_waiting_bytes=max_waiting_bytes,
            upkeep=lambda: self.done.append("upkeep"),
            on_failure=self.failures.append,
            at_end=lambda: self.done.append("end"),
        )


def test_jobs_are_done_in_turn_with_upkeep_before_each_and_the_end_last() -> None:
    worker = Worker()
    for name in "ab":
        worker.thread.put(lambda name=name: worker.done.append(name))  # type: ignore[misc]
    worker.thread.start()
    assert worker.thread.close(DEADLINE_S)
    assert worker.done == ["upkeep", "a", "upkeep", "b", "upkeep", "end"]


def test_a_job_that_fails_costs_the_others_nothing() -> None:
    worker = Worker()
    broken = OSError("gone")

    def fail() -> None:
        raise broken

    worker.thread.put(fail, 10)
    worker.thread.put(lambda: worker.done.append("next"))
    worker.thread.start()
    assert worker.thread.close(DEADLINE_S)
    assert worker.failures == [broken]
    assert "next" in worker.done
    assert worker.thread.waiting_bytes == 0


def test_audio_has_room_up_to_a_limit_and_what_is_no_audio_always() -> None:
    worker = Worker(max_waiting_bytes=100)  # whose thread does not run
    assert worker.thread.put(lambda: None, 100)
    assert not worker.thread.put(lambda: None, 1)
    assert worker.thread.put(lambda: None)
    assert worker.thread.waiting_bytes == 100


def test_closing_ends_with_patience_and_tells_whether_all_was_done() -> None:
    worker = Worker()
    goes_on = threading.Event()

    def wait() -> None:
        goes_on.wait(DEADLINE_S)

    worker.thread.put(wait, 7)
    worker.thread.start()
    assert not worker.thread.close(0.01)
    assert worker.thread.waiting_bytes == 7
    goes_on.set()
    assert worker.thread.close(DEADLINE_S)
