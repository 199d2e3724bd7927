"""The whole gateway over loopback: a telephone that is a program on one side, a scripted provider on the other."""

from __future__ import annotations

import asyncio
import audioop
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from pathlib import Path

import dns.rcode
import numpy as np
import pytest
from structlog.testing import capture_logs

from gateway.calls.events import Outcome
from gateway.calls.record import CallRecord, Speech
from gateway.cli.service import Service, load_plans
from gateway.config import load_configuration
from gateway.dialplan.triggers import Escalation
from gateway.errors import ResourceError
from gateway.realtime.prices import Price, Rates
from gateway.records.day_file import DayFile
from gateway.simulate.phone import Phone, PhoneOptions, free_sip_port
from gateway.simulate.phone_call import PhoneCall
from gateway.sip import events as sip_events
from gateway.sip.hop import Hop
from gateway.sip.message import Address, Request, make_response, parse_message
from gateway.sip.reject_reason import RejectReason
from gateway.sip.sdes import SrtpPolicy
from gateway.sip.sdp import Direction
from gateway.transport.load_watch import LoadWatch
from gateway.transport.tls import TlsOptions, load_tls
from tests.support import media_flood
from tests.support.aio import eventually
from tests.support.certificates import Authority
from tests.support.listening import tone, tone_seconds
from tests.support.listening import write_wav as write_tone
from tests.support.name_server import NameServer, Records
from tests.support.provider_server import HttpRefusal
from tests.support.realtime_server import Call, Failure, InBandRefusal, RealtimeServer, Reply, ServerSession, ToolCalls
from tests.support.realtime_server import Speech as Spoken

GREETING_HZ, ANSWER_HZ, CALLER_HZ, LAST_HZ = 1000, 1600, 700, 2300

PLAN = """
version: 1
name: loopback
timezone: UTC
contacts:
  sales: {dial: [sip:6001]}
  nobody: {dial: [sip:6999]}
sessions:
  reception: {use: default, greeting: "Welcome.", instructions: "Be kind.", tools: [transfer, hang_up]}
routes:
  - {name: talk, match: {to: "7000"}, do: [{session: reception}]}
  - {name: no, match: {to: "7001"}, do: [{reject: 603}]}
"""
DOWN = """
escalations:
  - {name: down, when: {provider_down: true}, do: [{transfer: sales}]}
"""
OTHER = """
escalations:
  - {name: other, when: {dtmf: "1"}, do: [{session: other}]}
"""
JINGLE = """
escalations:
  - {name: jingle, when: {dtmf: "2"}, do: [{play: jingle.wav}]}
"""
ZERO = """
escalations:
  - {name: zero, when: {dtmf: "0"}, do: [{transfer: sales}]}
"""
CONFIGURATION = """
sip:
  listen: %(listen)s
  trunks: {phones: {peer: "%(phone)s", codecs: [%(codecs)s], %(trunk)s}}
media: {rtp: {ports: 44000-44399}}
realtime:
  default:
    provider: openai
    url: %(url)s
    api_key: test
    model: test
    audio: %(audio)s
    connect_timeout: 2s
    transcription: test
dialplans: [plan.yaml]
limits: {max_calls: 2, cpu: 0, lag: 0}  # this process runs everybody's part
"""


def pcm24(frequency_hz: float, duration_s: float) -> bytes:
    """A tone as the provider sends it."""
    return tone(frequency_hz, duration_s, rate_hz=24000).astype("<i2").tobytes()


@dataclass
class Notebook:
    """Records of calls that have ended, and what was said."""

    ended: list[CallRecord] = field(default_factory=list)
    said: list[Speech] = field(default_factory=list)

    def call_started(self, record: CallRecord) -> None:
        pass

    def spoken(self, _record: CallRecord, speech: Speech) -> None:
        self.said.append(speech)

    def escalated(self, record: CallRecord, escalation: Escalation) -> None: ...

    def party_changed(self, record: CallRecord) -> None:
        pass

    def call_ended(self, record: CallRecord) -> None:
        self.ended.append(record)


@dataclass
class House:
    """Everything under one roof."""

    phone: Phone
    human: Phone
    provider: RealtimeServer
    service: Service
    notebook: Notebook

    async def talk(self, number: str = "7000") -> tuple[PhoneCall, ServerSession]:
        """A call that is up, and the provider's side of it."""
        call = self.phone.dial("gateway", number)
        session = await self.provider.session()
        async with asyncio.timeout(5):
            await call.answered.wait()
        return call, session

    async def record(self, count: int = 1) -> CallRecord:
        """The record of the call that ended last."""
        await eventually(lambda: len(self.notebook.ended) >= count, 5)
        return self.notebook.ended[-1]

    def tools(self, session: ServerSession) -> dict[str, dict[str, object]]:
        """The tools offered to the provider, by name."""
        update = next(event for event in session.events if event["type"] == "session.update")
        return {tool["name"]: tool for tool in update["session"]["tools"]}


Open = Callable[..., "asyncio.Future[House]"]


@pytest.fixture
async def open_house(tmp_path: Path) -> AsyncIterator[Callable[..., object]]:
    async with AsyncExitStack() as stack:

        async def build(
            *,
            plan: str = PLAN,
            audio: str = "pcm16",
            codecs: str = "PCMU, PCMA",
            environment: Mapping[str, str] | None = None,
            trunk: str = "",
            srtp: SrtpPolicy = SrtpPolicy.OFF,
            kind: type[Phone] = Phone,
            **provider: object,
        ) -> House:
            server = await stack.enter_async_context(RealtimeServer(**provider))  # type: ignore[arg-type]
            gateway = Address("127.0.0.1", free_sip_port("127.0.0.1"))
            human = await stack.enter_async_context(
                Phone(PhoneOptions(user="human", peers={"x": Address("127.0.0.1", 9)}, answers=True))
            )
            peers = {"gateway": gateway, "6001": human.address, "6002": Address("127.0.0.1", 9)}  # nobody is at 9
            phone = await stack.enter_async_context(
                kind(PhoneOptions(peers=peers, rtp_ports=(42000, 42399), srtp=srtp, answers=kind is not Phone))
            )
            (tmp_path / "plan.yaml").write_text(plan)
            write_tone(tmp_path / "jingle.wav", tone(LAST_HZ, 1.0))
            file = tmp_path / "gateway.yaml"
            file.write_text(
                CONFIGURATION
                % {
                    "listen": f"127.0.0.1:{gateway.port}",
                    "phone": f"127.0.0.1:{phone.address.port}",
                    "url": server.url,
                    "audio": audio,
                    "codecs": codecs,
                    "trunk": trunk,
                }
            )
            configuration = load_configuration(file, environment or {})
            notebook = Notebook()
            service = await stack.enter_async_context(Service(configuration, notebook, load_plans(configuration)))
            return House(phone=phone, human=human, provider=server, service=service, notebook=notebook)

        yield build


@asynccontextmanager
async def ended(call: PhoneCall) -> AsyncIterator[None]:
    """Hang up afterwards."""
    yield
    call.hang_up()


def greeting(duration_s: float = 1.0) -> list[Reply]:
    return [Spoken(audio=pcm24(GREETING_HZ, duration_s), text="Welcome.")]


async def test_greeting_is_heard_at_the_telephone_whole_and_at_its_pitch(open_house: Open) -> None:
    house = await open_house(replies=greeting(1.0))
    call, session = await house.talk()
    await call.wait_for_speech(from_ms=0, within_s=3)
    await call.wait_for_silence(lasting_ms=300, within_s=5)
    assert tone_seconds(call.heard(), GREETING_HZ) == pytest.approx(1.0, abs=0.15)
    assert '"Welcome."' in (await session.received("response.create"))["response"]["instructions"]


async def test_telephone_rings_and_is_not_answered_before_the_session_is_confirmed(open_house: Open) -> None:
    house = await open_house(is_confirming=False)
    call = house.phone.dial("gateway", "7000")
    await eventually(lambda: call.rang, 2)
    await eventually(lambda: house.provider.sessions and house.provider.sessions[0].kinds(), 2)
    assert not call.answered.is_set()
    await eventually(call.ended.is_set, 5)
    assert call.refused == 503


@pytest.mark.parametrize("audio", ["pcm16", "g711"])
async def test_callers_voice_reaches_the_provider_at_its_speed_and_pitch(open_house: Open, audio: str) -> None:
    house = await open_house(audio=audio)
    call, session = await house.talk()
    call.say(tone(CALLER_HZ, 1.0))
    rate_hz, size = (24000, 48000) if audio == "pcm16" else (8000, 8000)
    raw = await session.wait_for_audio(round(size * 1.6))
    pcm = np.frombuffer(audioop.ulaw2lin(raw, 2) if audio == "g711" else raw, "<i2")
    assert tone_seconds(pcm, CALLER_HZ, rate_hz=rate_hz) == pytest.approx(1.0, abs=0.15)


LAWS = {
    "PCMU": ("audio/pcmu", audioop.lin2ulaw, audioop.ulaw2lin),
    "PCMA": ("audio/pcma", audioop.lin2alaw, audioop.alaw2lin),
}


def octets_of_a_tone(law: str, frequency_hz: float, duration_s: float) -> bytes:
    return LAWS[law][1](tone(frequency_hz, duration_s).astype("<i2").tobytes(), 2)


@pytest.mark.parametrize("law", LAWS)
async def test_g711_of_the_callers_law_passes_untouched_in_both_directions(open_house: Open, law: str) -> None:
    said, answered = octets_of_a_tone(law, CALLER_HZ, 1.0), octets_of_a_tone(law, GREETING_HZ, 1.0)
    house = await open_house(audio="g711", codecs=law, replies=[Spoken(audio=answered, text="Welcome.")])
    call, session = await house.talk()
    formats = (await session.received("session.update"))["session"]["audio"]
    assert (formats["input"]["format"], formats["output"]["format"]) == ({"type": LAWS[law][0]}, {"type": LAWS[law][0]})
    call.say(np.frombuffer(LAWS[law][2](said, 2), "<i2"))
    await eventually(lambda: said in session.audio, 4)
    heard = np.frombuffer(LAWS[law][2](answered, 2), "<i2").tobytes()
    await eventually(lambda: heard in call.heard().tobytes(), 4)


@pytest.mark.parametrize("law", LAWS)
async def test_interrupted_g711_is_truncated_where_it_was_cut(open_house: Open, law: str) -> None:
    house = await open_house(audio="g711", codecs=law, replies=[Spoken(audio=octets_of_a_tone(law, GREETING_HZ, 8.0))])
    call, session = await house.talk()
    heard_from_ms = await call.wait_for_speech(from_ms=0, within_s=3)
    await call.wait_until(heard_from_ms + 600, within_s=5)
    await session.start_speech()
    truncated = await session.received("conversation.item.truncate")
    await call.wait_for_silence(lasting_ms=300, within_s=3)
    assert truncated["audio_end_ms"] == pytest.approx(1000 * tone_seconds(call.heard(), GREETING_HZ), abs=40)


async def test_session_in_one_law_outlives_a_change_to_the_other(open_house: Open) -> None:
    house = await open_house(audio="g711", replies=[Spoken(audio=octets_of_a_tone("PCMU", GREETING_HZ, 2.0))])
    call, session = await house.talk()
    await call.wait_for_speech(from_ms=0, within_s=3)
    house.phone._options = replace(house.phone._options, codecs=("PCMA",))
    stream = await house.phone.resume(call)
    assert stream.codec.name == "PCMA"
    call.say(tone(CALLER_HZ, 1.0))
    await call.wait_for_silence(lasting_ms=300, within_s=5)
    assert tone_seconds(call.heard(), GREETING_HZ) == pytest.approx(2.0, abs=0.1)
    assert [event["type"] for event in session.events].count("session.update") == 1
    await eventually(lambda: len(session.audio) > 8000 * 3, 5)
    heard = np.frombuffer(audioop.ulaw2lin(bytes(session.audio), 2), "<i2")
    assert tone_seconds(heard, CALLER_HZ) == pytest.approx(1.0, abs=0.1)


async def test_call_goes_from_g711_to_g722_and_back_while_both_speak(open_house: Open) -> None:
    pytest.importorskip("G722", reason="the `wideband` extra is not installed")
    house = await open_house(codecs="PCMU, G722", replies=greeting(3.0))
    call, session = await house.talk()
    await call.wait_for_speech(from_ms=0, within_s=3)
    call.say(tone(CALLER_HZ, 2.5))
    for codec in ("G722", "PCMU"):
        house.phone._options = replace(house.phone._options, codecs=(codec,))
        stream = await house.phone.resume(call)
        assert stream.codec.name == codec
        await call.wait_until(call.time_ms + 700, within_s=4)
    await call.wait_for_silence(lasting_ms=400, within_s=5)
    call.hang_up()
    record = await house.record()
    assert tone_seconds(call.heard(), GREETING_HZ) == pytest.approx(3.0, abs=0.15)
    heard = np.frombuffer(session.audio[: len(session.audio) // 2 * 2], "<i2")
    assert tone_seconds(heard, CALLER_HZ, rate_hz=24000) == pytest.approx(2.5, abs=0.2)
    assert (record.codec, record.media.packets_lost if record.media else None) == ("PCMU", 0)


async def test_a_key_that_was_refused_is_not_shown_again_by_the_next_calls(open_house: Open) -> None:
    house = await open_house(refusal=InBandRefusal())
    for _ in range(3):
        call = house.phone.dial("gateway", "7000")
        await eventually(call.ended.is_set, 5)
        assert (call.refused, call.refusal_headers.get("Retry-After") is not None) == (503, True)
    assert house.provider.attempts == 1


async def test_a_call_beyond_the_account_s_sessions_is_503_and_the_others_go_on(open_house: Open) -> None:
    house = await open_house(environment={"GATEWAY__REALTIME__DEFAULT__MAX_SESSIONS": "1"}, replies=greeting(0.2))
    first, session = await house.talk()
    second = house.phone.dial("gateway", "7000")
    await eventually(second.ended.is_set, 5)
    assert (second.refused, house.provider.attempts) == (503, 1)
    await session.wait_for_audio(8000)
    first.hang_up()
    await house.record(2)
    third, _ = await house.talk()
    third.hang_up()


async def test_refused_session_is_503_with_retry_after_and_one_attempt(open_house: Open) -> None:
    house = await open_house(refusal=InBandRefusal(code="invalid_api_key", close_code=3000))
    call = house.phone.dial("gateway", "7000")
    await eventually(call.ended.is_set, 5)
    assert call.refused == 503
    assert call.refusal_headers.get("Retry-After") is not None
    assert house.provider.attempts == 1
    record = await house.record()
    assert record.outcome is Outcome.FAILED


async def test_refused_session_takes_the_dialplans_fallback(open_house: Open) -> None:
    house = await open_house(plan=PLAN + DOWN, refusal=InBandRefusal(code="insufficient_quota", close_code=3000))
    call = house.phone.dial("gateway", "7000")
    async with asyncio.timeout(5):
        await call.transfer_requested.wait()
        await call.ended.wait()
    record = await house.record()
    assert (record.outcome, record.escalations) == (Outcome.TRANSFERRED, ("down",))


async def test_interrupted_model_is_silent_at_once_and_remembers_what_was_heard(open_house: Open) -> None:
    house = await open_house(replies=greeting(8.0))
    call, session = await house.talk()
    start_ms = await call.wait_for_speech(from_ms=0, within_s=3)
    await call.wait_until(start_ms + 600, within_s=3)
    await session.start_speech()
    truncated = await session.received("conversation.item.truncate")
    await call.wait_for_silence(lasting_ms=400, within_s=3)
    heard_ms = 1000 * tone_seconds(call.heard(), GREETING_HZ)
    assert 500 < heard_ms < 1500
    assert truncated["audio_end_ms"] == pytest.approx(heard_ms, abs=100)
    assert any(speech.heard_ms == truncated["audio_end_ms"] for speech in house.notebook.said)


async def test_transfer_by_the_model_reaches_the_human_and_ends_in_our_bye(open_house: Open) -> None:
    replies = [*greeting(0.2), ToolCalls(calls=[Call(name="transfer", arguments='{"contact": "sales"}')])]
    house = await open_house(replies=replies)
    call, session = await house.talk()
    assert house.tools(session)["transfer"]["parameters"]["properties"]["contact"]["enum"] == ["sales", "nobody"]  # type: ignore[index]
    await session.end_turn(await session.start_speech(), "Sales please")
    async with asyncio.timeout(5):
        await call.transfer_requested.wait()
        await call.ended.wait()
    assert call.ended_by_peer
    assert call.transfer is not None
    human = await asyncio.wait_for(house.human.incoming.get(), 5)
    human.say(tone(ANSWER_HZ, 0.5))
    call.transfer.say(tone(CALLER_HZ, 0.5))
    await eventually(lambda: tone_seconds(call.transfer.heard(), ANSWER_HZ) > 0.3, 3)  # type: ignore[union-attr]
    await eventually(lambda: tone_seconds(human.heard(), CALLER_HZ) > 0.3, 3)
    record = await house.record()
    assert (record.outcome, record.transfer_target, record.tools) == (Outcome.TRANSFERRED, "sales", 1)


async def test_transfer_waits_until_the_announcing_sentence_was_heard(open_house: Open) -> None:
    house = await open_house(replies=greeting(0.2), is_replying=True)
    call, session = await house.talk()
    await call.wait_for_speech(from_ms=0, within_s=3)
    await call.wait_for_silence(lasting_ms=200, within_s=3)
    spoken_ms = call.time_ms
    await session.start()
    await session.say(pcm24(ANSWER_HZ, 1.0) + pcm24(LAST_HZ, 0.2), "One moment.")
    await session.call([Call(name="transfer", arguments='{"contact": "sales"}')])
    await session.finish()
    async with asyncio.timeout(5):
        await call.transfer_requested.wait()
    assert tone_seconds(call.heard(spoken_ms), LAST_HZ) > 0.06  # its last syllable, too


async def test_failed_transfer_is_told_to_the_model_and_the_caller_stays(open_house: Open) -> None:
    house = await open_house(replies=greeting(0.2))
    call, session = await house.talk()
    await session.start()
    await session.call([Call(name="transfer", arguments='{"contact": "nobody"}')])
    await session.finish()
    item = await session.received("conversation.item.create")
    output = json.loads(item["item"]["output"])
    assert output["status"] == "failed"
    assert "404" in output["reason"]
    assert not call.ended.is_set()
    before = session.appended_ms
    await eventually(lambda: session.appended_ms > before + 100, 3)
    call.hang_up()


async def test_model_cannot_dial_what_the_dialplan_does_not_name(open_house: Open) -> None:
    house = await open_house(replies=greeting(0.2))
    call, session = await house.talk()
    await session.start()
    await session.call([Call(name="transfer", arguments='{"contact": "+4990123456"}')])
    await session.finish()
    item = await session.received("conversation.item.create")
    assert json.loads(item["item"]["output"])["status"] == "failed"
    assert not call.transfer_requested.is_set()
    call.hang_up()
    assert (await house.record()).outcome is Outcome.CALLER_HUNG_UP


async def test_key_of_an_escalation_transfers_and_other_keys_are_told_to_the_model(open_house: Open) -> None:
    house = await open_house(plan=PLAN + ZERO, replies=greeting(0.2))
    call, session = await house.talk()
    call.press("12")
    item = await session.received("conversation.item.create")
    assert "1 2" in item["item"]["content"][0]["text"]
    call.press("0")
    async with asyncio.timeout(5):
        await call.transfer_requested.wait()
        await call.ended.wait()
    assert (await house.record()).escalations == ("zero",)


async def test_keys_are_tones_where_a_trunk_says_so(open_house: Open) -> None:
    house = await open_house(trunk="dtmf: inband", replies=greeting(0.2))
    call, session = await house.talk()
    assert call.stream.telephone_event_payload_type is None  # type: ignore[union-attr]
    call.press("19#")
    item = await session.received("conversation.item.create")
    assert "1 9 #" in item["item"]["content"][0]["text"]
    call.hang_up()


async def test_hang_up_by_the_model_comes_after_its_sentence(open_house: Open) -> None:
    house = await open_house(replies=greeting(0.2))
    call, session = await house.talk()
    await session.start()
    await session.say(pcm24(ANSWER_HZ, 0.5) + pcm24(LAST_HZ, 0.2), "Goodbye.")
    await session.call([Call(name="hang_up")])
    await session.finish()
    await eventually(call.ended.is_set, 5)
    assert call.ended_by_peer
    assert tone_seconds(call.heard(), LAST_HZ) > 0.06  # its last syllable, too


async def test_second_caller_hears_the_greeting_of_the_first_without_asking_the_model(open_house: Open) -> None:
    house = await open_house(replies=greeting(0.5))
    first, _ = await house.talk()
    await eventually(lambda: tone_seconds(first.heard(), GREETING_HZ) > 0.4, 3)
    first.hang_up()
    await house.record()
    second, session = await house.talk()
    await eventually(lambda: tone_seconds(second.heard(), GREETING_HZ) > 0.4, 3)
    assert "response.create" not in session.kinds()
    told = await session.received("conversation.item.create")
    assert told["item"]["role"] == "assistant"
    second.hang_up()
    assert (await house.record(2)).first_audio_ms < 60  # type: ignore[operator]


async def test_hold_keeps_the_call_and_resume_brings_the_voice_back(open_house: Open) -> None:
    house = await open_house(replies=[*greeting(0.2), Spoken(audio=pcm24(ANSWER_HZ, 0.5))])
    call, session = await house.talk()
    assert (await house.phone.hold(call)).direction is Direction.SENDONLY
    held = session.appended_ms
    await eventually(lambda: session.appended_ms > held + 200, 3)
    assert (await house.phone.resume(call)).direction is Direction.SENDRECV
    await session.end_turn(await session.start_speech(), "Hello?")
    await eventually(lambda: tone_seconds(call.heard(), ANSWER_HZ) > 0.3, 3)
    call.hang_up()


async def test_every_change_of_the_session_raises_the_version_of_our_description(
    open_house: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 3264 8: a peer may take a description whose version stayed for the one it knows, and go on holding."""
    house = await open_house(replies=greeting(0.2))
    descriptions = []

    def noting(agree: Callable[..., None]) -> Callable[..., None]:
        def note(*news: object) -> None:
            descriptions.append(news[-1])
            agree(*news)

        return note

    for name in ("_on_answered", "_on_reanswered"):
        monkeypatch.setattr(house.phone, name, noting(getattr(house.phone, name)))
    call, _ = await house.talk()
    await house.phone.hold(call)
    await house.phone.resume(call)
    origins = [description.origin for description in descriptions]
    assert len({(origin.session_id, origin.address) for origin in origins}) == 1
    versions = [origin.version for origin in origins]
    assert versions == [versions[0], versions[0] + 1, versions[0] + 2]
    call.hang_up()


async def test_second_session_takes_the_place_of_the_first_for_good(open_house: Open) -> None:
    plan = PLAN.replace("routes:", '  other: {use: default, greeting: "Other.", tools: [hang_up]}\nroutes:') + OTHER
    house = await open_house(plan=plan, replies=[*greeting(0.2), Spoken(audio=pcm24(ANSWER_HZ, 0.3), text="Other.")])
    call, first = await house.talk()
    call.press("1")
    second = await house.provider.session()
    await eventually(lambda: tone_seconds(call.heard(), ANSWER_HZ) > 0.2, 3)
    await first.wait_closed()
    before = second.appended_ms
    await eventually(lambda: second.appended_ms > before + 100, 3)
    call.hang_up()
    assert (await house.record()).session == "other"


async def test_file_is_heard_alone_and_the_session_goes_on_behind_it(open_house: Open) -> None:
    house = await open_house(plan=PLAN + JINGLE, replies=greeting(0.2))
    call, session = await house.talk()
    await call.wait_for_speech(from_ms=0, within_s=3)
    await call.wait_for_silence(lasting_ms=200, within_s=3)
    call.press("2")
    await eventually(lambda: tone_seconds(call.heard(), LAST_HZ) > 0.1, 3)
    during = session.appended_ms
    await session.start()
    await session.say(pcm24(ANSWER_HZ, 0.2))
    await session.finish()
    await eventually(lambda: tone_seconds(call.heard(), LAST_HZ) > 0.7, 3)
    assert session.appended_ms - during < 150
    assert tone_seconds(call.heard(), ANSWER_HZ) < 0.05
    await eventually(lambda: session.appended_ms > during + 300, 3)
    call.hang_up()


async def test_caller_is_not_left_on_the_line_when_something_fails(
    open_house: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = await open_house(plan=PLAN + JINGLE, replies=greeting(0.2))
    call, _ = await house.talk()

    def fail(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("gateway.calls.step_desk.load_sound", fail)
    call.press("2")
    await eventually(call.ended.is_set, 3)
    assert call.ended_by_peer
    assert (await house.record()).outcome is Outcome.FAILED


async def test_caller_who_falls_silent_on_the_wire_is_let_go_but_not_on_hold(
    open_house: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.calls.lines.peer_watch.LOOK_EVERY_S", 0.1)
    house = await open_house(replies=greeting(0.2))
    for timeout in ("media_start_timeout_s", "media_timeout_s"):
        object.__setattr__(house.service.services, timeout, 0.6)
    call, _ = await house.talk()
    await house.phone.hold(call)
    house.phone.media.engine.set_direction(call.leg, send=False, receive=True)  # type: ignore[arg-type]
    held_ms = call.time_ms
    await eventually(lambda: call.ended.is_set() or call.time_ms > held_ms + 1500, 4)
    assert not call.ended.is_set()
    await house.phone.resume(call)
    house.phone.media.engine.set_direction(call.leg, send=False, receive=True)  # type: ignore[arg-type]
    await eventually(call.ended.is_set, 4)
    assert (await house.record()).cause == "no audio from the caller"


async def test_caller_who_falls_silent_on_the_wire_is_missed_on_time(open_house: Open) -> None:
    house = await open_house(replies=greeting(0.2))
    for timeout in ("media_start_timeout_s", "media_timeout_s"):
        object.__setattr__(house.service.services, timeout, 0.6)
    call, _ = await house.talk()
    house.phone.media.engine.set_direction(call.leg, send=False, receive=True)  # type: ignore[arg-type]
    await eventually(call.ended.is_set, 3)
    assert (await house.record()).cause == "no audio from the caller"


async def test_two_thousand_garbage_datagrams_a_second_at_audio_and_reports_leave_a_call_whole(
    open_house: Open,
) -> None:
    """From the peer's very address, too: they are dropped, and neither end, mute nor garble anything."""
    house = await open_house(replies=greeting(2.5))
    call, _ = await house.talk()
    await call.wait_for_speech(from_ms=0, within_s=3)
    assert call.stream is not None
    host, port = call.stream.remote
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.9", 0))
        sent = await asyncio.to_thread(
            media_flood.flood, [call.port.udp, stranger], [(host, port), (host, port + 1)], 2000, 2
        )
    assert sent >= 1000
    await call.wait_for_silence(lasting_ms=300, within_s=5)
    assert tone_seconds(call.heard(), GREETING_HZ) > 2.2
    assert not call.ended.is_set()
    call.hang_up()
    assert (await house.record()).outcome is Outcome.CALLER_HUNG_UP
    assert house.service.media.failures == 0


async def test_telephone_whose_sockets_are_gone_is_found_in_both_directions_and_ends_by_time_alone(
    open_house: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real ICMP errors: nobody listens on the port that SDP names, and nothing comes from there."""
    monkeypatch.setattr("gateway.calls.lines.peer_watch.LOOK_EVERY_S", 0.1)
    monkeypatch.setattr("gateway.calls.lines.media_watch.NOTHING_FOR_S", 0.4)
    house = await open_house(replies=greeting(0.2))
    await house.talk()
    with capture_logs() as lines:
        house.phone.media.stop()
        await eventually(lambda: any({"rx=0", "tx refused"} <= set(line.get("flaws", ())) for line in lines), 5)
        assert house.service.services.one_way_audio.present == 1
        assert house.service.calls.call_count == 1
        for timeout in ("media_start_timeout_s", "media_timeout_s"):
            object.__setattr__(house.service.services, timeout, 0.5)
        record = await house.record()
    assert record.cause == "no audio from the caller"
    assert {"rx=0", "tx refused"} <= set(record.one_way_audio)
    assert house.service.services.one_way_audio.present == 0


@pytest.mark.parametrize("srtp", [SrtpPolicy.OFF, SrtpPolicy.REQUIRED])
async def test_reports_of_both_sides_end_up_in_the_record(open_house: Open, srtp: SrtpPolicy) -> None:
    house = await open_house(replies=greeting(0.2), srtp=srtp, trunk="srtp_over_plain: true,")
    call, _ = await house.talk()
    leg = house.service.media._legs.copy()
    await eventually(lambda: house.service.media.statistics(next(iter(leg))).round_trip_ms is not None, 15)
    call.hang_up()
    media = (await house.record()).media
    assert media is not None
    assert media.round_trip_ms is not None
    assert media.round_trip_ms < 100
    assert media.remote_lost == 0
    assert media.mos is not None
    assert media.mos > 4
    assert call.statistics is not None
    assert call.statistics.reports_received > 0


async def test_without_rtcp_there_are_no_reports_and_no_word_of_them(open_house: Open) -> None:
    house = await open_house(replies=greeting(0.2), environment={"GATEWAY__MEDIA__RTCP__ENABLED": "false"})
    call, _ = await house.talk()
    assert call.stream is not None
    assert call.stream.rtcp is not None
    assert not call.stream.rtcp.is_muxed
    call.hang_up()
    media = (await house.record()).media
    assert media is not None
    assert (media.reports_received, media.round_trip_ms) == (0, None)
    assert call.statistics is not None
    assert call.statistics.reports_received == 0


async def test_interrupted_greeting_from_the_cache_is_told_as_far_as_it_was_heard(open_house: Open) -> None:
    text = "one two three four five six seven eight nine ten"
    plan = PLAN.replace("Welcome.", text)
    house = await open_house(plan=plan, replies=[Spoken(audio=pcm24(GREETING_HZ, 2.0), text=text)])
    first, _ = await house.talk()
    await first.wait_for_speech(from_ms=0, within_s=3)
    await first.wait_for_silence(lasting_ms=200, within_s=5)
    first.hang_up()
    await house.record()
    second, session = await house.talk()
    start_ms = await second.wait_for_speech(from_ms=0, within_s=3)
    await second.wait_until(start_ms + 900, within_s=3)
    await session.start_speech()
    told = (await session.received("conversation.item.create"))["item"]["content"][0]["text"]
    assert told.startswith("one two three four")
    assert told.endswith("…")
    assert "nine" not in told
    second.hang_up()


async def test_greeting_in_other_words_is_not_kept_for_the_next_caller(open_house: Open) -> None:
    house = await open_house(replies=[Spoken(audio=pcm24(GREETING_HZ, 0.2), text="Mallory was here.")])
    first, _ = await house.talk()
    await first.wait_for_speech(from_ms=0, within_s=3)
    first.hang_up()
    await house.record()
    second, session = await house.talk()
    await session.received("response.create")
    second.hang_up()


async def test_call_without_a_common_codec_is_488_and_leaves_no_port(open_house: Open) -> None:
    house = await open_house(codecs="PCMU")
    async with Phone(PhoneOptions(peers={"gateway": house.service.listen}, codecs=("PCMA",))) as phone:
        call = phone.dial("gateway", "7000")
        await eventually(call.ended.is_set, 3)
    assert call.refused == 488
    assert house.provider.attempts == 0
    assert house.service.media.ports.open_count == 0


async def test_refused_and_cancelled_calls_give_their_ports_back(open_house: Open) -> None:
    house = await open_house(is_confirming=False)
    refused = house.phone.dial("gateway", "7001")
    await eventually(refused.ended.is_set, 3)
    cancelled = house.phone.dial("gateway", "7000")
    await eventually(lambda: cancelled.rang, 2)
    cancelled.hang_up()
    await house.record(2)
    assert house.service.media.ports.open_count == 0


async def test_cost_of_a_call_is_in_its_record_and_in_the_day_that_a_restart_finds(
    open_house: Open, tmp_path: Path
) -> None:
    state = tmp_path / "spending.db"
    environment = {
        "GATEWAY__REALTIME__DEFAULT__PRICES": "{audio: {input: 10, output: 20}, text: {input: 1, output: 2}, "
        "transcription: {per_minute: 0.6}}",
        "GATEWAY__LIMITS__BUDGET__DAY__MONEY": "5",
        "GATEWAY__LIMITS__BUDGET__STATE": str(state),
    }
    house = await open_house(environment=environment, replies=greeting(0.3))
    call, _ = await house.talk()
    await call.wait_for_speech(from_ms=0, within_s=3)
    await call.wait_for_silence(lasting_ms=300, within_s=5)
    call.hang_up()
    record = await house.record()
    used = record.usage
    known = Price(text=Rates(input=Decimal(1), cached=Decimal(1), output=Decimal(2)))
    known = replace(known, audio=Rates(input=Decimal(10), cached=Decimal(10), output=Decimal(20)))
    assert used.output_audio_tokens > 0
    assert record.cost == known.cost(used)
    await eventually(lambda: sum(entry.money for entry in DayFile(state).load()) == record.cost, 5)


async def test_model_hears_nothing_of_a_caller_who_has_been_transferred(open_house: Open) -> None:
    replies = [*greeting(0.2), ToolCalls(calls=[Call(name="transfer", arguments='{"contact": "slow"}')])]
    plan = PLAN.replace("sales: {dial: [sip:6001]}", "slow: {dial: [sip:6002]}")
    house = await open_house(plan=plan, replies=replies)
    call, session = await house.talk()
    await session.end_turn(await session.start_speech(), "Sales please")
    async with asyncio.timeout(5):
        await call.transfer_requested.wait()
    before = session.appended_ms
    await call.wait_until(call.time_ms + 400, within_s=3)
    assert session.appended_ms - before < 100
    call.hang_up()


async def test_peer_that_refers_us_is_declined(open_house: Open) -> None:
    house = await open_house(replies=greeting(0.2))
    call, _ = await house.talk()
    house.phone.refer(call, "sip:6001@127.0.0.1")
    await eventually(lambda: call.refer_status, 3)
    assert call.refer_status == 603
    call.hang_up()


async def test_call_that_replaces_another_goes_on_with_its_session(open_house: Open) -> None:
    """How a PBX completes a transfer to us (RFC 3891)."""
    house = await open_house(replies=greeting(0.2))
    old, session = await house.talk()
    await old.wait_for_speech(from_ms=0, within_s=3)
    await old.wait_for_silence(lasting_ms=200, within_s=3)
    replaces = house.phone.user_agent.replaces_value(old.leg_id)
    new = house.phone.dial("gateway", "7000", (("Replaces", replaces),))
    await eventually(old.ended.is_set, 3)
    assert old.ended_by_peer
    told = await session.received("conversation.item.create")
    assert "another person" in told["item"]["content"][0]["text"]
    await session.start()
    await session.say(pcm24(ANSWER_HZ, 0.5))
    await session.finish()
    await eventually(lambda: tone_seconds(new.heard(), ANSWER_HZ) > 0.4, 3)
    before = session.appended_ms
    await eventually(lambda: session.appended_ms > before + 200, 3)
    assert house.service.media.ports.open_count == 1
    new.hang_up()
    record = await house.record()
    assert record.outcome is Outcome.CALLER_HUNG_UP
    assert len(house.notebook.ended) == 1
    await eventually(lambda: house.service.user_agent.leg_count == 0, 3)
    assert house.service.media.ports.open_count == 0


async def test_call_that_is_given_up_while_it_replaces_another_takes_it_along_and_leaves_nothing(
    open_house: Open,
) -> None:
    house = await open_house(replies=greeting(0.2))
    old, _ = await house.talk()
    replaces = house.phone.user_agent.replaces_value(old.leg_id)
    new = house.phone.dial("gateway", "7000", (("Replaces", replaces),))
    new.hang_up()
    old.hang_up()
    await house.record()
    await eventually(lambda: house.service.user_agent.leg_count == 0, 3)
    assert house.service.media.ports.open_count == 0
    assert len(house.service.services.legs) == 0


async def test_call_that_replaces_one_we_do_not_have_is_481(open_house: Open) -> None:
    house = await open_house(replies=greeting(0.2))
    call = house.phone.dial("gateway", "7000", (("Replaces", "nobody@x;to-tag=1;from-tag=2"),))
    await eventually(call.ended.is_set, 3)
    assert call.refused == 481


class ReferringPhone(Phone):
    """A telephone that is called back by whom it refers: takes calls only for `takes`."""

    takes = "6001"

    def _on_offered(self, event: sip_events.CallOffered) -> None:
        if event.request_uri.user != self.takes:
            self.user_agent.reject(event.leg_id, 486, time.monotonic())
        else:
            super()._on_offered(event)


async def test_session_follows_a_refer_to_the_new_call_where_the_trunk_allows_it(open_house: Open) -> None:
    house = await open_house(replies=greeting(0.2), trunk="follow_refers: true", kind=ReferringPhone)
    call, session = await house.talk()
    house.phone.refer(call, f"sip:6001@127.0.0.1:{house.phone.address.port}")
    new = await asyncio.wait_for(house.phone.incoming.get(), 3)
    await eventually(call.ended.is_set, 3)
    assert (call.refer_status, call.ended_by_peer) == (200, True)
    await session.received("conversation.item.create")
    await session.start()
    await session.say(pcm24(ANSWER_HZ, 0.5))
    await session.finish()
    await eventually(lambda: tone_seconds(new.heard(), ANSWER_HZ) > 0.4, 3)
    before = session.appended_ms
    await eventually(lambda: session.appended_ms > before + 200, 3)
    new.hang_up()
    assert (await house.record()).outcome is Outcome.CALLER_HUNG_UP
    await eventually(lambda: house.service.user_agent.leg_count == 0, 3)
    assert house.service.media.ports.open_count == 0


async def test_refer_to_somebody_who_is_busy_is_reported_and_the_call_stays(open_house: Open) -> None:
    house = await open_house(replies=greeting(0.2), trunk="follow_refers: true", kind=ReferringPhone)
    call, session = await house.talk()
    house.phone.refer(call, f"sip:6002@127.0.0.1:{house.phone.address.port}")
    await eventually(lambda: call.refer_status == 486, 3)
    before = session.appended_ms
    await eventually(lambda: session.appended_ms > before + 200, 3)
    assert not call.ended.is_set()
    call.hang_up()
    await house.record()
    assert house.service.media.ports.open_count == 0


async def test_peer_may_hang_up_when_its_refer_was_taken(open_house: Open) -> None:
    house = await open_house(replies=greeting(0.2), trunk="follow_refers: true", kind=ReferringPhone)
    call, session = await house.talk()
    house.phone.refer(call, f"sip:6001@127.0.0.1:{house.phone.address.port}")
    await eventually(lambda: call.refer_status, 3)
    call.hang_up()
    new = await asyncio.wait_for(house.phone.incoming.get(), 3)
    await session.received("conversation.item.create")
    before = session.appended_ms
    await eventually(lambda: session.appended_ms > before + 200, 3)
    new.hang_up()
    await house.record()
    await eventually(lambda: house.service.user_agent.leg_count == 0, 3)


async def test_provider_that_drops_mid_call_is_answered_by_the_fallback(open_house: Open) -> None:
    house = await open_house(plan=PLAN + DOWN, replies=greeting(0.2))
    call, session = await house.talk()
    house.provider.refusal = HttpRefusal(status=401)
    session.drop()
    async with asyncio.timeout(5):
        await call.transfer_requested.wait()
        await call.ended.wait()
    assert (await house.record()).escalations == ("down",)
    assert house.provider.attempts == 2


async def test_call_whose_connection_to_the_model_breaks_goes_on_with_another(open_house: Open) -> None:
    house = await open_house(plan=PLAN + DOWN, replies=greeting(0.2))
    call, session = await house.talk()
    session.drop()
    second = await house.provider.session()
    await second.wait_for_audio(8000)
    assert house.service.services.endpoints is not None
    ((_, provider),) = house.service.services.endpoints.status().items()
    assert (provider["state"], provider["sessions"]) == ("closed", 1)
    call.hang_up()
    record = await house.record()
    assert (record.reconnects, record.escalations) == (1, ())


async def test_reply_refused_for_good_is_answered_by_the_fallback(open_house: Open) -> None:
    house = await open_house(plan=PLAN + DOWN, replies=[Failure(code="insufficient_quota")])
    call, _ = await house.talk()
    async with asyncio.timeout(5):
        await call.transfer_requested.wait()
    assert (await house.record()).escalations == ("down",)


async def test_route_that_rejects_opens_no_session(open_house: Open) -> None:
    house = await open_house()
    call = house.phone.dial("gateway", "7001")
    await eventually(call.ended.is_set, 3)
    assert (call.refused, house.provider.attempts) == (603, 0)


async def test_number_without_a_route_is_404(open_house: Open) -> None:
    house = await open_house()
    call = house.phone.dial("gateway", "8000")
    await eventually(call.ended.is_set, 3)
    assert call.refused == 404


async def test_call_beyond_the_limit_is_503_with_retry_after(open_house: Open) -> None:
    house = await open_house(replies=greeting(0.2) + greeting(0.2))
    calls = [(await house.talk())[0] for _ in range(2)]
    third = house.phone.dial("gateway", "7000")
    await eventually(third.ended.is_set, 3)
    assert third.refused == 503
    assert third.refusal_headers.get("Retry-After") is not None
    for call in calls:
        call.hang_up()


async def test_draining_refuses_new_calls_and_ends_the_others_with_bye(open_house: Open) -> None:
    house = await open_house(replies=greeting(0.2))
    call, _ = await house.talk()
    draining = asyncio.create_task(house.service.drain(0.5))
    await asyncio.sleep(0)
    late = house.phone.dial("gateway", "7000")
    await eventually(late.ended.is_set, 3)
    assert late.refused == 503
    await eventually(call.ended.is_set, 3)
    assert call.ended_by_peer
    await draining
    assert (await house.record()).cause == "drain"


async def test_draining_lets_a_call_end_by_itself(open_house: Open) -> None:
    house = await open_house(replies=greeting(0.2))
    call, _ = await house.talk()
    draining = asyncio.create_task(house.service.drain(30))
    await asyncio.sleep(0)
    call.hang_up()
    await asyncio.wait_for(draining, 5)
    assert (await house.record()).outcome is Outcome.CALLER_HUNG_UP


async def test_caller_who_gives_up_while_the_session_opens_leaves_nothing_behind(open_house: Open) -> None:
    house = await open_house(is_confirming=False)
    call = house.phone.dial("gateway", "7000")
    await eventually(lambda: call.rang, 2)
    call.hang_up()
    assert (await house.record()).outcome is Outcome.CANCELLED
    assert house.service.calls.call_count == 0


async def test_calls_leave_no_leg_task_or_socket_behind(open_house: Open) -> None:
    house = await open_house(replies=greeting(0.2) * 3)
    tasks = len(asyncio.all_tasks())
    for count in range(3):
        call, _ = await house.talk()
        call.hang_up()
        await house.record(count + 1)
    await eventually(lambda: len(asyncio.all_tasks()) == tasks, 5)
    assert house.service.calls.call_count == 0
    assert house.service.user_agent.leg_count == 0
    assert house.service.media.leg_count == 0
    assert house.service.media.ports.open_count == 0


async def test_refused_calls_are_counted_and_told_by_their_reason(open_house: Open) -> None:
    house = await open_house(replies=greeting(0.2) * 3, codecs="PCMU")
    rejected = house.service.user_agent.counters.rejected
    with capture_logs() as lines:
        unheard = house.phone.dial("gateway", "9999")
        await eventually(unheard.ended.is_set, 3)
        up = [await house.talk() for _ in range(2)]
        third = house.phone.dial("gateway", "7000")
        await eventually(third.ended.is_set, 3)
        assert third.refused == 503
        assert third.refusal_headers.get("Retry-After") is not None
        up.pop()[0].hang_up()
        await eventually(lambda: house.service.calls.call_count == 1, 3)
        house.service.calls._overload = lambda calls: RejectReason.CPU if calls else None
        fourth = house.phone.dial("gateway", "7000")
        await eventually(fourth.ended.is_set, 3)
    reasons = [RejectReason.NO_ROUTE, RejectReason.TOO_MANY_CALLS, RejectReason.CPU]
    assert [rejected[reason] for reason in reasons] == [1, 1, 1]
    told = [(line["reason_code"], line["status"]) for line in lines if line["event"] == "call refused"]
    assert told == [("too_many_calls", 503), ("cpu", 503)]
    up.pop()[0].hang_up()


async def test_a_call_without_a_codec_in_common_is_counted_as_such(open_house: Open) -> None:
    house = await open_house(codecs="PCMU")
    house.phone._options = replace(house.phone._options, codecs=("PCMA",))
    call = house.phone.dial("gateway", "7000")
    await eventually(call.ended.is_set, 3)
    assert call.refused == 488
    assert house.service.user_agent.counters.rejected[RejectReason.NO_CODEC] == 1


async def test_malformed_sip_is_told_in_one_line_and_harms_nobody(
    open_house: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.cli.status.WATCH_PERIOD_S", 0.05)
    house = await open_house(replies=greeting(0.2))
    with capture_logs() as lines, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rogue:
        for garbage in (b"INVITE sip:7000@x SIP/2.0\r\nVia: nothing\r\n\r\n", bytes(range(256)), b"\x00" * 9):
            rogue.sendto(garbage, house.service.listen)
        told = await eventually(lambda: [line for line in lines if line["event"] == "sip messages refused"], 3)
    assert sum(line.get("malformed", 0) for line in told) >= 1
    assert "127.0.0.1" in told[0]["last_malformed"]
    call, _ = await house.talk()
    call.hang_up()


async def test_taken_port_is_told_with_its_number(open_house: Open, tmp_path: Path) -> None:
    house = await open_house()
    taken = house.service.listen.port
    file = tmp_path / "gateway.yaml"
    configuration = load_configuration(file, {"GATEWAY__MEDIA__RTP__PORTS": "44400-44499"})
    with pytest.raises(ResourceError, match=str(taken)):
        async with Service(configuration, Notebook(), load_plans(configuration)):
            pass


# IPv4 and IPv6 -------------------------------------------------------------------------------------------------------


async def test_calls_over_ipv4_and_ipv6_are_carried_side_by_side(tmp_path: Path) -> None:
    port = free_sip_port("127.0.0.1")
    (tmp_path / "plan.yaml").write_text(PLAN)
    file = tmp_path / "gateway.yaml"
    async with (
        RealtimeServer(replies=greeting(0.5) * 2) as provider,
        Phone(PhoneOptions(peers={"gateway": Address("127.0.0.1", port)}, rtp_ports=(42000, 42399))) as four,
        Phone(PhoneOptions(host="::1", peers={"gateway": Address("::1", port)}, rtp_ports=(42000, 42399))) as six,
    ):
        configured = {"phone": f"127.0.0.1:{four.address.port}", "url": provider.url, "audio": "pcm16"}
        configured |= {"listen": f"['127.0.0.1:{port}', '[::1]:{port}']", "codecs": "PCMU", "trunk": ""}
        file.write_text(CONFIGURATION % configured)
        trunk = {"GATEWAY__SIP__TRUNKS__SIX__PEER": f"[::1]:{six.address.port}"}
        configuration = load_configuration(file, trunk)
        async with Service(configuration, Notebook(), load_plans(configuration)) as service:
            up = []
            for phone, frequency_hz in ((four, CALLER_HZ), (six, LAST_HZ)):
                call, session = phone.dial("gateway", "7000"), await provider.session()
                async with asyncio.timeout(5):
                    await call.answered.wait()
                call.say(tone(frequency_hz, 1.0))
                up.append((call, session, frequency_hz))
            for call, session, frequency_hz in up:
                pcm = np.frombuffer(await session.wait_for_audio(round(48000 * 1.6)), "<i2")
                assert tone_seconds(pcm, frequency_hz, rate_hz=24000) == pytest.approx(1.0, abs=0.15)
                await eventually(lambda call=call: tone_seconds(call.heard(), GREETING_HZ) > 0.35, 5)  # type: ignore[misc]
            assert service.calls.call_count == 2
            for call, _, _ in up:
                call.hang_up()
            await eventually(lambda: service.media.ports.open_count == 0, 5)


# Trunks by name ------------------------------------------------------------------------------------------------------

NAMED = """
sip:
  listen: 127.0.0.1:%(port)d
  dns: {servers: ["%(dns)s"], timeout: 300ms}
  trunks:
    carrier: {registrar: "sip:carrier.example", username: gateway, password: x}
    fixed: {peer: 127.0.0.1}
realtime: {default: {provider: openai, url: "ws://127.0.0.1:9/v1", api_key: test, model: test}}
dialplans: [plan.yaml]
media: {rtp: {ports: 44000-44399}}
"""


def named_service(tmp_path: Path, dns: Address, text: str = NAMED) -> Service:
    (tmp_path / "plan.yaml").write_text(PLAN)
    file = tmp_path / "gateway.yaml"
    file.write_text(text % {"port": free_sip_port("127.0.0.1"), "dns": str(dns)})
    configuration = load_configuration(file, {})
    return Service(configuration, Notebook(), load_plans(configuration))


@contextmanager
def registrar() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as udp:
        udp.bind(("127.0.0.1", 0))
        yield udp


def received(udp: socket.socket) -> bytes:
    try:
        return udp.recv(4096)
    except BlockingIOError:
        return b""


async def test_gateway_starts_before_its_name_service_and_registers_when_that_is_there(tmp_path: Path) -> None:
    zone: dict[tuple[str, str], object] = {}
    with registrar() as udp, capture_logs() as lines:
        port = udp.getsockname()[1]
        async with (
            NameServer(zone, otherwise=dns.rcode.SERVFAIL) as server,
            named_service(tmp_path, server.address),
        ):
            (failed,) = [line for line in lines if line["event"] == "registration failed"]
            assert (failed["trunk"], failed["retry_in_s"]) == ("carrier", 1.0)
            assert "cannot resolve" in failed["reason"]
            zone["_sip._udp.carrier.example", "SRV"] = f"0 0 {port} sip1.carrier.example."
            zone["sip1.carrier.example", "A"] = "127.0.0.1"
            request = await eventually(lambda: received(udp), 5)
    assert request.startswith(b"REGISTER sip:carrier.example SIP/2.0\r\n")
    (located,) = [line for line in lines if line["event"] == "trunk located"]
    assert located["servers"] == [f"127.0.0.1:{port}"]


async def test_gateway_without_any_trunk_whose_name_exists_does_not_start(tmp_path: Path) -> None:
    only = NAMED.replace("    fixed: {peer: 127.0.0.1}\n", "")
    async with NameServer() as server:
        with pytest.raises(ResourceError, match=r"cannot resolve carrier\.example: no such name"):
            async with named_service(tmp_path, server.address, only):
                pass


async def test_trunk_whose_name_does_not_exist_does_not_stop_the_others(tmp_path: Path) -> None:
    async with NameServer() as server, named_service(tmp_path, server.address) as service:
        assert service.user_agent.admits(Hop("127.0.0.1", 5060), 0.0)


async def test_trunk_that_moves_is_registered_at_its_new_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.transport.locator.SHORTEST_TTL_S", 0.2)
    with registrar() as before, registrar() as after:
        places = [f"0 0 {udp.getsockname()[1]} sip.carrier.example." for udp in (before, after)]
        zone: dict[tuple[str, str], object] = {
            ("_sip._udp.carrier.example", "SRV"): Records((places[0],), 0),
            ("sip.carrier.example", "A"): "127.0.0.1",
        }
        async with NameServer(zone) as server, named_service(tmp_path, server.address):
            request = parse_message(await eventually(lambda: received(before), 5))
            assert isinstance(request, Request)
            via = request.top_via
            before.sendto(make_response(request, 403).to_bytes(), (via.host, via.port or 5060))
            zone["_sip._udp.carrier.example", "SRV"] = places[1]
            moved = await eventually(lambda: received(after), 5)
    assert moved.startswith(b"REGISTER sip:carrier.example SIP/2.0\r\n")


# Streams -------------------------------------------------------------------------------------------------------------

OPTIONS = (
    "OPTIONS sip:gateway@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/{0} 127.0.0.1:5060;branch=z9hG4bK{1}\r\n"
    "From: <sip:pbx@127.0.0.1>;tag=1\r\nTo: <sip:gateway@127.0.0.1>\r\nCall-ID: {1}\r\nCSeq: 1 OPTIONS\r\n"
    "Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)


async def ask(port: int, context: ssl.SSLContext | None = None) -> tuple[bytes, str]:
    """The first line that OPTIONS over a stream is answered with; the common name of the gateway's certificate."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(OPTIONS.format("TLS" if context else "TCP", port).encode())
    async with asyncio.timeout(2):
        line = await reader.readline()
    shown = (writer.get_extra_info("peercert") or {}).get("subject", ((("", ""),),))
    writer.transport.abort()
    return line, shown[0][0][1]


async def test_tcp_is_spoken_where_udp_is(open_house: Open) -> None:
    house = await open_house()
    assert (await ask(house.service.listen.port))[0] == b"SIP/2.0 200 OK\r\n"


async def test_renewed_certificates_are_taken_on_reload_and_broken_ones_are_not(
    open_house: Open, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    identity, renewed = authority.issue("first"), authority.issue("renewed")
    port = free_sip_port("127.0.0.1")
    tls = f"{{listen: '127.0.0.1:{port}', certificate: first.crt, key: first.key}}"
    house = await open_house(environment={"GATEWAY__SIP__TLS": tls})
    context = load_tls(TlsOptions(ca=authority.ca)).client
    assert await ask(port, context) == (b"SIP/2.0 200 OK\r\n", "first")
    identity.certificate.write_bytes(renewed.certificate.read_bytes())
    with capture_logs() as lines:
        house.service.reload()
        (told,) = await eventually(lambda: [line for line in lines if line["event"] == "reload refused"])
    assert "first.key does not belong to certificate" in told["problem"]
    assert (await ask(port, context))[1] == "first"
    identity.key.write_bytes(renewed.key.read_bytes())
    with capture_logs() as lines:
        house.service.reload()
        (told,) = await eventually(lambda: [line for line in lines if line["event"] == "dialplans reloaded"])
    assert Path(told["certificate"]).name == "first.crt"
    assert (await ask(port, context))[1] == "renewed"


async def test_a_trunk_on_tls_is_registered_at_a_server_of_its_name(open_house: Open, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    named = authority.issue("pbx", dns=["pbx.example"])
    asked: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.transport.abort()

    context = load_tls(TlsOptions(certificate=named.certificate, key=named.key)).server
    async with await asyncio.start_server(take, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        trunk = f"{{registrar: 'sips:127.0.0.1:{port}', username: gateway, tls_name: pbx.example}}"
        await open_house(environment={"GATEWAY__SIP__TRUNKS__PBX": trunk, "GATEWAY__SIP__TLS__CA": "authority.pem"})
        (register, *_) = await eventually(lambda: asked)
    assert register.startswith(f"REGISTER sips:127.0.0.1:{port} SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1:5061;".encode())
    assert b"\r\nContact: <sips:gateway@127.0.0.1:5061" in register


# Encryption.


async def hears_both_ways(house: House, call: PhoneCall, session: ServerSession) -> None:
    """The provider hears the caller from now on, and the caller the provider."""
    before, heard_ms = session.appended_ms, call.time_ms
    await session.start()
    await session.say(pcm24(ANSWER_HZ, 0.5))
    await session.finish()
    call.say(tone(CALLER_HZ, 0.5))
    await eventually(lambda: tone_seconds(call.heard(heard_ms), ANSWER_HZ) > 0.4, 4)
    await eventually(lambda: session.appended_ms > before + 700, 4)
    pcm = np.frombuffer(bytes(session.audio), "<i2")[24 * before :]
    assert tone_seconds(pcm, CALLER_HZ, rate_hz=24000) == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize("phone", [SrtpPolicy.OPTIONAL, SrtpPolicy.REQUIRED])
@pytest.mark.parametrize("gateway", ["optional", "required"])
async def test_encrypted_call_is_heard_both_ways_over_hold_and_new_keys(
    open_house: Open, phone: SrtpPolicy, gateway: str
) -> None:
    house = await open_house(trunk=f"srtp: {gateway}, srtp_over_plain: true", srtp=phone)
    call, session = await house.talk()
    first = call.stream.srtp  # type: ignore[union-attr]
    assert first is not None
    await hears_both_ways(house, call, session)
    await house.phone.hold(call)
    assert (await house.phone.resume(call)).srtp == first
    await hears_both_ways(house, call, session)
    second = (await house.phone.rekey(call)).srtp
    assert second is not None
    assert len({first.local_key, first.remote_key, second.local_key, second.remote_key}) == 4
    await hears_both_ways(house, call, session)
    call.hang_up()
    assert (await house.record()).srtp == first.suite


async def test_flood_of_forged_packets_does_not_end_an_encrypted_call(open_house: Open) -> None:
    house = await open_house(trunk="srtp: required, srtp_over_plain: true", srtp=SrtpPolicy.REQUIRED)
    call, session = await house.talk()
    (leg,) = house.service.services.media._legs
    for number in range(2000):
        forged = b"\x80\x00" + number.to_bytes(2, "big") + bytes(170)
        call.port.udp.sendto(forged, call.stream.remote)  # type: ignore[union-attr]
        if not number % 200:
            await asyncio.sleep(0)
    media = house.service.services.media

    def dropped() -> int:
        counters = media.port_counters(leg)
        return counters.srtp_failures + counters.kernel_drops

    # The kernel drops some of the caller's own packets in such a burst, too.
    await eventually(lambda: dropped() >= 2000, 4)
    assert media.port_counters(leg).srtp_failures > 100
    await hears_both_ways(house, call, session)
    call.hang_up()
    assert (await house.record()).outcome is Outcome.CALLER_HUNG_UP


async def test_keys_are_not_told_over_udp_unless_the_operator_wants_it(open_house: Open) -> None:
    house = await open_house(trunk="srtp: optional", srtp=SrtpPolicy.OPTIONAL)
    call, session = await house.talk()
    assert call.stream.srtp is None  # type: ignore[union-attr]
    await hears_both_ways(house, call, session)
    call.hang_up()
    assert (await house.record()).srtp is None


@pytest.mark.parametrize(
    ("trunk", "phone"),
    [
        ("srtp: off", SrtpPolicy.REQUIRED),
        ("srtp: optional", SrtpPolicy.REQUIRED),
        ("srtp: required, srtp_over_plain: true", SrtpPolicy.OFF),
    ],
)
async def test_call_without_common_encryption_is_488(open_house: Open, trunk: str, phone: SrtpPolicy) -> None:
    house = await open_house(trunk=trunk, srtp=phone)
    call = house.phone.dial("gateway", "7000")
    await eventually(call.ended.is_set, 5)
    assert call.refused == 488
    assert house.provider.attempts == 0


async def test_busy_gateway_sends_the_callers_audio_in_longer_pieces(
    open_house: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy_clock = partial(LoadWatch, cpu_clock=lambda: 0.8 * time.monotonic())
    monkeypatch.setattr("gateway.cli.service.LoadWatch", busy_clock)
    house = await open_house(audio="g711")

    _, session = await house.talk()

    async def piece_ms() -> float:
        """Mean length of the next appends."""
        appends, audio = session.appends, len(session.audio)
        await eventually(lambda: session.appends >= appends + 4, 2)
        return (len(session.audio) - audio) / 8 / (session.appends - appends)

    async with asyncio.timeout(5):
        while await piece_ms() != 100:
            pass
