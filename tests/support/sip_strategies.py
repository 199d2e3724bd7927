"""Hypothesis strategies for the values of the SIP grammar: everything that can be built and must survive the wire."""

from __future__ import annotations

import string

from hypothesis import strategies as st

from gateway.sip.grammar import quote
from gateway.sip.message import CSeq, Headers, NameAddr, Request, Response, Uri, Via

TOKEN_CHARACTERS = string.ascii_letters + string.digits + "-.!%*_+`'~"
UNRESERVED = string.ascii_letters + string.digits + "-_.!~*'()"

tokens = st.text(TOKEN_CHARACTERS, min_size=1, max_size=20)
hosts = st.one_of(
    st.sampled_from(["example.com", "sip_proxy", "a-b.c9", "localhost", "x"]),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
)
ports = st.none() | st.integers(1, 65535)
# What a display name or a quoted parameter may hold: anything but a line break.
free_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=20)
bare_values = st.text(string.ascii_letters + string.digits + "-.!%*_+`'~=:/[]@", max_size=20)
parameters = st.lists(st.tuples(tokens, st.none() | bare_values | free_text.map(quote)), max_size=4).map(tuple)

escaped = st.integers(0, 255).map(lambda octet: f"%{octet:02X}")


def _uri_text(characters: str, min_size: int = 0) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(characters) | escaped, min_size=min_size, max_size=12).map("".join)


uri_parameters = st.lists(
    st.tuples(_uri_text(UNRESERVED + "[]/:&+$", 1), st.none() | _uri_text(UNRESERVED + "[]/:&+$")), max_size=3
).map(tuple)


@st.composite
def sip_uris(draw: st.DrawFn, *, with_headers: bool = True) -> Uri:
    user = draw(st.none() | _uri_text(UNRESERVED + "&=+$,;?/", 1))
    password = draw(st.none() | _uri_text(UNRESERVED + "&=+$,")) if user is not None else None
    headers = draw(st.sampled_from(["", "Replaces=a%40b%3Bto-tag%3D1", "a=b&c="])) if with_headers else ""
    scheme = draw(st.sampled_from(["sip", "sips"]))
    return Uri(scheme, user, password, draw(hosts), draw(ports), draw(uri_parameters), headers)


tel_uris = st.builds(
    lambda number, pairs: Uri("tel", number, parameters=pairs),
    st.text(string.digits + "+-.()*", min_size=1, max_size=15),
    uri_parameters,
)
opaque_uris = st.sampled_from([Uri("http", "//www.example.com/"), Uri("urn", "uuid:1-2")])
uris = st.one_of(sip_uris(), tel_uris, opaque_uris)
name_addrs = st.builds(NameAddr, free_text, uris, parameters)
vias = st.builds(Via, tokens.map(str.upper), hosts, ports, parameters, st.sampled_from(["SIP/2.0", "SIP/2.1"]))
methods = st.sampled_from(["INVITE", "BYE", "OPTIONS", "REFER", "!odd-Method~%"]) | tokens.filter(
    lambda text: text.upper() != "SIP"
)
header_values = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\x7f"), max_size=40).map(
    lambda text: text.strip(" \t")
)


@st.composite
def message_headers(draw: st.DrawFn, method: str, body: bytes) -> Headers:
    headers = Headers()
    for via in draw(st.lists(vias, min_size=1, max_size=3)):
        headers.add("Via", str(via))
    headers.add("From", str(draw(name_addrs)))
    headers.add("To", str(draw(name_addrs)))
    headers.add("Call-ID", draw(st.text(string.ascii_letters + string.digits + '@.-/"(){}<>:\\[]?', min_size=1)))
    headers.add("CSeq", str(CSeq(draw(st.integers(0, 2**31 - 1)), method)))
    for contact in draw(st.lists(name_addrs, max_size=2)):
        headers.add("Contact", str(contact))
    for value in draw(st.lists(header_values, max_size=3)):
        headers.add(draw(st.sampled_from(["Subject", "X-Odd", "User-Agent", "Supported"])), value)
    headers.add("Content-Length", str(len(body)))
    return headers


@st.composite
def requests(draw: st.DrawFn) -> Request:
    method, body = draw(methods), draw(st.binary(max_size=30))
    uri = draw(sip_uris(with_headers=False) | tel_uris)
    return Request(method=method, uri=uri, headers=draw(message_headers(method, body)), body=body)


@st.composite
def responses(draw: st.DrawFn) -> Response:
    body = draw(st.binary(max_size=30))
    headers = draw(message_headers(draw(methods), body))
    return Response(status=draw(st.integers(100, 699)), reason=draw(header_values), headers=headers, body=body)
