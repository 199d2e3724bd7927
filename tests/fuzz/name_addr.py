"""From, To, Contact and their like: what is parsed prints to itself."""

from __future__ import annotations

from contextlib import suppress

from gateway.errors import MessageError
from gateway.sip.headers import NameAddr

SEEDS = [
    b'"Mr. \\"Watson\\"" <mailto:watson@bell-telephone.com> ;q=0.1',
    b"<sip:alice@[2001:db8::1]:5060;transport=udp>;tag=1928301774;expires=3600",
    b"sip:+12125551212@server.phone2net.com;tag=887s",
    b'J\xc3\xb6rg <sip:j@example.com>;+sip.instance="<urn:uuid:f81d4fae>"',
    b'"\\\x07 \\\x00" <tel:+4930>;tag=a==;x="a\\\\b"',
    b'"<script>alert(1)</script>" <sip:x@y>;tag=1',
]


def fuzz(data: bytes) -> None:
    with suppress(MessageError):
        value = NameAddr.parse(data.decode("utf-8", "surrogateescape"))
        again = NameAddr.parse(str(value))
        assert again == value
        assert (again.tag, again.parameter("x")) == (value.tag, value.parameter("x"))
        assert value.with_parameter("tag", "new").tag == "new"
