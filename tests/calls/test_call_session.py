"""What is asked of a call's session when there is none is lost; what a caller hears is silenced all the same."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from gateway.calls import events as e
from gateway.calls.brief import CallBrief
from gateway.calls.call_session import CallSession, SessionCommand, SessionLinks
from gateway.calls.line import Line
from gateway.calls.record import CallRecord
from gateway.calls.services import CallServices
from gateway.calls.spending import CallSpending
from gateway.calls.tools.desk import ToolDesk


class Flushed:
    """A line, and how often what is queued at it was dropped; also desk and spending, which are left."""

    def __init__(self) -> None:
        self.flushes = 0
        self.leaves = 0

    def flush(self) -> None:
        self.flushes += 1

    def leave(self) -> None:
        self.leaves += 1


def no_session(at: Flushed) -> CallSession:
    return CallSession(
        cast("CallServices", None),
        cast("CallBrief", None),
        cast("CallRecord", None),
        SessionLinks(line=lambda: cast("Line", at), dispatch=lambda _event: None, on_quiet=lambda: None),
        tools=cast("ToolDesk", at),
        spending=cast("CallSpending", at),
        tasks=lambda: cast("asyncio.TaskGroup", None),
    )


@pytest.mark.parametrize(
    "command",
    [
        e.Greet(),
        e.BridgeAudio(is_open=True),
        e.ReplyToTool(call_id="c", output={}),
        e.TellModel(text="x"),
        e.ShortenAnswers(),
    ],
)
def test_what_a_session_would_be_told_is_lost_without_one(command: SessionCommand) -> None:
    at = Flushed()
    no_session(at).do(command)
    assert (at.flushes, at.leaves) == (0, 0)


def test_a_file_is_silenced_where_no_model_speaks() -> None:
    at = Flushed()
    no_session(at).do(e.BargeIn())
    assert at.flushes == 1


def test_tools_and_budgets_of_a_session_are_left_with_it() -> None:
    at = Flushed()
    no_session(at).do(e.CloseSession())
    assert (at.flushes, at.leaves) == (0, 2)


async def test_a_session_that_is_not_there_is_silent_and_closed() -> None:
    session = no_session(Flushed())
    session.append_audio(b"\x00")
    session.note_heard("item")
    session.move(1)
    session.abandon()
    session.stop_opening()
    await session.close()
    assert not session.is_speaking
