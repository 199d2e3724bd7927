"""Encrypted audio with keys in SDP, with Asterisk and baresip: both ways, over hold and resume; and who is refused."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest

from gateway.sip.sdes import SUITES
from tests.interop.conftest import GatewayMaker, PhoneMaker, SpeechServerMaker
from tests.interop.pbx import Pbx, wait_until
from tests.interop.speech_server import MODEL_RATE_HZ
from tests.interop.test_hold import CALLER_TONE_HZ, MODEL_TONE_HZ, still_heard
from tests.support.listening import read_wav, silence, tone, tone_seconds

SUITE = "AES_CM_128_HMAC_SHA1_80"


@dataclass(frozen=True)
class Way:
    """An account that Asterisk encrypts for, the gateway's policy, and the profile Asterisk offers."""

    account: str
    number: str
    policy: str
    profile: str


REQUIRED = ("gateway-srtp", "7005")
OPTIMISTIC = ("gateway-srtp-optimistic", "7006")


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(Way(*REQUIRED, "optional", "RTP/SAVP"), id="SAVP-optional"),
        pytest.param(Way(*REQUIRED, "required", "RTP/SAVP"), id="SAVP-required"),
        pytest.param(Way(*OPTIMISTIC, "optional", "RTP/AVP"), id="AVP-with-keys"),
    ],
)
def test_encrypted_audio_goes_both_ways_over_hold_and_resume(
    pbx: Pbx, make_gateway: GatewayMaker, make_phone: PhoneMaker, make_speech_server: SpeechServerMaker, way: Way
) -> None:
    server = make_speech_server([silence(0.1, rate_hz=MODEL_RATE_HZ), tone(MODEL_TONE_HZ, 2, rate_hz=MODEL_RATE_HZ)])
    gateway = make_gateway(realtime_url=server.url, account=way.account, srtp=way.policy, srtp_over_plain=True)
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
    time.sleep(1)
    alice.resume()
    wait_until(lambda: still_heard(conversation), "the caller's tone again", 5)
    conversation.answer()
    time.sleep(3)
    alice.hang_up()
    pbx.wait_until_idle()

    ended = gateway.wait_for("call ended")
    assert (ended["outcome"], ended["srtp"]) == ("caller-hung-up", SUITE)
    assert tone_seconds(read_wav(pbx.recordings / f"{way.number}-gateway.wav")[0], MODEL_TONE_HZ) > 1.5
    told = pbx.log_since(mark)
    assert f"{way.profile} " in told
    assert f"{SUITE} inline:" in told
    assert "inline:" not in "".join(map(str, gateway.lines))


@dataclass(frozen=True)
class Mismatch:
    """An account of Asterisk, and a policy of the gateway that does not go with it."""

    account: str
    number: str
    policy: str
    over_plain: bool


@pytest.mark.parametrize(
    "mismatch",
    [
        pytest.param(Mismatch(*REQUIRED, "off", over_plain=False), id="off"),
        pytest.param(Mismatch(*REQUIRED, "optional", over_plain=False), id="no-keys-over-udp"),
        pytest.param(Mismatch("gateway", "7010", "required", over_plain=True), id="required-of-a-plain-PBX"),
    ],
)
def test_call_without_common_encryption_is_refused(
    pbx: Pbx, make_gateway: GatewayMaker, make_phone: PhoneMaker, mismatch: Mismatch
) -> None:
    gateway = make_gateway(account=mismatch.account, srtp=mismatch.policy, srtp_over_plain=mismatch.over_plain)
    gateway.wait_until_registered()
    alice = make_phone("alice")
    alice.dial(mismatch.number)
    alice.wait_for("CALL_CLOSED")
    assert gateway.wait_for("call refused")["status"] == 488
    pbx.wait_until_idle()


@pytest.mark.parametrize("encryption", ["srtp", "srtp-mand"])
@pytest.mark.parametrize("policy", ["optional", "required"])
def test_baresip_is_heard_and_hears_without_a_pbx_between(
    make_gateway: GatewayMaker,
    make_phone: PhoneMaker,
    make_speech_server: SpeechServerMaker,
    encryption: str,
    policy: str,
) -> None:
    server = make_speech_server([silence(0.1, rate_hz=MODEL_RATE_HZ), tone(MODEL_TONE_HZ, 2, rate_hz=MODEL_RATE_HZ)])
    gateway = make_gateway(realtime_url=server.url, srtp=policy, srtp_over_plain=True)
    gateway.wait_until_registered()
    alice = make_phone("alice", plays=tone(CALLER_TONE_HZ, 120), encryption=encryption)
    alice.dial("7000", at=f"127.0.0.1:{gateway.sip_port}")
    alice.wait_for("CALL_ESTABLISHED")
    conversation = server.wait_for_conversation()
    wait_until(lambda: still_heard(conversation), "the caller's tone", 5)
    conversation.answer()
    time.sleep(3)
    alice.hang_up()
    assert gateway.wait_for("call ended")["srtp"] in SUITES
    assert tone_seconds(alice.heard(), MODEL_TONE_HZ) > 1.5
