"""The end of what is said is told once, after what the telephone itself still plays."""

from __future__ import annotations

import asyncio

import pytest

from gateway.calls.conversation import playout_watch
from gateway.calls.conversation.playout_watch import PlayoutWatch


class Said:
    """What is said, and a watch of it whose end can be awaited."""

    def __init__(self) -> None:
        self.is_over = True
        self.ends = 0
        self.has_ended = asyncio.Event()
        self.watch = PlayoutWatch(is_over=lambda: self.is_over, ended=self._end)

    def _end(self) -> None:
        self.ends += 1
        self.has_ended.set()


@pytest.fixture(autouse=True)
def _short_tail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playout_watch, "PLAYOUT_TAIL_S", 0.0)


async def later() -> None:
    """Come back when the timers that are due by now have fired."""
    due = asyncio.Event()
    asyncio.get_running_loop().call_later(0.001, due.set)
    await due.wait()


async def test_the_end_is_told_once_for_each_wait() -> None:
    said = Said()
    said.watch.wait()
    said.watch.look()
    said.watch.look()
    await said.has_ended.wait()
    said.watch.look()
    await later()
    assert said.ends == 1


async def test_nothing_is_told_while_something_is_left_or_nobody_waits() -> None:
    said = Said()
    said.watch.look()
    said.is_over = False
    said.watch.wait()
    said.watch.look()
    await later()
    assert said.ends == 0


async def test_what_is_said_meanwhile_is_waited_for_as_well() -> None:
    said = Said()
    said.watch.wait()
    said.watch.look()
    said.is_over = False
    await later()
    assert said.ends == 0
    said.is_over = True
    said.watch.look()
    await said.has_ended.wait()


async def test_an_end_that_nobody_waits_for_any_more_is_not_told() -> None:
    said = Said()
    said.watch.wait()
    said.watch.look()
    said.watch.forget()
    said.watch.look()
    await later()
    assert said.ends == 0
