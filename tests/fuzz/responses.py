"""Responses to what the SIP core asked: REGISTER, a first INVITE, and within a call re-INVITE or REFER and BYE.

Chance is seeded, so that branches and tags are the same in every run and the seeds belong to transactions that wait.
"""

from __future__ import annotations

from gateway.sip.message import Uri
from tests.support.calls import RunningCall, placed_call
from tests.support.wire import PBX, description, respond

SEPARATOR = b"\n--datagram--\n"
TARGET = Uri.parse("sip:6001@10.0.0.2")
STATUSES = (100, 180, 183, 200, 202, 302, 401, 407, 408, 415, 420, 422, 423, 481, 486, 491, 500, 503, 603)
HEADERS = (
    ("Supported", "timer"),
    ("Session-Expires", "1800;refresher=uas"),
    ("Min-SE", "1900"),
    ("Min-Expires", "600"),
    ("Retry-After", "5 (busy);duration=60"),
    ("Expires", "60"),
    ("Unsupported", "timer"),
    ("Allow", "INVITE, ACK, BYE, UPDATE"),
    ("WWW-Authenticate", 'Digest realm="asterisk",nonce="1/a",algorithm=MD5,qop="auth"'),
    ("Proxy-Authenticate", 'Digest realm="asterisk",nonce="1/a",algorithm=SHA-256,qop="auth"'),
    ("Record-Route", "<sip:10.0.0.2;lr>"),
)


def _asking() -> RunningCall:
    """A call in which everything that can wait for an answer does."""
    call = placed_call()
    agent, now = call.user_agent, call.wire.now
    agent.register("pbx", now)
    agent.invite("pbx", TARGET, offer=description(), now=now)
    agent.reoffer(call.leg_id, description(version=1), now)
    agent.refer(call.leg_id, TARGET, now)
    call.wire.run(0.1)
    return call


_CALL = _asking()
SEEDS = [
    respond(request, status, answer=description(PBX.host), headers=HEADERS).to_bytes()
    for request in (*_CALL.pbx.requests("REGISTER"), *_CALL.pbx.requests("INVITE")[1:], *_CALL.pbx.requests("REFER"))
    for status in STATUSES
]
SEEDS.append(SEPARATOR.join(SEEDS[1::7]))


def fuzz(data: bytes) -> None:
    call = _asking()
    for datagram in data.split(SEPARATOR)[:6]:
        call.gateway.receive_datagram(datagram, PBX, call.wire.now)
        assert len(call.user_agent.datagrams_to_send()) <= 4
    probe = call.pbx.request("OPTIONS", call_id="probe@pbx", branch="z9hG4bKprobe")
    call.gateway.receive_datagram(probe.to_bytes(), PBX, call.wire.now)
    assert any(b"SIP/2.0 200 OK" in sent and b"z9hG4bKprobe" in sent for sent, _ in call.user_agent.datagrams_to_send())
    call.wire.run(1)
