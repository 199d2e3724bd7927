"""Lists, quoted strings and parameters: the pieces of a list joined are the same list."""

from __future__ import annotations

from contextlib import suppress

from gateway.errors import MessageError
from gateway.sip.grammar import format_parameters, parse_host_port, parse_parameters, quote, split_list, unquote
from gateway.sip.headers import Headers, canonical_name

SEEDS = [
    b'a, "b,c", <sip:d,e>, f;g="h,i"',
    b"timer, 100rel,,replaces , norefersub",
    b'<sip:a@b;lr>,"x\\"y" <sip:c@d>;q=0.1,sip:e@f',
    b';branch=z9hG4bK1;rport;x="a;b\\"c";;y=',
    b"[2001:db8::1]:5060",
    b"call-id",
]


def fuzz(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    if "\r" not in text and "\n" not in text:
        assert unquote(quote(text)) == text
    with suppress(MessageError):
        values = split_list(text)
        assert split_list(", ".join(values)) == values
    with suppress(MessageError):
        parameters = parse_parameters(text)
        assert parse_parameters(format_parameters(parameters)) == parameters
    with suppress(MessageError):
        host, port = parse_host_port(text)
        assert host
        assert port is None or 0 < port < 65536
    with suppress(MessageError):
        name = canonical_name(text)
        assert canonical_name(name) == name
    with suppress(MessageError, ValueError):
        headers = Headers([("X-Any", text)])
        assert "\n" not in (headers.get("x-any") or "")
