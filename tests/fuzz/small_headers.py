"""Session-Expires, Reason, RAck, Replaces, identities and lists of option tags: numbers in bounds, or nothing."""

from __future__ import annotations

from contextlib import suppress

from gateway.errors import MessageError
from gateway.sip.core import listed
from gateway.sip.failure import read_retry_after_s
from gateway.sip.identity import asserted_identity
from gateway.sip.leg import read_reason
from gateway.sip.message import Headers, Request, Uri
from gateway.sip.reliable import read_rack
from gateway.sip.replaces import Replaces
from gateway.sip.session_timer import read_min_se, read_session_expires, refuse_interval

NAMES = (
    *("Session-Expires", "Min-SE", "Reason", "Supported", "RAck", "RSeq", "Retry-After"),
    *("P-Asserted-Identity", "Remote-Party-ID"),
)
SEEDS = [
    b"1800;refresher=uas",
    b" 90 ; Refresher = UAC ; x",
    b'SIP ;cause=200 ;text="Call completed elsewhere"',
    b"Q.850;cause=16;text=normal, SIP;cause=486",
    b"timer, 100rel",
    b"99999999999999999999",
    b"776656 1 INVITE",
    b"5 (busy);duration=60",
    b'a@b;to-tag="x;y";from-tag="\\"c"',
    b"425928@bobster.example.org;to-tag=7743;from-tag=6472;early-only",
    b'"Alice" <sip:1001@10.0.0.2>, <tel:+49301>;party=called',
]


def fuzz(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    with suppress(MessageError):
        replaces = Replaces.parse(text)
        assert Replaces.parse(str(replaces)) == replaces
    with suppress(ValueError):
        headers = Headers([(name, text) for name in NAMES])
        try:
            _read(Request(method="INVITE", uri=Uri("sip", host="x"), headers=headers))
        except ValueError as error:
            raise AssertionError("a header's value reached its user unread") from error


def _read(request: Request) -> None:
    interval_s, refresher = read_session_expires(request)
    assert interval_s is None or 0 <= interval_s < 10**9
    assert refresher in (None, "uac", "uas")
    assert 0 <= read_min_se(request) < 10**9
    refuse_interval(request, 90)
    status, reason = read_reason(request)
    assert status is None or 0 <= status <= 999
    assert "\n" not in reason
    listed(request, "Supported")
    asserted_identity(request)
    retry_after_s = read_retry_after_s(request.headers)
    assert retry_after_s is None or 0 <= retry_after_s < 10**9
    with suppress(MessageError):
        sequence, number, _ = read_rack(request)
        assert 0 <= sequence < 2**32
        assert 0 <= number < 2**31
