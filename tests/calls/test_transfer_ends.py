"""Each way in which a transfer may end: the log, the contact's web service and the model are told the same of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from gateway.calls import events as e
from gateway.calls.call import Call
from gateway.calls.tools.services import ToolServices
from gateway.calls.transfers.refusal import Refusal
from gateway.calls.transfers.report import TransferReport
from gateway.calls.transfers.state import TransferState as S
from gateway.calls.transfers.transfer import TransferAttempt
from gateway.dialplan.contacts import TransferMode
from gateway.dialplan.model import CallFacts
from gateway.dialplan.request_template import parse_url_template
from tests.calls.test_call import NOON, feed, plan_of, transfer
from tests.calls.test_transfer_report import FACTS, record
from tests.support.http_server import HttpServer

PLAN = """
version: 1
name: ends
timezone: UTC
contacts:
  sales: {dial: [sip:6001], mode: %s, summary: [webhook], webhook: {url: "https://crm.example/"}}
sessions:
  reception: {use: default, tools: [transfer]}
routes: [{name: talk, do: [{session: reception}]}]
"""
BLIND, ATTENDED, WARM = TransferMode.BLIND, TransferMode.ATTENDED, TransferMode.WARM
RINGING = e.TargetProgressed(status=180)
PICKED_UP = (RINGING, e.TargetAnswered())
TAKEN = (*PICKED_UP, e.TargetPressed(digit="1"))
LEFT = (e.TargetLeft(), e.TimerFired(timer=e.TimerName.JOIN))


def reported(status: int, reason: str, *, is_notified: bool = True) -> e.TransferReported:
    return e.TransferReported(status=status, reason=reason, is_final=True, is_notified=is_notified)


def fired(timer: e.TimerName) -> e.TimerFired:
    return e.TimerFired(timer=timer)


@dataclass(frozen=True)
class End:
    """What a transfer comes to: `state` and `why` in the log; the web service is told `web`, the model `why`."""

    mode: TransferMode
    events: Sequence[e.Event]
    state: S
    why: str = ""
    web: str = "failed"
    ends: tuple[e.Outcome, str] | None = None
    """How the call ends; None: the caller is back with the model."""


BUSY = e.TargetRefused(refusal=Refusal.BUSY, status=486, reason="Busy Here")
GONE = (e.Outcome.CALLER_HUNG_UP, "remote_bye during transfer to sales")
JOINED = (e.Outcome.TRANSFERRED, "sales")
OURS = e.Outcome.GATEWAY_HUNG_UP
NO_ACK = "session_expired during transfer to sales"
UNDER_WAY = {
    "asked": (BLIND, ()),
    "asked and rings": (BLIND, (e.TransferReported(status=180, reason="Ringing", is_final=False),)),
    "called": (WARM, ()),
    "rings": (ATTENDED, (RINGING,)),
    "whispered to": (WARM, PICKED_UP),
    "taken by a key": (WARM, TAKEN),
    "left by the contact": (WARM, (*TAKEN, *LEFT)),
}
FAULTS: dict[str, tuple[e.Event, S, str, tuple[e.Outcome, str]]] = {
    "caller": (e.CallerLeft(cause="remote_bye"), S.CALLER_GONE, "the caller hung up", GONE),
    "lost": (
        e.CallerLeft(cause="session_expired"),
        S.CALL_ENDED,
        f"the call was ended: {NO_ACK}",
        (e.Outcome.CALLER_HUNG_UP, NO_ACK),
    ),
    "limit": (
        fired(e.TimerName.LIMIT),
        S.CALL_ENDED,
        "the call was ended: limits.max_call",
        (OURS, "limits.max_call"),
    ),
    "drain": (e.DrainEnded(), S.CALL_ENDED, "the call was ended: drain", (OURS, "drain")),
    "operator": (e.HangUpAsked(), S.CALL_ENDED, "the call was ended: operator", (OURS, "operator")),
    "fault": (
        e.CommandFailed(reason="no port"),
        S.CALL_ENDED,
        "the call was ended: no port",
        (e.Outcome.FAILED, "no port"),
    ),
}
ENDS = {
    "blind, busy": End(BLIND, [reported(486, "Busy Here")], S.FAILED, "busy (486 Busy Here)"),
    "blind, refused": End(BLIND, [reported(403, "No", is_notified=False)], S.FAILED, "rejected (403 No)"),
    "blind, no result": End(
        BLIND, [reported(408, "no result in time")], S.TIMED_OUT, "no result in time (408 no result in time)"
    ),
    "blind, taken": End(BLIND, [reported(200, "OK")], S.HANDED_OVER, web="joined", ends=JOINED),
    "busy": End(ATTENDED, [RINGING, BUSY], S.FAILED, "busy (486 Busy Here)"),
    "no answer": End(ATTENDED, [RINGING, fired(e.TimerName.RING)], S.TIMED_OUT, "no answer"),
    "refused by a key": End(WARM, [*PICKED_UP, e.TargetPressed(digit="2")], S.FAILED, "declined (by a key)"),
    "hung up on the whisper": End(WARM, [*PICKED_UP, e.TargetLeft()], S.FAILED, "declined (hung up)"),
    "no key": End(
        WARM,
        [*PICKED_UP, *[e.WhisperEnded(), fired(e.TimerName.ACCEPT)] * 2],
        S.TIMED_OUT,
        "no answer (no key was pressed)",
    ),
    "hung up, and the PBX says so": End(
        WARM, [*TAKEN, e.TargetLeft(), reported(603, "Decline")], S.FAILED, "declined (603 Decline)"
    ),
    "hung up, and the PBX says nothing": End(WARM, [*TAKEN, *LEFT, e.CallerFound()], S.FAILED, "declined (hung up)"),
    "joined by the PBX": End(ATTENDED, [*PICKED_UP, reported(200, "OK")], S.HANDED_OVER, web="joined", ends=JOINED),
    **{
        f"{how} while {name}": End(mode, [*events, event], state, why, ends=ends)
        for name, (mode, events) in UNDER_WAY.items()
        for how, (event, state, why, ends) in FAULTS.items()
    },
}


@pytest.mark.parametrize("name", ENDS)
async def test_all_who_are_told_how_a_transfer_ended_are_told_the_same(tmp_path: Path, name: str) -> None:
    end = ENDS[name]
    plan = plan_of(tmp_path, PLAN % end.mode.value)
    log: list[TransferAttempt] = []
    facts = CallFacts(to="7000", from_="1001", at=NOON)
    call = Call(plan=plan, actions=plan.decide(facts).actions, on_transfer=log.append)
    asked = transfer("sales")
    feed(call, e.Started(), e.SessionOpened(), e.Established(), asked, e.PlayoutEnded())
    commands = feed(call, *end.events)
    assert (log[-1].state, log[-1].why) == (end.state, end.why)
    assert call.notes.transfer_state is end.state
    replies = [command.output for command in commands if isinstance(command, e.ReplyToTool)]
    if end.ends is None:
        assert replies == [{"status": "failed", "reason": end.why}]
        assert call.notes.transfer_target is None
    else:
        assert (call.notes.outcome, call.notes.cause) == end.ends
        assert replies == []
    assert await told(plan.contacts["sales"].webhook, log, is_blind=end.mode is BLIND) == (end.web, end.why)


async def told(request: object, log: Sequence[TransferAttempt], *, is_blind: bool) -> tuple[str, str]:
    """What the web service is told of the end: once."""
    async with HttpServer() as server:
        services = ToolServices()
        report = TransferReport(
            services,
            replace(request, url=parse_url_template(f"{server.url}/x")),  # type: ignore[type-var]
            contact="sales",
            is_blind=is_blind,
            record=record(),
            facts=FACTS,
            summary=None,
        )
        for attempt in log:
            report.note(attempt)
        await services.close()
    last = [json.loads(asked.body) for asked in server.asked if b'"ringing"' not in asked.body]
    [final] = [told for told in last if told["state"] != "referred"]
    return final["state"], final["why"]
