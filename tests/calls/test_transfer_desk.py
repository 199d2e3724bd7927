"""Attended transfers over loopback: the caller, a PBX that is a program, and the contact behind it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.calls.events import Outcome
from gateway.calls.record import CallRecord, Speech
from gateway.calls.transfers import desk as transfer_desk
from gateway.calls.transfers import transfer
from gateway.calls.transfers.state import TransferState
from gateway.cli.service import Service, load_plans
from gateway.config import load_configuration
from gateway.dialplan.triggers import Escalation
from gateway.simulate.phone import Phone, PhoneOptions, free_sip_port
from gateway.simulate.phone_call import PhoneCall
from gateway.sip import events as sip_events
from gateway.sip.message import Address
from gateway.sip.replaces import Replaces
from gateway.sip.sdes import SrtpPolicy, SrtpTerms
from gateway.sip.sdp import negotiate
from gateway.sip.uri import unescape
from tests.support.aio import eventually, undisturbed_s
from tests.support.listening import tone, tone_seconds
from tests.support.realtime_server import Call, RealtimeServer, ServerSession, ToolCalls

CALLER_HZ, CONTACT_HZ, RING_BACK_HZ = 700, 1600, 425
PLAN = """
version: 1
name: attended
timezone: UTC
contacts:
  sales: {dial: [sip:6001], mode: attended, ring: 2s}
sessions:
  reception: {use: default, tools: [transfer]}
routes: [{name: talk, do: [{session: reception}]}]
"""
CONFIGURATION = """
sip:
  listen: %(listen)s
  trunks: {pbx: {peer: "%(peer)s", %(trunk)s}}
media: {rtp: {ports: 46000-46199}}
realtime: {default: {provider: openai, url: %(url)s, api_key: test, model: test}}
dialplans: [plan.yaml]
limits: {max_calls: 2, transfers_per_hour: 1}
"""


class PbxPhone(Phone):
    """Caller, PBX and contact in one: 6001 rings until `pick_up` or `refuse`; REFER gets what `answer_refer` gives."""

    answer_refer: Callable[[sip_events.TransferRequested], None]
    consultation: sip_events.CallOffered | None = None
    referred: sip_events.TransferRequested | None = None

    def _on_offered(self, event: sip_events.CallOffered) -> None:
        assert event.offer is not None
        self.consultation = event
        port = self.media.ports.open()
        call = self.calls[event.leg_id] = PhoneCall(self.media, event.leg_id, port, self.hang_up)
        call.srtp = SrtpTerms.draw(self._options.srtp, secrets.token_bytes)
        self.user_agent.progress(event.leg_id, 180, time.monotonic())
        self.incoming.put_nowait(call)

    def pick_up(self, call: PhoneCall) -> None:
        assert self.consultation is not None
        assert self.consultation.offer is not None
        answer, stream = negotiate(self.consultation.offer, self._local_media(call.port, call.srtp))
        self._agree(call, stream)
        self.user_agent.answer(call.leg_id, answer, time.monotonic())
        self._endpoint.transmit()

    def refuse(self, call: PhoneCall, status: int) -> None:
        self.user_agent.reject(call.leg_id, status, time.monotonic())
        self._ended(call, by_peer=False)
        self._endpoint.transmit()

    def _on_transfer(self, event: sip_events.TransferRequested) -> None:
        self.referred = event
        self.answer_refer(event)

    def join(self, event: sip_events.TransferRequested) -> None:
        """What a PBX does: 202, the consultation ended, 200 by NOTIFY."""
        now = time.monotonic()
        self.user_agent.accept_refer(event.leg_id, now)
        consultation = next(call for leg_id, call in self.calls.items() if leg_id != event.leg_id)
        self.hang_up(consultation)
        self.user_agent.notify_transfer(event.leg_id, 200, None, now)

    def decline(self, event: sip_events.TransferRequested) -> None:
        self.user_agent.reject_refer(event.leg_id, 501, time.monotonic())

    def try_later(self, event: sip_events.TransferRequested) -> None:
        """As Asterisk while it is still bridging."""
        self.answer_refer = self.join
        self.user_agent.reject_refer(event.leg_id, 500, time.monotonic())


@dataclass
class Notes:
    """Records of calls that have ended."""

    ended: list[CallRecord]

    def call_started(self, record: CallRecord) -> None:
        pass

    def spoken(self, _record: CallRecord, _speech: Speech) -> None:
        pass

    def escalated(self, record: CallRecord, escalation: Escalation) -> None: ...

    def party_changed(self, record: CallRecord) -> None:
        pass

    def call_ended(self, record: CallRecord) -> None:
        self.ended.append(record)


@dataclass
class Scene:
    """A caller who has asked for sales, whose telephone rings."""

    pbx: PbxPhone
    service: Service
    notes: Notes
    caller: PhoneCall
    contact: PhoneCall
    session: ServerSession

    async def record(self) -> CallRecord:
        await eventually(lambda: bool(self.notes.ended), 5)
        return self.notes.ended[0]

    def accept_and_leave(self, event: sip_events.TransferRequested) -> None:
        """A PBX that never reports, and a contact who hangs up just then."""
        self.pbx.user_agent.accept_refer(event.leg_id, time.monotonic())
        self.contact.hang_up()

    async def assert_nothing_is_left(self) -> None:
        service = self.service
        await eventually(lambda: service.user_agent.leg_count == 0, 5)
        assert (service.media.leg_count, service.media.ports.open_count, len(service.services.legs)) == (0, 0, 0)


OpenScene = Callable[..., "asyncio.Future[Scene]"]


@pytest.fixture
async def open_scene(tmp_path: Path) -> AsyncIterator[Callable[..., object]]:
    async with AsyncExitStack() as stack:

        async def build(
            trunk: str = "", srtp: SrtpPolicy = SrtpPolicy.OFF, caller_id: str | None = None, plan: str = PLAN
        ) -> Scene:
            tool = ToolCalls(calls=[Call(name="transfer", arguments='{"contact": "sales"}')])
            server = await stack.enter_async_context(RealtimeServer(replies=[tool]))
            gateway = Address("127.0.0.1", free_sip_port("127.0.0.1"))
            options = PhoneOptions(peers={"gateway": gateway}, rtp_ports=(46200, 46399), srtp=srtp)
            pbx = await stack.enter_async_context(PbxPhone(options))
            pbx.answer_refer = pbx.join
            (tmp_path / "plan.yaml").write_text(plan)
            file = tmp_path / "gateway.yaml"
            values = {"listen": str(gateway), "peer": str(pbx.address), "url": server.url, "trunk": trunk}
            file.write_text(CONFIGURATION % values)
            configuration, notes = load_configuration(file, {}), Notes([])
            service = await stack.enter_async_context(Service(configuration, notes, load_plans(configuration)))
            caller = pbx.dial("gateway", "7000", caller=caller_id)
            session = await server.session()
            contact = await asyncio.wait_for(pbx.incoming.get(), 5)
            return Scene(pbx, service, notes, caller, contact, session)

        yield build


async def test_caller_hears_it_ring_and_is_referred_to_whoever_picked_up(open_scene: OpenScene) -> None:
    scene = await open_scene()
    await eventually(lambda: tone_seconds(scene.caller.heard(), RING_BACK_HZ) > 0.5, 3)
    assert scene.pbx.referred is None
    scene.pbx.pick_up(scene.contact)
    await eventually(scene.caller.ended.is_set, 3)
    assert scene.caller.ended_by_peer
    assert scene.pbx.referred is not None
    assert scene.pbx.consultation is not None
    refer_to = scene.pbx.referred.refer_to.uri
    replaces = Replaces.parse(unescape(refer_to.headers.removeprefix("Replaces=")))
    assert (refer_to.user, replaces.call_id) == ("6001", scene.pbx.consultation.call_id)
    assert replaces.from_tag == scene.pbx.consultation.from_.tag
    record = await scene.record()
    assert (record.outcome, record.transfer_state) == (Outcome.TRANSFERRED, TransferState.HANDED_OVER)
    await scene.assert_nothing_is_left()


async def test_a_line_break_in_a_callers_number_is_no_header_of_our_call_and_does_not_end_theirs(
    open_scene: OpenScene,
) -> None:
    scene = await open_scene(caller_id="1\r\nX-Evil: 2")
    assert scene.pbx.consultation is not None
    assert scene.pbx.consultation.from_.display_name == "1 X-Evil: 2"
    assert scene.pbx.consultation.headers.get("X-Evil") is None
    scene.caller.hang_up()
    await scene.record()
    await scene.assert_nothing_is_left()


async def test_pbx_that_finds_the_hand_over_too_early_is_asked_again(open_scene: OpenScene) -> None:
    scene = await open_scene()
    scene.pbx.answer_refer = scene.pbx.try_later
    scene.pbx.pick_up(scene.contact)
    assert (await scene.record()).transfer_state is TransferState.HANDED_OVER
    await scene.assert_nothing_is_left()


async def test_pbx_that_refuses_replaces_leaves_the_audio_to_the_gateway(open_scene: OpenScene) -> None:
    scene = await open_scene()
    scene.pbx.answer_refer = scene.pbx.decline
    scene.pbx.pick_up(scene.contact)
    await scene.session.wait_closed()
    from_ms = scene.caller.time_ms
    scene.caller.say(tone(CALLER_HZ, 1.0))
    scene.contact.say(tone(CONTACT_HZ, 1.0))
    await eventually(lambda: tone_seconds(scene.contact.heard(), CALLER_HZ) > 0.9, 4)
    await eventually(lambda: tone_seconds(scene.caller.heard(from_ms), CONTACT_HZ) > 0.9, 4)
    assert tone_seconds(scene.caller.heard(from_ms), RING_BACK_HZ) < 0.1
    scene.contact.hang_up()
    await eventually(scene.caller.ended.is_set, 3)
    record = await scene.record()
    assert (record.outcome, record.transfer_state) == (Outcome.TRANSFERRED, TransferState.BRIDGED)
    await scene.assert_nothing_is_left()


async def test_caller_and_contact_have_encrypted_lines_with_keys_of_their_own(open_scene: OpenScene) -> None:
    scene = await open_scene("srtp: required, srtp_over_plain: true", SrtpPolicy.REQUIRED)
    scene.pbx.answer_refer = scene.pbx.decline
    scene.pbx.pick_up(scene.contact)
    await scene.session.wait_closed()
    scene.caller.say(tone(CALLER_HZ, 1.0))
    await eventually(lambda: tone_seconds(scene.contact.heard(), CALLER_HZ) > 0.9, 4)
    streams = [call.stream for call in (scene.caller, scene.contact)]
    keys = [stream.srtp for stream in streams if stream is not None and stream.srtp is not None]
    assert len({key.remote_key for key in keys}) == 2
    scene.contact.hang_up()
    assert (await scene.record()).srtp is not None
    await scene.assert_nothing_is_left()


async def test_caller_is_back_with_the_model_within_a_second_and_the_model_knows_why(open_scene: OpenScene) -> None:
    scene = await open_scene()
    appended_ms = scene.session.appended_ms
    refused_s = undisturbed_s()
    scene.pbx.refuse(scene.contact, 486)
    result = await scene.session.received("conversation.item.create")
    assert '"busy (486 Busy Here)"' in result["item"]["output"]
    await eventually(lambda: scene.session.appended_ms > appended_ms, 5)
    assert undisturbed_s() - refused_s < 1.0
    scene.caller.hang_up()
    assert (await scene.record()).transfer_state is TransferState.FAILED
    await scene.assert_nothing_is_left()


async def test_contact_who_does_not_pick_up_is_cancelled_after_its_time(open_scene: OpenScene) -> None:
    scene = await open_scene()
    await eventually(scene.contact.ended.is_set, 4)
    result = await scene.session.received("conversation.item.create")
    assert '"no answer"' in result["item"]["output"]
    scene.caller.hang_up()
    assert (await scene.record()).transfer_state is TransferState.TIMED_OUT
    await scene.assert_nothing_is_left()


@pytest.mark.parametrize("picked_up", [False, True])
async def test_contacts_call_ends_within_200_ms_when_the_caller_hangs_up(
    open_scene: OpenScene, picked_up: bool
) -> None:
    scene = await open_scene()
    scene.pbx.answer_refer = lambda _event: None
    if picked_up:
        scene.pbx.pick_up(scene.contact)
        await eventually(lambda: scene.pbx.referred is not None, 3)
    left_s = undisturbed_s()
    scene.caller.hang_up()
    await eventually(scene.contact.ended.is_set, 5)
    assert undisturbed_s() - left_s < 0.2
    assert (await scene.record()).transfer_state is TransferState.CALLER_GONE
    await scene.assert_nothing_is_left()


async def test_contact_who_hangs_up_before_the_hand_over_brings_the_caller_back(open_scene: OpenScene) -> None:
    scene = await open_scene()

    def refuse_after_the_end(event: sip_events.TransferRequested) -> None:
        scene.contact.hang_up()
        scene.pbx.user_agent.reject_refer(event.leg_id, 603, time.monotonic())

    scene.pbx.answer_refer = refuse_after_the_end
    scene.pbx.pick_up(scene.contact)
    result = await scene.session.received("conversation.item.create")
    assert '"declined (603 Decline)"' in result["item"]["output"]
    scene.caller.hang_up()
    assert (await scene.record()).transfer_state is TransferState.FAILED
    await scene.assert_nothing_is_left()


async def test_refer_out_of_the_blue_and_forged_news_have_no_effect_on_a_transfer(open_scene: OpenScene) -> None:
    scene = await open_scene()
    scene.pbx.refer(scene.caller, "sip:9009@127.0.0.1")
    await eventually(lambda: scene.caller.refer_status, 3)
    assert scene.caller.refer_status == 603
    assert not scene.contact.ended.is_set()
    scene.pbx.pick_up(scene.contact)
    assert (await scene.record()).transfer_state is TransferState.HANDED_OVER
    await scene.assert_nothing_is_left()


async def test_caller_beyond_the_limit_of_the_hour_is_not_called_for(open_scene: OpenScene) -> None:
    scene = await open_scene()
    scene.pbx.refuse(scene.contact, 603)
    await scene.session.received("conversation.item.create")
    await scene.session.start()
    await scene.session.call([Call(name="transfer", arguments='{"contact": "sales"}')])
    await scene.session.finish()
    told = await scene.session.received("conversation.item.create")
    assert "limits.transfers_per_hour" in told["item"]["output"]
    assert scene.pbx.incoming.empty()
    scene.caller.hang_up()
    await scene.record()
    await scene.assert_nothing_is_left()


async def test_contact_who_hangs_up_at_a_pbx_that_never_reports_brings_the_caller_back(
    open_scene: OpenScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "RESULT_LIMIT_S", 0.3)
    scene = await open_scene()
    scene.pbx.answer_refer = scene.accept_and_leave
    scene.pbx.pick_up(scene.contact)
    result = await asyncio.wait_for(scene.session.received("conversation.item.create"), 10)
    assert '"declined (hung up)"' in result["item"]["output"]
    scene.caller.hang_up()
    assert (await scene.record()).transfer_state is TransferState.FAILED
    await scene.assert_nothing_is_left()


async def test_the_next_target_gets_the_caller_although_no_pbx_reported_of_the_first(
    open_scene: OpenScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "RESULT_LIMIT_S", 0.3)
    scene = await open_scene(plan=PLAN.replace("[sip:6001]", "[sip:6001, sip:6002]").replace("2s", "20s"))
    scene.pbx.answer_refer = scene.accept_and_leave
    scene.pbx.pick_up(scene.contact)
    second = await asyncio.wait_for(scene.pbx.incoming.get(), 10)
    scene.pbx.pick_up(second)
    await scene.session.wait_closed()  # this PBX still has the first REFER and refuses another one: we carry the audio
    second.hang_up()
    record = await scene.record()
    assert (record.outcome, record.transfer_state) == (Outcome.TRANSFERRED, TransferState.BRIDGED)
    await scene.assert_nothing_is_left()


async def test_caller_whom_a_pbx_has_taken_is_not_taken_for_one_who_is_back_before_it_reports(
    open_scene: OpenScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "RESULT_LIMIT_S", 0.8)  # long enough for the last packets, on a busy machine too
    monkeypatch.setattr(transfer, "SEEK_S", 0.2)
    monkeypatch.setattr(transfer_desk, "HEARD_S", 0.15)
    scene = await open_scene()
    referrals: list[sip_events.TransferRequested] = []

    def take_silently(event: sip_events.TransferRequested) -> None:
        referrals.append(event)
        scene.pbx.user_agent.accept_refer(event.leg_id, time.monotonic())
        assert scene.caller.leg is not None
        scene.pbx.media.engine.set_direction(scene.caller.leg, send=False, receive=True)
        scene.contact.hang_up()

    scene.pbx.answer_refer = take_silently
    ringing_s = tone_seconds(scene.caller.heard(), RING_BACK_HZ)
    scene.pbx.pick_up(scene.contact)
    await eventually(lambda: bool(referrals), 3)
    await eventually(lambda: tone_seconds(scene.caller.heard(), RING_BACK_HZ) > ringing_s + 0.5, 5)
    assert "conversation.item.create" not in scene.session.kinds()
    scene.pbx.report(scene.caller, 200, "OK")
    assert (await scene.record()).transfer_state is TransferState.HANDED_OVER
    await scene.assert_nothing_is_left()
