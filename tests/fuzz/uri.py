"""URIs: what is parsed prints to itself, and is the same resource as itself."""

from __future__ import annotations

from contextlib import suppress

from gateway.errors import MessageError
from gateway.sip.uri import Uri, escape_user, unescape

SEEDS = [
    b"sip:alice@example.com",
    b"sips:alice:secret@[2001:db8::10]:5061;transport=tls?subject=project%20x&priority=urgent",
    b"sip:[::ffff:192.0.2.1];lr;maddr=239.255.255.1;ttl=15",
    b"sip:user;par=u%40example.net@example.com",
    b"sip:sips%3Auser%40example.com@example.net;%6C%72;n%61me=v%61lue%25%34%31",
    b"sip:null-%00-null@example.com",
    b"tel:+49-30-1234;phone-context=example.com;ext=1",
    b"sip:*31#49@10.0.0.1?Replaces=a%40b%3Bto-tag%3D1%3Bfrom-tag%3D2",
    b"urn:service:sos",
]


def fuzz(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    escape_user(text).encode("ascii")
    with suppress(MessageError):
        uri = Uri.parse(text)
        again = Uri.parse(str(uri))
        assert again == uri
        assert uri.matches(again)
        uri.unescaped_user.encode("utf-8", "surrogateescape")
        for name, _ in uri.parameters:
            assert uri.parameter(unescape(name)) is not None
        assert Uri.parse(str(uri.without_headers().without_parameters())).host == uri.host
