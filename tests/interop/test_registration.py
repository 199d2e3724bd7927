"""The gateway registers, answers OPTIONS, says plainly why it cannot, leaves in order, and comes back."""

from __future__ import annotations

import re
import time

import pytest

from tests.interop.conftest import GatewayMaker, SpeechServerMaker
from tests.interop.gateway_process import GatewayProcess
from tests.interop.pbx import HOST, Pbx, wait_until

CALLS_UNDER_RESTART = 5
BACK_WITHIN_S = 31
BACK_AT_A_SIGN_S = 5


def test_the_pbx_reaches_the_registered_gateway(pbx: Pbx, gateway_process: GatewayProcess) -> None:
    wait_until(lambda: pbx.contact_status("gateway") == "Avail", "the gateway answers OPTIONS", 5)


def test_the_registration_is_refreshed_before_it_runs_out(pbx: Pbx, make_gateway: GatewayMaker) -> None:
    pbx.trace_sip()
    mark = pbx.log_mark()
    make_gateway(expires="10s").wait_until_registered()
    pbx.wait_for_log(r"Added contact 'sip:gateway@.* expiration of (9|10) seconds", since=mark)
    time.sleep(12)
    assert pbx.contact_status("gateway") == "Avail"
    granted_s = re.findall(
        r"SIP/2.0 200 OK(?:(?!<---)[\s\S])*CSeq: \d+ REGISTER(?:(?!<---)[\s\S])*;expires=(\d+)", pbx.log_since(mark)
    )
    assert len(granted_s) >= 2
    assert set(granted_s) <= {"9", "10"}  # refreshes do not ask for less and less
    assert not re.search(r"(Removed|Deleted) contact 'sip:gateway@|gateway.* has been deleted", pbx.log_since(mark))


def test_a_wrong_password_is_told_plainly_and_not_hammered(pbx: Pbx, make_gateway: GatewayMaker) -> None:
    mark = pbx.log_mark()
    gateway = make_gateway(password="wrong")
    line = gateway.wait_for("registration failed", timeout_s=40)
    assert line["trunk"] == "pbx"
    assert line["status"] in {401, 403}
    assert line["reason"]
    assert line["retry_in_s"] > 0
    time.sleep(2)
    assert (
        1 <= len(re.findall(r"SecurityEvent=\"(?:InvalidPassword|ChallengeResponseFailed)\"", pbx.log_since(mark))) <= 4
    )
    assert "wrong" not in str(gateway.lines)
    assert not gateway.found("registered")


def test_sigterm_takes_the_gateway_off_the_pbx(pbx: Pbx, gateway_process: GatewayProcess) -> None:
    mark = pbx.log_mark()
    gateway_process.terminate()
    assert gateway_process.wait_for_exit() == 0
    pbx.wait_for_log(r"Removed contact 'sip:gateway@.* due to request", since=mark)
    assert pbx.contact_status("gateway") == ""
    assert gateway_process.found("unregistered")


def test_two_gateways_stand_side_by_side(
    pbx: Pbx, make_gateway: GatewayMaker, make_speech_server: SpeechServerMaker
) -> None:
    server = make_speech_server([])
    gateways = {"7000": make_gateway(realtime_url=server.url)}
    gateways["7009"] = make_gateway(realtime_url=server.url, account="gateway-two")
    for number, gateway in gateways.items():
        gateway.wait_until_registered()
        pbx.originate(number, delay_s=1, stay_s=0)
    for number, gateway in gateways.items():
        gateway.wait_for("call ended")
        assert [line["to"] for line in gateway.found("call started")] == [number]


def test_a_pbx_that_dies_under_calls_is_found_again(
    pbx: Pbx, make_gateway: GatewayMaker, make_speech_server: SpeechServerMaker
) -> None:
    """Killed, it says no BYE and has forgotten every registration. Its calls end with a reason, nothing is left."""
    gateway = make_gateway(realtime_url=make_speech_server([]).url, expires="10s", media_timeout="5s")
    gateway.wait_until_registered()
    for _ in range(CALLS_UNDER_RESTART):
        pbx.originate("7000", prompt="demo-congrats", delay_s=0, stay_s=60)
    wait_until(lambda: len(gateway.found("call started")) == CALLS_UNDER_RESTART, "the calls", 10)
    time.sleep(1)
    pbx.kill()
    wait_until(lambda: len(gateway.found("call ended")) == CALLS_UNDER_RESTART, "the end of the calls", 8)
    assert {line["cause"] for line in gateway.found("call ended")} == {"no audio from the caller"}
    pbx.start()
    assert pbx.contact_status("gateway") == ""
    wait_until(lambda: pbx.contact_status("gateway") == "Avail", "the gateway is back", BACK_WITHIN_S)
    mark = gateway.mark()
    pbx.originate("7000", delay_s=1, stay_s=0)
    assert gateway.wait_for("call ended", since=mark)["outcome"] == "caller-hung-up"
    figures = gateway.stop()
    assert (figures["legs_left"], figures["rtp_ports_left"], figures["calls_left"]) == (0, 0, 0)


def test_calls_that_a_restarted_pbx_has_forgotten_are_ended_by_either_side(
    pbx: Pbx, make_gateway: GatewayMaker, make_speech_server: SpeechServerMaker
) -> None:
    """The gateway hangs up on a caller whom the new Asterisk does not know: its 481 is as good as a 200."""
    gateway = make_gateway(realtime_url=make_speech_server([]).url, drain="1s")
    gateway.wait_until_registered()
    pbx.originate("7000", prompt="demo-congrats", delay_s=0, stay_s=60)
    gateway.wait_for("call started")
    time.sleep(1)
    pbx.kill()
    pbx.start()
    pbx.trace_sip()
    mark = pbx.log_mark()
    gateway.stop()
    pbx.wait_for_log(r"BYE sip:asterisk@[\s\S]*SIP/2.0 481 ", since=mark)
    assert gateway.wait_for("call ended")["outcome"] == "gateway-hung-up"
    assert any(line["event"].endswith("ending -> ended") for line in gateway.lines)


@pytest.mark.long
def test_a_sign_of_life_ends_the_long_wait_for_a_registrar(
    pbx: Pbx, make_gateway: GatewayMaker, make_speech_server: SpeechServerMaker
) -> None:
    gateway = make_gateway(realtime_url=make_speech_server([]).url, expires="10s")
    gateway.wait_until_registered()
    pbx.stop()
    # Each try takes 32 s, the waits between them double: after the fifth it is 8 to 16 s.
    wait_until(lambda: len(given_up(gateway)) == 5, "five vain tries", 240)
    mark = gateway.mark()
    pbx.start()
    # A call from the PBX itself, which has no registration of the gateway.
    pbx.console(f"channel originate PJSIP/gateway/sip:7000@{HOST}:{gateway.sip_port} application Wait 1")
    gateway.wait_for("registered", since=mark, timeout_s=BACK_AT_A_SIGN_S)


def given_up(gateway: GatewayProcess) -> list[str]:
    """The REGISTER requests that nobody has answered."""
    events = [str(line["event"]) for line in gateway.lines]
    return [
        event
        for event in events
        if re.search(r"client \d+ REGISTER: \w+ -> Terminated", event) and "Completed" not in event
    ]
