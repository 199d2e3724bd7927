"""The caller puts the gateway on hold and takes it back: the call, and its audio both ways, survive."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

import pytest

from tests.interop.conftest import GatewayMaker, PhoneMaker, SpeechServerMaker
from tests.interop.pbx import Pbx, wait_until
from tests.interop.speech_server import MODEL_RATE_HZ, Conversation
from tests.support.listening import read_wav, resampled, silence, tone, tone_seconds

CALLER_TONE_HZ = 620.0
MODEL_TONE_HZ = 440.0


def still_heard(conversation: Conversation) -> bool:
    """Whether the last second of what the model hears is the caller's tone."""
    if conversation.uplink_s < 1:
        return False
    last = resampled(conversation.uplink[-MODEL_RATE_HZ:], MODEL_RATE_HZ, 8000)
    return tone_seconds(last, CALLER_TONE_HZ) > 0.8


@dataclass(frozen=True)
class Way:
    """How the PBX treats a gateway whose caller is on hold: with music, or with a re-INVITE."""

    account: str
    number: str
    is_told: bool


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(Way("gateway", "7010", is_told=False), id="hold-music-from-the-pbx"),
        pytest.param(Way("gateway-hold", "7014", is_told=True), id="hold-by-re-INVITE"),
    ],
)
def test_hold_and_resume_keep_the_call(
    pbx: Pbx,
    make_gateway: GatewayMaker,
    make_phone: PhoneMaker,
    make_speech_server: SpeechServerMaker,
    way: Way,
) -> None:
    server = make_speech_server([silence(0.1, rate_hz=MODEL_RATE_HZ), tone(MODEL_TONE_HZ, 2, rate_hz=MODEL_RATE_HZ)])
    gateway = make_gateway(realtime_url=server.url, account=way.account, media_timeout="5s")
    gateway.wait_until_registered()
    alice = make_phone("alice", plays=tone(CALLER_TONE_HZ, 120))
    pbx.trace_sip()
    mark = pbx.log_mark()
    alice.dial(way.number)
    alice.wait_for("CALL_ESTABLISHED")
    conversation = server.wait_for_conversation()
    wait_until(lambda: still_heard(conversation), "the caller's tone", 5)

    alice.hold()
    wait_until(lambda: not still_heard(conversation), "silence or music instead of the caller", 5)
    time.sleep(6 if way.is_told else 2)  # nothing at all comes on a hold that was told, and that is no loss
    alice.resume()
    wait_until(lambda: still_heard(conversation), "the caller's tone again", 5)
    conversation.answer()
    time.sleep(3)
    alice.hang_up()
    pbx.wait_until_idle()

    ended = gateway.wait_for("call ended")
    assert ended["outcome"] == "caller-hung-up"
    assert ended["duration_s"] > 5
    assert tone_seconds(read_wav(pbx.recordings / f"{way.number}-gateway.wav")[0], MODEL_TONE_HZ) > 1.5
    held = rf"Transmitting SIP request[^\n]*to UDP:127.0.0.1:{gateway.sip_port}(?:(?!<---)[\s\S])*a=sendonly"
    assert (re.search(held, pbx.log_since(mark)) is not None) == way.is_told
