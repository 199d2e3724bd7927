"""baresip as the caller, behind the PBX and face to face with the gateway: keys, hold, transfers that it asks for."""

from __future__ import annotations

import numpy as np

from tests.interop.conftest import AGENT_TONE_HZ, MODEL_TONE_HZ, GatewayMaker, PhoneMaker, SpeechServerMaker
from tests.interop.pbx import HOST, Pbx, wait_until
from tests.interop.speech_server import MODEL_RATE_HZ, Conversation
from tests.interop.test_digits import told_to_the_model
from tests.support.listening import resampled, tone, tone_seconds

CALLER_TONE_HZ = 620.0


def lately_heard(conversation: Conversation, frequency_hz: float) -> bool:
    """Whether the last half second of what the model hears is a tone of this frequency."""
    last = conversation.uplink[-MODEL_RATE_HZ // 2 :]
    return len(last) == MODEL_RATE_HZ // 2 and tone_seconds(resampled(last, MODEL_RATE_HZ, 8000), frequency_hz) > 0.4


def test_the_gateway_stays_with_a_colleague_to_whom_the_caller_hands_it(
    pbx: Pbx, make_gateway: GatewayMaker, make_phone: PhoneMaker, make_speech_server: SpeechServerMaker
) -> None:
    """Asterisk tells who is on the line now by a re-INVITE or UPDATE: another P-Asserted-Identity, the same SDP."""
    server = make_speech_server([np.zeros(240, np.int16), tone(MODEL_TONE_HZ, 2, rate_hz=MODEL_RATE_HZ)])
    gateway = make_gateway(realtime_url=server.url)
    gateway.wait_until_registered()
    alice = make_phone("alice", plays=tone(CALLER_TONE_HZ, 60))
    bob = make_phone("bob", plays=tone(AGENT_TONE_HZ, 60), answers=True)
    pbx.trace_sip()
    mark = pbx.log_mark()
    alice.dial("7000")
    conversation = server.wait_for_conversation()
    wait_until(lambda: lately_heard(conversation, CALLER_TONE_HZ), "the caller", 8)
    alice.transfer("1002")
    bob.wait_for("CALL_ESTABLISHED")
    wait_until(lambda: lately_heard(conversation, AGENT_TONE_HZ), "the colleague", 8)
    told = rf"to UDP:{HOST}:{gateway.sip_port}[^<]*\n(?:INVITE|UPDATE) sip:gateway(?:(?!<---)[\s\S])*"
    pbx.wait_for_log("Transmitting SIP request[^\n]*" + told + r"P-Asserted-Identity: [^\n]*1002@", since=mark)
    conversation.answer()
    wait_until(lambda: tone_seconds(bob.heard(), MODEL_TONE_HZ) > 1, "the model's words at the colleague", 6)
    assert not gateway.found("call ended")
    bob.hang_up()
    assert gateway.wait_for("call ended")["outcome"] == "caller-hung-up"


def test_a_phone_face_to_face_holds_presses_keys_and_may_not_transfer_the_gateway(
    make_gateway: GatewayMaker, make_phone: PhoneMaker, make_speech_server: SpeechServerMaker
) -> None:
    server = make_speech_server([])
    gateway = make_gateway(realtime_url=server.url, trunks={"phones": {"peer": HOST}}, registrar=None)
    gateway.wait_until_ready()
    alice = make_phone("alice", plays=tone(CALLER_TONE_HZ, 60))
    alice.dial("7000", at=f"{HOST}:{gateway.sip_port}")
    conversation = server.wait_for_conversation()
    wait_until(lambda: lately_heard(conversation, CALLER_TONE_HZ), "the caller", 8)
    alice.hold()
    wait_until(lambda: not lately_heard(conversation, CALLER_TONE_HZ), "the hold", 5)
    alice.resume()
    wait_until(lambda: lately_heard(conversation, CALLER_TONE_HZ), "the caller again", 5)
    alice.press("2")
    wait_until(lambda: "these telephone keys: 2" in told_to_the_model(conversation), "the key", 5)
    mark = alice.mark()
    alice.transfer("6001")
    alice.wait_for("TRANSFER_FAILED", since=mark)
    wait_until(lambda: lately_heard(conversation, CALLER_TONE_HZ), "the caller, still there", 5)
    alice.hang_up()
    assert gateway.wait_for("call ended")["outcome"] == "caller-hung-up"
