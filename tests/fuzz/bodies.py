"""Bodies of INFO and NOTIFY: a key with its duration, a status, or nothing."""

from __future__ import annotations

from gateway.sip.bodies import read_digit, read_sipfrag

SEEDS = [
    b"Signal=5\r\nDuration=160\r\n",
    b"signal = *\nDURATION= 99999999\n",
    b"#",
    b"SIP/2.0 200 OK",
    b"\r\nSIP/2.0 486 Busy Here\r\nContact: <sip:x@y>\r\n",
    b"SIP/2.0 100",
]


def fuzz(data: bytes) -> None:
    for content_type in ("application/dtmf", "application/dtmf-relay"):
        digit = read_digit(content_type, data)
        if digit is not None:
            assert digit[0] in "0123456789*#ABCD"
            assert len(digit[0]) == 1
            assert 0 <= digit[1] <= 10_000
    told = read_sipfrag(data)
    if told is not None:
        assert 100 <= told[0] <= 699
        assert len(told[1]) <= 200
        assert "\n" not in told[1]
