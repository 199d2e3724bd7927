"""A caller is handed to a human: the agent's phone rings, both hear each other, the gateway leaves."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from tests.interop.conftest import AGENT_TONE_HZ, GatewayMaker, PhoneMaker, Speak
from tests.interop.gateway_process import DIALPLAN, GatewayProcess
from tests.interop.pbx import Pbx
from tests.interop.phone import Phone
from tests.support.listening import read_wav, silence, tone, tone_seconds, write_wav

CALLER_TONE_HZ = 620.0


def caller_tone(pbx: Pbx, folder: Path) -> str:
    return pbx.add_prompt(write_wav(folder / "caller-tone.wav", tone(CALLER_TONE_HZ, 3)))


def test_key_zero_connects_caller_and_agent(
    pbx: Pbx, gateway_process: GatewayProcess, agent_phone: Phone, tmp_path: Path
) -> None:
    pbx.trace_sip()
    mark = pbx.log_mark()
    pbx.originate("7000", keys="0", after=caller_tone(pbx, tmp_path), delay_s=3, stay_s=0.5, record="zero")
    agent_phone.wait_for("CALL_ESTABLISHED")
    ended = gateway_process.wait_for("call ended")
    agent_phone.wait_for("CALL_CLOSED")
    pbx.wait_until_idle()
    assert ended["outcome"] == "transferred"
    assert ended["transfer"] == "operator"
    assert ended["escalations"] == ["zero"]
    pbx.wait_for_log(rf"REFER sip:[\s\S]*?Refer-To: <sip:6001@127.0.0.1:{pbx.ports.sip}>", since=mark)
    pbx.wait_for_log(r"BYE sip:asterisk@", since=mark)
    assert tone_seconds(agent_phone.heard(), CALLER_TONE_HZ) > 2.0
    assert tone_seconds(read_wav(pbx.heard("zero"))[0], AGENT_TONE_HZ) > 2.0


def test_a_spoken_request_connects_caller_and_agent(
    pbx: Pbx, gateway_process: GatewayProcess, agent_phone: Phone, tmp_path: Path, speak: Speak
) -> None:
    request = np.concatenate([speak("I want to talk to a human."), silence(1)])
    asked = pbx.add_prompt(write_wav(tmp_path / "request.wav", request))
    pbx.originate(
        "7000", prompt=asked, after=caller_tone(pbx, tmp_path), delay_s=5, stay_s=3, record="spoken"
    )  # the greeting takes 3 s
    agent_phone.wait_for("CALL_ESTABLISHED", timeout_s=25)
    ended = gateway_process.wait_for("call ended", timeout_s=10)
    assert ended["outcome"] == "transferred"
    assert ended["tools"] == 1
    agent_phone.wait_for("CALL_CLOSED", timeout_s=25)
    pbx.wait_until_idle()
    assert tone_seconds(read_wav(pbx.heard("spoken"))[0], AGENT_TONE_HZ) > 2.0


def test_a_caller_whom_nobody_takes_comes_back_to_the_gateway(pbx: Pbx, gateway_process: GatewayProcess) -> None:
    """No agent is registered; the dialplan of deploy/asterisk brings the caller back, and tells why."""
    pbx.trace_sip()
    mark = pbx.log_mark()
    pbx.originate("7000", keys="0", delay_s=2, stay_s=4)
    gateway_process.wait_for("call ended", outcome="transferred")
    pbx.wait_for_log(r"X-Transfer-Failed: CHANUNAVAIL", since=mark)
    assert len(gateway_process.found("call started")) == 2
    pbx.wait_until_idle(15)


def test_call_whose_caller_was_lost_in_a_failed_transfer_is_ended_soon(
    pbx: Pbx, gateway_process: GatewayProcess, make_phone: PhoneMaker
) -> None:
    """Asterisk keeps the gateway's call open and silent after a busy target; the caller has been hung up on."""
    alice = make_phone("alice", plays=tone(CALLER_TONE_HZ, 60))
    alice.dial("7000")
    gateway_process.wait_for("= state", new="talking", timeout_s=10)
    time.sleep(1)  # a caller who has been heard for a while
    alice.press("9")
    gateway_process.wait_for("transfer", state="failed")
    alice.wait_for("CALL_CLOSED", timeout_s=2)
    ended = gateway_process.wait_for("call ended", timeout_s=5)
    assert ended["cause"] == "the PBX kept the caller of a transfer that failed"
    pbx.wait_until_idle()


def test_call_that_is_forwarded_at_once_is_not_too_early_for_the_pbx(
    pbx: Pbx, make_gateway: GatewayMaker, make_phone: PhoneMaker, agent_phone: Phone
) -> None:
    """Asterisk fails a REFER that comes while it still bridges the call, one in ten or so; it is sent again."""
    forward = 'routes:\n  - {name: forward, match: {to: "49*"}, do: [{transfer: operator}]}\n'
    gateway = make_gateway(dialplan=DIALPLAN.replace("routes:\n", forward))
    gateway.wait_until_registered()
    alice = make_phone("alice")
    for _ in range(12):
        mark = gateway.mark()
        alice.dial("491234567")
        ended = gateway.wait_for("call ended", since=mark)
        assert (ended["outcome"], ended["transfer_state"]) == ("transferred", "handed-over")
        pbx.hang_up_all()
