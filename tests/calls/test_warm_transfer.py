"""Warm transfers over loopback: whoever picks up hears who calls and why, and takes the call by a key."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pytest

from gateway.calls.events import Outcome
from gateway.calls.record import CallRecord
from gateway.calls.transfers.state import TransferState
from gateway.cli.service import Service, load_plans
from gateway.config import load_configuration
from gateway.simulate.phone import PhoneOptions, free_sip_port
from gateway.simulate.phone_call import PhoneCall
from gateway.sip.message import Address
from tests.calls.test_transfer_desk import Notes, PbxPhone
from tests.support.aio import eventually, undisturbed_s
from tests.support.http_server import HttpServer
from tests.support.listening import tone, tone_seconds, write_wav
from tests.support.realtime_server import Call, RealtimeServer, ServerSession, Speech, ToolCalls

pytestmark = pytest.mark.heavy

CALLER_HZ, CONTACT_HZ, RING_BACK_HZ, MUSIC_HZ = 700, 1600, 425, 520
WHO_HZ, ABOUT_HZ, KEYS_HZ = 900, 1150, 1400
SUMMARY = "Anna Müller wants 50 % off\r\norder 12."
PLAN = """
version: 1
name: warm
timezone: UTC
contacts:
  sales:
    dial: [sip:6001]
    ring: 3s
    accept: {wait: 1s}
    summary: [whisper, header, webhook]
    webhook: {url: "%(hook)s"}
    %(more)s
sessions:
  reception: {use: default, tools: [transfer, note]}
routes: [{name: talk, do: [{session: reception}]}]
"""
CONFIGURATION = """
sip:
  listen: %(listen)s
  trunks: {pbx: {peer: "%(peer)s"}, carrier: {peer: "%(carrier)s"}}
media: {rtp: {ports: 46400-46599}}
realtime: {default: {provider: openai, url: %(url)s, api_key: test, model: test}}
dialplans: [plan.yaml]
limits: {max_calls: 2}
"""


def spoken_as(text: str) -> float:
    """The tone that stands for a sentence."""
    if "Call from" in text:
        return WHO_HZ
    return KEYS_HZ if "Press" in text else ABOUT_HZ


async def speak_all(server: RealtimeServer, spoken: list[str]) -> None:
    """Be the provider of all sessions that only speak a text."""
    while True:
        session = await server.session()
        asked = await session.received("response.create")
        text = str(asked["response"]["instructions"]).split('"', 1)[1].rstrip('"')
        spoken.append(text)
        audio = tone(spoken_as(text), 0.4, rate_hz=24000).tobytes()
        await session.reply(Speech(audio=audio, text=text))


@dataclass
class Scene:
    """A caller who has asked for sales, whose telephone rings: at `pbx`, or at the PBX of another trunk."""

    pbx: PbxPhone
    carrier: PbxPhone
    service: Service
    notes: Notes
    caller: PhoneCall
    contact: PhoneCall
    session: ServerSession
    hook: HttpServer
    spoken: list[str]

    async def record(self) -> CallRecord:
        await eventually(lambda: bool(self.notes.ended), 5)
        return self.notes.ended[0]

    async def assert_nothing_is_left(self) -> None:
        service = self.service
        await eventually(lambda: service.user_agent.leg_count == 0, 5)
        assert (service.media.leg_count, service.media.ports.open_count, len(service.services.legs)) == (0, 0, 0)

    async def whispered(self, hz: float) -> None:
        """The contact has heard the sentence of that tone."""
        while tone_seconds(self.contact.heard(), hz) < 0.3:
            await self.contact.wait_until(self.contact.time_ms + 100, within_s=1)
            assert self.contact.time_ms < 6000, "the contact waits in vain"

    @property
    def reports(self) -> list[dict[str, object]]:
        return [json.loads(asked.body) for asked in self.hook.asked]


OpenScene = Callable[..., "asyncio.Future[Scene]"]


@pytest.fixture
async def open_scene(tmp_path: Path) -> AsyncIterator[Callable[..., object]]:
    async with AsyncExitStack() as stack:

        async def build(more: str = "", answers: tuple[str, ...] = (SUMMARY, SUMMARY)) -> Scene:
            server = await stack.enter_async_context(RealtimeServer(answers=answers, is_replying=False))
            hook = await stack.enter_async_context(HttpServer())
            gateway = Address("127.0.0.1", free_sip_port("127.0.0.1"))
            ports = ((46600, 46699), (46700, 46799))
            pbx, carrier = [
                await stack.enter_async_context(PbxPhone(PhoneOptions(peers={"gateway": gateway}, rtp_ports=rtp_ports)))
                for rtp_ports in ports
            ]
            pbx.answer_refer = pbx.join
            write_wav(tmp_path / "music.wav", tone(MUSIC_HZ, 1.0))
            (tmp_path / "plan.yaml").write_text(PLAN % {"hook": f"{hook.url}/transfers", "more": more})
            file = tmp_path / "gateway.yaml"
            values = {"listen": str(gateway), "peer": str(pbx.address), "carrier": str(carrier.address)}
            file.write_text(CONFIGURATION % {**values, "url": server.url})
            configuration, notes = load_configuration(file, {}), Notes([])
            service = await stack.enter_async_context(Service(configuration, notes, load_plans(configuration)))
            caller = pbx.dial("gateway", "7000")
            session = await server.session()
            await session.received("response.create")
            spoken: list[str] = []
            speaking = asyncio.create_task(speak_all(server, spoken))
            stack.callback(speaking.cancel)
            await session.reply(ToolCalls(calls=[Call(name="transfer", arguments='{"contact": "sales"}')]))
            called = carrier if "carrier" in more else pbx
            contact = await asyncio.wait_for(called.incoming.get(), 8)
            return Scene(pbx, carrier, service, notes, caller, contact, session, hook, spoken)

        yield build


async def test_a_contact_hears_who_calls_and_why_and_takes_the_call_by_a_key(open_scene: OpenScene) -> None:
    scene = await open_scene()
    await eventually(lambda: tone_seconds(scene.caller.heard(), RING_BACK_HZ) > 0.5, 3)
    assert scene.pbx.consultation is not None
    value = scene.pbx.consultation.headers.get("X-Call-Summary") or ""
    assert value.isascii()
    assert unquote(value) == "Anna Müller wants 50 % off order 12."
    scene.pbx.pick_up(scene.contact)
    for hz in (WHO_HZ, ABOUT_HZ, KEYS_HZ):
        await scene.whispered(hz)
    assert scene.pbx.referred is None
    scene.contact.press("1")
    await eventually(scene.caller.ended.is_set, 3)
    assert scene.pbx.referred is not None
    record = await scene.record()
    assert (record.outcome, record.transfer_state) == (Outcome.TRANSFERRED, TransferState.HANDED_OVER)
    await eventually(lambda: len(scene.reports) == 2, 3)
    ringing, joined = scene.reports
    assert (ringing["state"], joined["state"], joined["why"]) == ("ringing", "joined", "")
    assert joined["summary"] == ringing["summary"] == "Anna Müller wants 50 % off order 12."
    assert (joined["contact"], joined["target"], joined["call"]) == ("sales", "sip:6001", record.call_id)
    await scene.assert_nothing_is_left()


async def test_a_contact_who_refuses_by_a_key_brings_the_caller_back_who_is_told_why(open_scene: OpenScene) -> None:
    scene = await open_scene()
    scene.pbx.pick_up(scene.contact)
    await scene.whispered(WHO_HZ)
    refused_s = undisturbed_s()
    scene.contact.press("2")
    result = await scene.session.received("conversation.item.create")
    assert undisturbed_s() - refused_s < 1.0
    assert '"declined (by a key)"' in result["item"]["output"]
    await eventually(scene.contact.ended.is_set, 2)
    from_ms = scene.caller.time_ms
    await scene.session.reply(Speech(audio=tone(MUSIC_HZ, 0.5, rate_hz=24000).tobytes(), text="Sorry."))
    await eventually(lambda: tone_seconds(scene.caller.heard(from_ms), MUSIC_HZ) > 0.3, 3)
    await eventually(lambda: [report["state"] for report in scene.reports] == ["ringing", "failed"], 3)
    assert scene.reports[1]["why"] == "declined (by a key)"
    await scene.session.reply(ToolCalls(calls=[Call(name="transfer", arguments='{"contact": "sales"}')]))
    await asyncio.wait_for(scene.pbx.incoming.get(), 8)
    await eventually(lambda: len(scene.spoken) == 5, 5)
    times = {scene.spoken.count(text) for text in scene.spoken if "Press" not in text}
    assert times == {2}
    assert scene.spoken.count("Press 1 to take the call, 2 to refuse it.") == 1  # kept: it is the same for all callers
    scene.caller.hang_up()
    await scene.record()
    await scene.assert_nothing_is_left()


async def test_an_answering_machine_never_gets_the_caller(open_scene: OpenScene) -> None:
    scene = await open_scene()
    scene.pbx.pick_up(scene.contact)
    await eventually(scene.contact.ended.is_set, 8)
    result = await scene.session.received("conversation.item.create")
    assert '"no answer (no key was pressed)"' in result["item"]["output"]
    assert tone_seconds(scene.contact.heard(), KEYS_HZ) > 0.6  # told twice
    assert scene.pbx.referred is None
    scene.caller.hang_up()
    await scene.record()
    await scene.assert_nothing_is_left()


async def test_a_caller_hears_the_plans_music_until_both_are_joined(open_scene: OpenScene) -> None:
    scene = await open_scene(more="music: music.wav")
    await eventually(lambda: tone_seconds(scene.caller.heard(), MUSIC_HZ) > 1.5, 5)  # of one second: again and again
    assert tone_seconds(scene.caller.heard(), RING_BACK_HZ) < 0.1
    scene.pbx.answer_refer = scene.pbx.decline
    scene.pbx.pick_up(scene.contact)
    await scene.whispered(WHO_HZ)
    from_ms = scene.caller.time_ms
    await scene.caller.wait_until(from_ms + 500, within_s=3)
    assert tone_seconds(scene.caller.heard(from_ms), MUSIC_HZ) > 0.4  # while the contact is told
    scene.contact.press("1")
    await scene.session.wait_closed()
    from_ms = scene.caller.time_ms
    scene.caller.say(tone(CALLER_HZ, 1.0))
    scene.contact.say(tone(CONTACT_HZ, 1.0))
    await eventually(lambda: tone_seconds(scene.contact.heard(), CALLER_HZ) > 0.9, 4)
    await eventually(lambda: tone_seconds(scene.caller.heard(from_ms), CONTACT_HZ) > 0.9, 4)
    assert tone_seconds(scene.caller.heard(from_ms), MUSIC_HZ) < 0.2
    scene.contact.hang_up()
    assert (await scene.record()).transfer_state is TransferState.BRIDGED
    await scene.assert_nothing_is_left()


async def test_a_contact_of_another_trunk_is_called_there_and_joined_by_the_gateway(open_scene: OpenScene) -> None:
    scene = await open_scene(more="trunk: carrier")
    assert scene.pbx.consultation is None
    assert scene.carrier.consultation is not None
    assert scene.carrier.consultation.request_uri.host == "127.0.0.1"
    scene.carrier.pick_up(scene.contact)
    await scene.whispered(KEYS_HZ)
    scene.contact.press("1")
    await scene.session.wait_closed()
    assert scene.pbx.referred is None
    from_ms = scene.caller.time_ms
    scene.caller.say(tone(CALLER_HZ, 1.0))
    scene.contact.say(tone(CONTACT_HZ, 1.0))
    await scene.caller.wait_until(from_ms + 2000, within_s=5)
    assert tone_seconds(scene.contact.heard(), CALLER_HZ) > 0.9
    assert tone_seconds(scene.caller.heard(from_ms), CONTACT_HZ) > 0.9
    scene.caller.hang_up()
    await eventually(scene.contact.ended.is_set, 2)
    assert (await scene.record()).transfer_state is TransferState.BRIDGED
    await scene.assert_nothing_is_left()


async def test_a_caller_who_hangs_up_during_the_whisper_ends_the_contacts_call_within_200_ms(
    open_scene: OpenScene,
) -> None:
    scene = await open_scene()
    scene.pbx.pick_up(scene.contact)
    await scene.whispered(WHO_HZ)
    left_s = undisturbed_s()
    scene.caller.hang_up()
    await eventually(scene.contact.ended.is_set, 5)
    assert undisturbed_s() - left_s < 0.2
    assert (await scene.record()).transfer_state is TransferState.CALLER_GONE
    await eventually(lambda: len(scene.reports) == 2, 3)
    assert (scene.reports[1]["state"], scene.reports[1]["why"]) == ("failed", "the caller hung up")
    await scene.assert_nothing_is_left()


async def test_a_model_that_writes_nothing_is_not_waited_for_longer_than_four_seconds(open_scene: OpenScene) -> None:
    began_s = time.monotonic()
    scene = await open_scene(answers=())
    assert 3.5 < time.monotonic() - began_s < 7  # the header waits for it
    assert scene.pbx.consultation is not None
    assert scene.pbx.consultation.headers.get("X-Call-Summary") is None  # nothing was said, and nothing noted
    scene.pbx.pick_up(scene.contact)
    await scene.whispered(KEYS_HZ)
    assert tone_seconds(scene.contact.heard(), ABOUT_HZ) < 0.1
    scene.caller.hang_up()
    await scene.record()
    await scene.assert_nothing_is_left()
