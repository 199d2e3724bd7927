"""Signalling over TLS with a real Asterisk, and audio by SRTP; and a PBX that is not trusted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from tests.interop import certificates
from tests.interop.conftest import MODEL_TONE_HZ, GatewayMaker, SpeechServerMaker, unavailable
from tests.interop.pbx import HOST, Pbx, wait_until
from tests.interop.speech_server import MODEL_RATE_HZ
from tests.support.listening import level_dbov, read_wav, resampled, tone, tone_seconds

PROMPT = "demo-abouttotry"  # 15 s of a human voice


@pytest.fixture
def authority(pbx: Pbx) -> str:
    """The PBX's certificate authority, for a gateway that speaks TLS."""
    if reason := certificates.obstacle():
        unavailable(reason)
    return str(pbx.authority)


def over_tls(pbx: Pbx, **more: object) -> dict[str, object]:
    return {"registrar": f"sip:{HOST}:{pbx.ports.tls}", "transport": "tls", **more}


@dataclass(frozen=True)
class Way:
    """An account that Asterisk reaches over TLS, its number, and further keys of the gateway's trunk."""

    account: str
    number: str
    trunk: Mapping[str, object]


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(Way("gateway-tls", "7011", {}), id="plain-audio"),
        pytest.param(Way("gateway-secure", "7012", {"srtp": "required"}), id="SRTP"),
    ],
)
def test_calls_go_both_ways_over_tls(
    pbx: Pbx,
    authority: str,
    make_gateway: GatewayMaker,
    make_speech_server: SpeechServerMaker,
    way: Way,
) -> None:
    server = make_speech_server([tone(MODEL_TONE_HZ, 3, rate_hz=MODEL_RATE_HZ)])
    gateway = make_gateway(
        realtime_url=server.url, account=way.account, trunk=over_tls(pbx, **way.trunk), sip={"tls": {"ca": authority}}
    )
    gateway.wait_until_registered()
    wait_until(lambda: pbx.contact_status(way.account) == "Avail", "OPTIONS answered over TLS", 5)
    pbx.trace_sip()
    mark = pbx.log_mark()
    pbx.originate(way.number, prompt=PROMPT, delay_s=0, stay_s=0, record=way.account)
    conversation = server.wait_for_conversation()
    wait_until(lambda: conversation.uplink_s > 4, "4 s of the caller", 10)
    pbx.hang_up_all()
    assert gateway.wait_for("call ended")["outcome"] == "caller-hung-up"
    log = pbx.log_since(mark)
    assert re.search(rf"Transmitting SIP request[^\n]*to TLS:{HOST}:\d+[^<]*\nINVITE ", log)
    assert ("RTP/SAVP" in log) == bool(way.trunk)
    assert tone_seconds(read_wav(pbx.heard(way.account))[0], MODEL_TONE_HZ) > 2
    assert level_dbov(resampled(conversation.uplink, MODEL_RATE_HZ, 8000)) > -40


def test_a_pbx_whom_nobody_vouches_for_is_not_shown_the_account(
    pbx: Pbx, authority: str, make_gateway: GatewayMaker, make_speech_server: SpeechServerMaker
) -> None:
    """Without `ca` those of the machine decide, and they do not know the laboratory's."""
    pbx.trace_sip()
    mark = pbx.log_mark()
    gateway = make_gateway(realtime_url=make_speech_server([]).url, account="gateway-tls", trunk=over_tls(pbx))
    gateway.wait_for("registration failed", timeout_s=40)
    assert not re.search(r"^REGISTER ", pbx.log_since(mark), re.MULTILINE)
