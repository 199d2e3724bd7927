"""The whole of the SIP core: datagrams of a peer within a call, and after each the peer's OPTIONS is answered."""

from __future__ import annotations

from tests.fuzz import message
from tests.support.calls import taken_call
from tests.support.wire import PBX

_CALL = taken_call()
_SEPARATOR = b"\n--datagram--\n"


def _within(method: str, **parts: object) -> bytes:
    return _CALL.request(method, **parts).to_bytes()


_OFFER = _CALL.pbx.invite(call_id="other@pbx").to_bytes()
SEEDS = [
    _within("INFO", body=b"Signal=5\r\nDuration=100", content_type="application/dtmf-relay"),
    _within("UPDATE", headers=(("Supported", "timer"), ("Session-Expires", "90;refresher=uac"))),
    _within("REFER", headers=(("Refer-To", "<sip:6001@10.0.0.2?Replaces=a%40b%3Bto-tag%3D1%3Bfrom-tag%3D2>"),)),
    _within("NOTIFY", headers=(("Event", "refer"), ("Subscription-State", "active")), body=b"SIP/2.0 200 OK"),
    _within("BYE", headers=(("Reason", 'Q.850;cause=16;text="x"'),)),
    _OFFER + _SEPARATOR + _OFFER.replace(b"INVITE", b"CANCEL"),
    *message.SEEDS,
]


def fuzz(data: bytes) -> None:
    call = taken_call()
    for datagram in data.split(_SEPARATOR)[:4]:
        call.gateway.receive_datagram(datagram, PBX, call.wire.now)
        sent = call.user_agent.datagrams_to_send()
        assert len(sent) <= 3
    probe = call.pbx.request("OPTIONS", call_id="probe@pbx", branch="z9hG4bKprobe")
    call.gateway.receive_datagram(probe.to_bytes(), PBX, call.wire.now)
    assert any(b"SIP/2.0 200 OK" in sent and b"z9hG4bKprobe" in sent for sent, _ in call.user_agent.datagrams_to_send())
