"""What is asked of a call's session when there is none is lost; what a caller hears is silenced all the same."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import cast

import pytest

from gateway.calls import events as e
from gateway.calls.brief import CallBrief
from gateway.calls.conversation.call_session import CallSession, SessionCommand, SessionLinks
from gateway.calls.lines.line import Line
from gateway.calls.record import CallRecord
from gateway.calls.services import CallServices
from gateway.calls.spending import CallSpending
from gateway.calls.tools.desk import ToolDesk
from gateway.dialplan import actions as a
from gateway.dialplan import triggers as t
from gateway.dialplan.model import Match, Route, SessionPlan
from gateway.realtime.session import SessionOptions
from gateway.sip.message import Uri
from tests.support.bare_plan import BARE_PLAN
from tests.support.call_house import CallHouse, play_out
from tests.support.wire import PBX, description


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


def test_a_session_is_opened_with_what_escalations_wait_for_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    base = SessionOptions(provider="scripted", url="ws://x", transcription_model="m", transcription_keywords=("Acme",))
    monkeypatch.setattr("tests.support.call_house._AnySession.__getitem__", lambda _self, _name: base)
    elsewhere = t.Circumstances(sessions=("support",))
    plan = replace(
        BARE_PLAN,
        sessions={"desk": SessionPlan(name="desk", use="default", greeting=None, instructions=None, tools=())},
        routes=(Route(name="talk", match=Match(), actions=(a.SessionAction(name="desk"),)),),
        escalations=(
            t.Escalation(name="human", trigger=t.Said(("a human",)), actions=()),
            t.Escalation(name="other", trigger=t.Said(("an engineer",)), actions=(), circumstances=elsewhere),
        ),
    )
    house = CallHouse(plan, lambda _party, _event, _now: None)

    async def script() -> None:
        uri, offer = Uri.parse("sip:7000@10.0.0.1"), description(PBX.host, 20000)
        house.pbx.user_agent.invite("gateway", uri, offer=offer, now=house.wire.now)
        await house.live(1)
        for call in list(house.manager._calls):
            call.hang_up()
        await house.live(10)

    play_out(house, script)
    assert [session.options.transcription_keywords for session in house.sessions] == [("Acme", "a human")]
