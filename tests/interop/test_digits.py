"""Keys cross the PBX in both directions: as RFC 4733 events, as tones in the audio, and as INFO. Speech is no key."""

from __future__ import annotations

import asyncio
import json
from itertools import groupby

import numpy as np
import pytest

from gateway.media import codec
from gateway.media.codec import PCMU
from gateway.media.tones import ToneDetector
from gateway.simulate.phone import Phone, PhoneOptions
from gateway.simulate.phone_call import PhoneCall
from gateway.sip.message import Address
from tests.interop.conftest import GatewayMaker, SpeechServerMaker
from tests.interop.pbx import Pbx, wait_until
from tests.interop.speech_server import Conversation
from tests.support.listening import heard_keys, read_wav

KEYS = "123#"
FRAME = 160


def told_to_the_model(conversation: Conversation) -> str:
    items = [event for event in conversation.session.events if event["type"] == "conversation.item.create"]
    return json.dumps(items)


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(("gateway", "7000", "auto"), id="events"),
        pytest.param(("gateway-inband", "7018", "auto"), id="tones"),
        pytest.param(("gateway-inband", "7018", "inband"), id="tones alone"),
        pytest.param(("gateway-info", "7008", "info"), id="INFO"),
        pytest.param(("gateway-info", "7008", "auto"), id="INFO though tones are expected"),
    ],
)
def test_keys_of_the_caller_reach_the_model(
    pbx: Pbx, make_gateway: GatewayMaker, make_speech_server: SpeechServerMaker, way: tuple[str, str, str]
) -> None:
    account, number, dtmf = way
    server = make_speech_server([])
    gateway = make_gateway(realtime_url=server.url, account=account, trunk={"dtmf": dtmf})
    gateway.wait_until_registered()
    pbx.trace_sip()
    mark = pbx.log_mark()
    pbx.originate(number, keys=KEYS, delay_s=1, stay_s=10)
    conversation = server.wait_for_conversation()
    wait_until(lambda: "1 2 3 #" in told_to_the_model(conversation), "the keys, told to the model", 10)
    log = pbx.log_since(mark)
    assert (f"INFO sip:{account}@" in log) == (account == "gateway-info")
    assert ("telephone-event" in log) == (account == "gateway")


def phone_of(pbx: Pbx, user: str) -> Phone:
    return Phone(PhoneOptions(user=user, peers={"pbx": Address(*pbx.address)}))


async def dialled(phone: Phone, number: str) -> PhoneCall:
    call = phone.dial("pbx", number)
    async with asyncio.timeout(5):
        await call.answered.wait()
    return call


@pytest.mark.parametrize("user", ["simulated", "simulated-inband", "simulated-info"])
async def test_keys_that_we_send_are_understood_by_the_pbx(pbx: Pbx, user: str) -> None:
    mark = pbx.log_mark()
    async with phone_of(pbx, user) as phone:
        call = await dialled(phone, "602")
        assert (call.stream.telephone_event_payload_type is None) == (user != "simulated")  # type: ignore[union-attr]
        await call.wait_for_speech(from_ms=0, within_s=5)
        if user == "simulated-info":
            phone.press_by_info(call, "7590")
        else:
            call.press("7590")
        await asyncio.to_thread(pbx.wait_for_log, "LAB602 digits=7590 status=OK", since=mark)


@pytest.mark.parametrize("user", ["simulated", "simulated-inband", "simulated-info"])
async def test_keys_that_the_pbx_sends_are_understood_by_us(pbx: Pbx, user: str) -> None:
    async with phone_of(pbx, user) as phone:
        call = await dialled(phone, "604")
        async with asyncio.timeout(10):
            await call.ended.wait()
        assert call.keys == "1234#"
        # Asterisk sends nothing between keys: what is made up for the gap may sound like the key once more.
        audible = "".join(key for key, _ in groupby(key.key for key in heard_keys(call.heard())))
        assert audible == ("1234#" if user == "simulated-inband" else "")


async def test_our_own_tones_that_come_back_are_no_keys(pbx: Pbx) -> None:
    async with phone_of(pbx, "simulated-inband") as phone:
        call = await dialled(phone, "600")
        call.press("123")
        await call.wait_until(call.time_ms + 1600, within_s=5)
        assert [key.key for key in heard_keys(call.heard())] == ["1", "2", "3"]
        assert call.keys == ""


def test_recorded_speech_is_no_key(pbx: Pbx) -> None:
    """Every prompt of the PBX through mu-law: a woman's voice, 25 minutes."""
    prompts = [read_wav(file)[0] for file in sorted(pbx.sounds.rglob("*.wav"))]
    assert sum(map(len, prompts)) > 20 * 60 * 8000
    detector, legs, never = ToneDetector(1), np.array([0]), np.array([False])
    detector.open(0)
    samples = np.concatenate([np.pad(prompt, (0, 3 * FRAME)) for prompt in prompts])
    octets = codec.encode(samples[: samples.size // FRAME * FRAME], PCMU).reshape(-1, 1, FRAME)
    for frame in octets.astype(np.uint16) | np.uint16(PCMU.first_code):
        detector.hear(legs, frame, is_missing=never, is_deaf=never, now=1.0)
    assert detector.take() == []
