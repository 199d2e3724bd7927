"""Session-Expires, Min-SE, Reason and the lists that a call's machines read: numbers in bounds, or nothing."""

from __future__ import annotations

from contextlib import suppress

from gateway.sip.core import listed
from gateway.sip.leg import read_reason
from gateway.sip.message import Headers, Request, Uri
from gateway.sip.session_timer import read_min_se, read_session_expires, refuse_interval

NAMES = ("Session-Expires", "Min-SE", "Reason", "Supported")
SEEDS = [
    b"1800;refresher=uas",
    b" 90 ; Refresher = UAC ; x",
    b'SIP ;cause=200 ;text="Call completed elsewhere"',
    b"Q.850;cause=16;text=normal, SIP;cause=486",
    b"timer, 100rel",
    b"99999999999999999999",
]


def fuzz(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
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
