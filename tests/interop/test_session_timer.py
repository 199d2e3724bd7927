"""RFC 4028: the PBX refreshes a session of 90 s after 45 s, and the call goes on."""

from __future__ import annotations

from tests.interop.conftest import GatewayMaker, SpeechServerMaker
from tests.interop.pbx import Pbx


def test_a_session_refresh_by_the_pbx_keeps_the_call(
    pbx: Pbx, make_gateway: GatewayMaker, make_speech_server: SpeechServerMaker
) -> None:
    server = make_speech_server([])
    gateway = make_gateway(realtime_url=server.url, account="gateway-timers")
    gateway.wait_until_registered()
    pbx.trace_sip()
    mark = pbx.log_mark()
    caller = pbx.originate("7003", prompt="demo-instruct", delay_s=0)  # 73 s
    answer = r"SIP/2.0 200 OK\s[\s\S]{0,900}?CSeq: \d+ UPDATE[\s\S]{0,600}?Session-Expires: 90"
    pbx.wait_for_log(answer, since=mark, timeout_s=55)
    assert not gateway.found("call ended")
    pbx.hang_up(caller)
    ended = gateway.wait_for("call ended")
    assert ended["outcome"] == "caller-hung-up"
    assert ended["duration_s"] > 44
