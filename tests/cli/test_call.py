"""`gateway call` over loopback: a telephone that is a program is called, and talks to a scripted model."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import pytest

from gateway.calls.answering import AnsweredBy
from gateway.calls.events import Outcome
from gateway.calls.record import CallRecord, Speaker, Speech
from gateway.calls.transfers.refusal import Refusal
from gateway.cli.call import PlacedCall, _Witness, choose_plan, choose_trunk, place_call
from gateway.cli.service import Service, load_plans
from gateway.config import Configuration, load_configuration
from gateway.dialplan.facts import CallFacts
from gateway.dialplan.targets import parse_target
from gateway.errors import ConfigurationError, ResourceError
from gateway.simulate.phone import Phone, PhoneOptions, free_sip_port
from gateway.simulate.phone_call import PhoneCall
from gateway.sip import events as sip_events
from gateway.sip.message import Address
from gateway.sip.sdp import negotiate
from tests.cli.test_service import Notebook
from tests.support.aio import eventually
from tests.support.listening import tone, tone_seconds
from tests.support.realtime_server import RealtimeServer
from tests.support.realtime_server import Speech as Spoken

GREETING_HZ, CALLEE_HZ, EARLY_HZ = 1000, 700, 450
PLAN = """
version: 1
name: outgoing
timezone: UTC
contacts: {sales: {dial: [sip:6001]}}
sessions:
  reminder: {use: default, greeting: "Good morning.", tools: [hang_up]}
  survey: {use: default}
routes: [{name: none, do: [{reject: 603}]}]
"""
CONFIGURATION = """
sip:
  listen: %(listen)s
  trunks: {phones: {peer: "%(peer)s"}}
media: {rtp: {ports: 45000-45199}}
realtime: {default: {provider: openai, url: %(url)s, api_key: test, model: test, transcription: test}}
dialplans: [plan.yaml]
"""


class EarlyPhone(Phone):
    """Plays early media to whoever calls, and answers when it is told to."""

    offered: sip_events.CallOffered | None = None

    def _on_offered(self, event: sip_events.CallOffered) -> None:
        self.offered = event
        assert event.offer is not None
        port = self.media.ports.open()
        call = self.calls[event.leg_id] = PhoneCall(self.media, event.leg_id, port, self.hang_up)
        answer, stream = negotiate(event.offer, self._local_media(port, call.srtp))
        self._agree(call, stream)
        self.user_agent.progress(event.leg_id, 183, time.monotonic(), answer=answer)
        self.incoming.put_nowait(call)

    def pick_up(self, call: PhoneCall) -> None:
        assert self.offered is not None
        assert self.offered.offer is not None
        answer, _ = negotiate(self.offered.offer, self._local_media(call.port, call.srtp))
        self.user_agent.answer(call.leg_id, answer, time.monotonic())
        self._endpoint.transmit()


class SilentPhone(Phone):
    """Responds nothing at all to whoever calls."""

    async def __aenter__(self) -> Self:
        phone = await super().__aenter__()
        self.user_agent.receive_datagram = lambda *_heard: None  # type: ignore[method-assign]
        return phone


@dataclass
class Desk:
    """A configuration whose trunk is `phone`, and what the command said."""

    configuration: Configuration
    phone: Phone
    provider: RealtimeServer
    said: list[str] = field(default_factory=list)

    def call(
        self, number: str = "6001", session: str | None = "reminder", **variables: str
    ) -> asyncio.Task[PlacedCall]:
        placing = place_call(
            self.configuration,
            parse_target(number),
            session=session,
            trunk=None,
            say=self.said.append,
            variables=variables,
        )
        return asyncio.create_task(placing)

    async def taken(self) -> PhoneCall:
        return await asyncio.wait_for(self.phone.incoming.get(), 5)


OpenDesk = Callable[..., "asyncio.Future[Desk]"]


@pytest.fixture
async def open_desk(tmp_path: Path) -> AsyncIterator[Callable[..., object]]:
    async with AsyncExitStack() as stack:

        async def build(kind: type[Phone] = Phone, *, answers: bool = True, **provider: object) -> Desk:
            server = await stack.enter_async_context(RealtimeServer(**provider))  # type: ignore[arg-type]
            gateway = Address("127.0.0.1", free_sip_port("127.0.0.1"))
            options = PhoneOptions(peers={"gateway": gateway}, rtp_ports=(45200, 45399), answers=answers)
            phone = await stack.enter_async_context(kind(options))
            (tmp_path / "plan.yaml").write_text(PLAN)
            file = tmp_path / "gateway.yaml"
            values = {"listen": str(gateway), "peer": str(phone.address), "url": server.url}
            file.write_text(CONFIGURATION % values)
            return Desk(load_configuration(file, {}), phone, server)

        yield build


def greeting() -> Spoken:
    return Spoken(audio=tone(GREETING_HZ, 0.5, rate_hz=24000).astype("<i2").tobytes(), text="Good morning.")


async def test_callee_hears_the_greeting_and_is_heard_by_the_model(open_desk: OpenDesk) -> None:
    desk = await open_desk(replies=[greeting()])
    placing = desk.call()
    call = await desk.taken()
    session = await desk.provider.session()
    await eventually(lambda: tone_seconds(call.heard(), GREETING_HZ) > 0.4, 3)
    before = session.appended_ms
    call.say(tone(CALLEE_HZ, 0.5))
    await eventually(lambda: session.appended_ms > before + 400, 3)
    call.hang_up()
    placed = await asyncio.wait_for(placing, 10)
    assert placed.is_ok
    assert placed.record.outcome is Outcome.CALLEE_HUNG_UP
    assert desk.said == ["dialling", "ringing", "answered", "agent: Good morning."]
    told = placed.as_json()
    assert (told["ok"], told["number"], told["refusal"]) == (True, "sip:6001", None)
    heard = [(said["text"], said["heard"]) for said in told["transcript"]]  # type: ignore[attr-defined]
    assert heard == [("Good morning.", "Good morning.")]


async def test_callee_who_is_busy_ends_the_call_with_the_reason(open_desk: OpenDesk) -> None:
    desk = await open_desk(answers=False, replies=[greeting()])
    placed = await asyncio.wait_for(desk.call(), 10)
    assert not placed.is_ok
    assert (placed.record.outcome, placed.record.refusal) == (Outcome.REFUSED, Refusal.BUSY)
    assert placed.summary() == "sip:6001: busy (486 Busy Here)"
    assert placed.as_json()["refusal"] == "busy"


async def test_nobody_is_called_while_the_model_cannot_be_reached(open_desk: OpenDesk) -> None:
    desk = await open_desk(is_confirming=False)
    placed = await asyncio.wait_for(desk.call(), 15)
    assert not placed.is_ok
    assert placed.record.outcome is Outcome.FAILED
    assert desk.phone.incoming.empty()
    assert "dialling" not in desk.said


async def test_early_media_is_heard_but_the_model_talks_only_when_the_call_was_answered(open_desk: OpenDesk) -> None:
    desk = await open_desk(EarlyPhone, replies=[greeting()])
    placing = desk.call()
    call = await desk.taken()
    session = await desk.provider.session()
    call.say(tone(EARLY_HZ, 1.0))
    await call.wait_until(800, within_s=3)
    assert session.appended_ms == 0
    assert tone_seconds(call.heard(), GREETING_HZ) < 0.05
    assert "ringing" in desk.said
    assert "answered" not in desk.said
    assert isinstance(desk.phone, EarlyPhone)
    desk.phone.pick_up(call)
    await eventually(lambda: tone_seconds(call.heard(), GREETING_HZ) > 0.4, 3)
    await eventually(lambda: session.appended_ms > 200, 3)
    call.hang_up()
    assert (await asyncio.wait_for(placing, 10)).is_ok


async def test_interrupt_cancels_a_call_that_rings(open_desk: OpenDesk) -> None:
    desk = await open_desk(EarlyPhone, replies=[greeting()])
    placing = desk.call()
    call = await desk.taken()
    await eventually(lambda: "ringing" in desk.said, 3)
    os.kill(os.getpid(), signal.SIGINT)
    placed = await asyncio.wait_for(placing, 10)
    assert not placed.is_ok
    assert placed.record.outcome is Outcome.CANCELLED
    await eventually(call.ended.is_set, 3)


def test_what_was_said_before_an_answer_is_told_with_it_and_what_nobody_heard_is_not() -> None:
    lines: list[str] = []
    witness = _Witness(lines.append)
    now = datetime.now(UTC)
    record = CallRecord(
        call_id="1", trunk="phones", caller="gateway", called="6001", route="none", started_at=now, offered_s=0.0
    )
    greeted = Speech(speaker=Speaker.AGENT, text="Good morning.", at_ms=0)
    witness.spoken(record, greeted)
    placed = PlacedCall(number="sip:6001", record=record, transcript=(greeted,))
    assert placed.as_json()["transcript"] == [{"who": "agent", "text": "Good morning.", "heard": "", "at_ms": 0}]
    assert lines == []
    witness.answered()
    witness.spoken(record, Speech(speaker=Speaker.AGENT, text="Are you there?", at_ms=900, heard_ms=0, heard_text=""))
    witness.spoken(record, Speech(speaker=Speaker.CALLER, text="Hello?", at_ms=900))
    assert lines == ["agent: Good morning.", "callee: Hello?"]


async def test_interrupt_while_the_model_is_awaited_calls_nobody(open_desk: OpenDesk) -> None:
    desk = await open_desk(is_confirming=False)
    placing = desk.call()
    await desk.provider.connection()
    os.kill(os.getpid(), signal.SIGINT)
    placed = await asyncio.wait_for(placing, 5)
    assert (placed.is_ok, placed.record.outcome) == (False, Outcome.CANCELLED)
    assert desk.phone.incoming.empty()


async def test_interrupt_ends_a_call_to_somebody_who_never_responds(open_desk: OpenDesk) -> None:
    desk = await open_desk(SilentPhone, replies=[greeting()])
    placing = desk.call()
    await eventually(lambda: "dialling" in desk.said, 5)
    os.kill(os.getpid(), signal.SIGINT)
    placed = await asyncio.wait_for(placing, 5)
    assert (placed.is_ok, placed.record.outcome) == (False, Outcome.CANCELLED)
    assert placed.summary() == "sip:6001: cancelled"


async def test_interrupt_hangs_up_a_call_that_is_answered(open_desk: OpenDesk) -> None:
    desk = await open_desk(replies=[greeting()])
    placing = desk.call()
    call = await desk.taken()
    await eventually(lambda: "answered" in desk.said, 3)
    os.kill(os.getpid(), signal.SIGTERM)
    placed = await asyncio.wait_for(placing, 10)
    assert (placed.is_ok, placed.record.outcome) == (True, Outcome.GATEWAY_HUNG_UP)
    assert call.ended_by_peer


async def test_taken_port_is_told_with_the_way_around_it(open_desk: OpenDesk) -> None:
    desk = await open_desk()
    listen = desk.configuration.listen
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(listen)
        with pytest.raises(ResourceError, match=r"GATEWAY__SIP__LISTEN=127\.0\.0\.1:\d+ gateway call"):
            await asyncio.wait_for(desk.call(), 10)


async def test_session_is_the_one_named_or_the_only_one(open_desk: OpenDesk, tmp_path: Path) -> None:
    desk = await open_desk()
    plans = load_plans(desk.configuration)
    facts = CallFacts(to="6001", from_="gateway", at=datetime.now(UTC), is_outgoing=True)
    unrouted = r"NUMBER: no dialplan has a route .*to 6001 \(.*--session .*reminder, survey, or .*direction: outgoing"
    with pytest.raises(ConfigurationError, match=unrouted):
        choose_plan(plans, None, facts, {})
    assert choose_plan(plans, "reminder", facts, {})[1] == "reminder"
    assert choose_plan(plans, "survey", facts, {})[1] == "survey"
    with pytest.raises(ConfigurationError, match=r"--session: no dialplan has a session surve .*reminder, survey"):
        choose_plan(plans, "surve", facts, {})
    with pytest.raises(ConfigurationError, match=r"--set: dialplan \S+ does not begin with a variable day"):
        choose_plan(plans, "survey", facts, {"day": "Monday"})
    (tmp_path / "plan.yaml").write_text(PLAN.replace("  survey: {use: default}\n", ""))
    assert choose_plan(load_plans(desk.configuration), None, facts, {})[1] == "reminder"
    assert choose_trunk(desk.configuration, None) == "phones"
    with pytest.raises(ConfigurationError, match=r"--trunk: .*expected one of phones"):
        choose_trunk(desk.configuration, "carrier")


REMINDER = """\
version: 1
name: reminders
timezone: UTC
vars: {day: soon}
contacts: {}
sessions:
  reminder: {use: default, greeting: Hello., instructions: "The appointment is on {vars.day}."}
routes:
  - name: called-back
    do: [{hang_up: true}]
  - name: reminder
    match: {direction: outgoing, to: "60*"}
    do: [{menu: {1: [{session: reminder}], timeout: [{hang_up: true}], wait: 3s, tries: 1}}]
"""


async def test_a_call_of_ours_goes_by_the_plans_route_for_such_calls(open_desk: OpenDesk, tmp_path: Path) -> None:
    desk = await open_desk(replies=[greeting()])
    (tmp_path / "plan.yaml").write_text(REMINDER)
    placing = desk.call(session=None, day="Friday")
    call = await desk.taken()
    await eventually(lambda: "answered" in desk.said, 3)
    call.press("1")
    sessions = desk.provider.sessions
    await eventually(lambda: bool(sessions) and "Friday" in str(sessions[-1].config["instructions"]), 3)
    call.hang_up()
    placed = await asyncio.wait_for(placing, 10)
    assert (placed.is_ok, placed.as_json()["route"]) == (True, "reminder")
    assert desk.said.count("answered") == 1


async def test_what_is_done_before_a_call_of_ours_is_dialled_is_no_answer(open_desk: OpenDesk, tmp_path: Path) -> None:
    desk = await open_desk(answers=False)
    hook = '[{hook: {url: "http://127.0.0.1:9/", timeout: 1s}}, {menu:'
    (tmp_path / "plan.yaml").write_text(REMINDER.replace("[{menu:", hook))
    placed = await asyncio.wait_for(desk.call(session=None), 10)
    assert (placed.is_ok, placed.record.refusal) == (False, Refusal.BUSY)
    assert desk.said[0] == "dialling"
    assert "answered" not in desk.said


async def test_a_call_of_ours_without_a_route_is_not_placed(open_desk: OpenDesk, tmp_path: Path) -> None:
    desk = await open_desk()
    no_session = REMINDER.replace("{session: reminder}", "{hang_up: true}").replace("sessions:", "sessions: {}\n#")
    (tmp_path / "plan.yaml").write_text(no_session.replace("  reminder: {use", "# "))
    with pytest.raises(ConfigurationError, match="no dialplan has a session"):
        await asyncio.wait_for(desk.call("7001", None), 10)
    assert desk.phone.incoming.empty()


async def test_verdict_of_a_detector_of_answering_machines_is_recorded(open_desk: OpenDesk) -> None:
    class Detector:
        """Takes its time, then knows a machine."""

        heard_bytes = 0

        def hear(self, audio: bytes) -> AnsweredBy | None:
            self.heard_bytes += len(audio)
            return AnsweredBy.MACHINE if self.heard_bytes >= 48 * 200 else None

    desk = await open_desk(replies=[greeting()])
    plans, notebook = load_plans(desk.configuration), Notebook()
    detector = Detector()
    async with Service(desk.configuration, notebook, plans, takes_calls=False) as service:
        placed = service.calls.place("phones", parse_target("6001"), plans[0], "reminder", detector=detector)
        call = await desk.taken()
        await eventually(lambda: placed.record.answered_by is AnsweredBy.MACHINE, 5)
        call.hang_up()
        await eventually(lambda: bool(notebook.ended), 5)
    record: CallRecord = notebook.ended[0]
    assert (record.answered_by, record.caller, record.called) == (AnsweredBy.MACHINE, "gateway", "6001")
    assert detector.heard_bytes < 48 * 300


async def test_gateway_started_for_a_call_takes_none(open_desk: OpenDesk) -> None:
    desk = await open_desk()
    async with Service(desk.configuration, Notebook(), load_plans(desk.configuration), takes_calls=False):
        call = desk.phone.dial("gateway", "7000")
        await eventually(call.ended.is_set, 3)
    assert call.refused == 503
