"""Network addresses and SIP URIs (RFC 3261 19.1, RFC 3966).

A `Uri` keeps every part as it stood on the wire, escapes included: a Contact that becomes a Request-URI must reach its
owner unchanged (RFC 3261 12.2.1.1). `unescaped_user` is what people and dialplans mean.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from ipaddress import IPv6Address
from typing import NamedTuple

from gateway.errors import MessageError, shown
from gateway.sip.grammar import (
    MAXIMUM_PARAMETERS,
    Parameters,
    format_host,
    format_parameters,
    parse_host_port,
    replace_parameter,
)


class Address(NamedTuple):
    """A numeric host, IPv6 without brackets, and a UDP or TCP port: where datagrams go and come from."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{format_host(self.host)}:{self.port}"


_scheme = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*+")
# RFC 3261 25.1 has no raw "#" in a user part, but star codes ("*31#") are sent with it by telephones and PBXs alike.
_user = re.compile(r"(?:[A-Za-z0-9\-_.!~*'()&=+$,;?/#]++|%[0-9A-Fa-f]{2})+")
_password = re.compile(r"(?:[A-Za-z0-9\-_.!~*'()&=+$,]++|%[0-9A-Fa-f]{2})*")
_parameter = re.compile(
    r";(?:((?:[A-Za-z0-9\-_.!~*'()\[\]/:&+$]++|%[0-9A-Fa-f]{2})+)"
    r"(?:=((?:[A-Za-z0-9\-_.!~*'()\[\]/:&+$=,@]++|%[0-9A-Fa-f]{2})*))?)?"
)
# "@" and ";" must be escaped in header values; transferring telephones leave them raw in ?Replaces=.
_headers = re.compile(r"(?:[A-Za-z0-9\-_.!~*'()\[\]/?:+$&=@;,]++|%[0-9A-Fa-f]{2})+")
_opaque = re.compile(r"[!#-;=?-~]++")
_escape = re.compile(r"%([0-9A-Fa-f]{2})")
_escaped_octet = re.compile(rb"%([0-9A-Fa-f]{2})")
_must_escape = re.compile(r"[^A-Za-z0-9\-_.!~*'()&=+$,/]")
_unreserved = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.!~*'()")
# RFC 3261 19.1.4: these must be the same in both URIs, or absent from both.
_compared_always = ("user", "ttl", "method", "maddr", "transport")


def unescape(text: str) -> str:
    """`text` with its %-escapes resolved once, never twice (RFC 4475 3.1.1.3); ``%00`` becomes a NUL character."""
    if "%" not in text:
        return text
    octets = _escaped_octet.sub(lambda found: bytes((int(found[1], 16),)), text.encode("utf-8", "surrogateescape"))
    return octets.decode("utf-8", "surrogateescape")


def escape_user(text: str) -> str:
    """`text` as the user part of a URI, with everything escaped that RFC 3261 25.1 does not allow there as it is."""
    return _must_escape.sub(
        lambda found: "".join(f"%{octet:02X}" for octet in found[0].encode("utf-8", "surrogateescape")), text
    )


def escape_header(text: str) -> str:
    """`text` as the value of a header within a URI (RFC 3261 19.1.1), with all but unreserved characters escaped."""
    octets = text.encode("utf-8", "surrogateescape")
    return "".join(chr(octet) if chr(octet) in _unreserved else f"%{octet:02X}" for octet in octets)


@dataclass(frozen=True, slots=True)
class Uri:
    """A URI as RFC 3261 19.1 has it. Other schemes: all behind the colon is in `user`, `host` is empty.

    `host` of an IPv6 reference is without brackets. `headers` is what follows the question mark, undivided.
    """

    scheme: str
    user: str | None = None
    password: str | None = None
    host: str = ""
    port: int | None = None
    parameters: Parameters = ()
    headers: str = ""

    @classmethod
    def parse(cls, text: str) -> Uri:
        """Raises: `MessageError` where `text` is not a URI; the scheme may be any."""
        scheme, colon, rest = text.partition(":")
        if not colon or not _scheme.fullmatch(scheme):
            raise MessageError(f"not a URI: {shown(text)}")
        scheme = scheme.lower()
        if scheme in ("sip", "sips"):
            return cls._parse_sip(scheme, rest)
        if not _opaque.fullmatch(rest):
            raise MessageError(f"not a {scheme} URI: {shown(text)}")
        if scheme != "tel":
            return cls(scheme, rest)
        number, semicolon, parameters = rest.partition(";")
        if not number:
            raise MessageError(f"tel URI without a number: {shown(text)}")
        return cls(scheme, number, parameters=_parse_uri_parameters(semicolon + parameters))

    @classmethod
    def _parse_sip(cls, scheme: str, rest: str) -> Uri:
        user: str | None = None
        password: str | None = None
        # "@" is escaped in the user part, so the first one ends it, whatever ";" or "?" came before (RFC 4475 3.1.1.9).
        before, at, after = rest.partition("@")
        if at:
            rest = after
            user, colon, secret = before.partition(":")
            if not _user.fullmatch(user) or not _password.fullmatch(secret):
                raise MessageError(f"not the user part of a URI: {shown(before)}")
            password = secret if colon else None
        rest, question, headers = rest.partition("?")
        if question and not _headers.fullmatch(headers):
            raise MessageError(f"not the headers of a URI: {shown(headers)}")
        host_port, semicolon, parameters = rest.partition(";")
        host, port = parse_host_port(host_port)
        return cls(scheme, user, password, host, port, _parse_uri_parameters(semicolon + parameters), headers)

    @classmethod
    def of_user(cls, user: str, host: str, port: int | None = None, *, scheme: str = "sip") -> Uri:
        """The URI of `user`, given as people write it, at `host`; characters that need it are escaped."""
        return cls(scheme, escape_user(user) or None, None, host, port)

    @property
    def unescaped_user(self) -> str:
        """The user part as people write it, escapes resolved once; "" where there is none. May hold any character."""
        return unescape(self.user or "")

    def parameter(self, name: str, default: str | None = None) -> str | None:
        """The value of the URI parameter `name`; "" where it stands without one (``;lr``)."""
        wanted = name.lower()
        for key, value in self.parameters:
            if unescape(key).lower() == wanted:
                return unescape(value) if value else ""
        return default

    def with_parameters(self, **parameters: str | None) -> Uri:
        """A copy with these parameters set; None sets one without a value, as in ``;lr``."""
        merged = self.parameters
        for name, value in parameters.items():
            merged = replace_parameter(merged, name, value)
        return replace(self, parameters=merged)

    def without_parameters(self, *names: str) -> Uri:
        """A copy without the named parameters; without all of them if none is named."""
        gone = {name.lower() for name in names}
        kept = tuple(pair for pair in self.parameters if names and pair[0].lower() not in gone)
        return replace(self, parameters=kept)

    def without_headers(self) -> Uri:
        """A copy without what follows the question mark, as a Request-URI must be (RFC 3261 19.1.5)."""
        return replace(self, headers="") if self.headers else self

    def with_header(self, name: str, value: str) -> Uri:
        """The URI asking for one more header in the request that is made of it (RFC 3261 19.1.5)."""
        header = f"{name}={escape_header(value)}"
        return replace(self, headers=f"{self.headers}&{header}" if self.headers else header)

    def matches(self, other: Uri) -> bool:
        """Whether both mean the same resource by RFC 3261 19.1.4 (and RFC 5954 for IPv6). Not transitive."""
        return _identity(self) == _identity(other) and _parameters_match(self.parameters, other.parameters)

    def __str__(self) -> str:
        if not self.host:
            return f"{self.scheme}:{self.user or ''}{format_parameters(self.parameters)}"
        user = ""
        if self.user is not None:
            user = f"{self.user}@" if self.password is None else f"{self.user}:{self.password}@"
        port = "" if self.port is None else f":{self.port}"
        headers = f"?{self.headers}" if self.headers else ""
        return f"{self.scheme}:{user}{format_host(self.host)}{port}{format_parameters(self.parameters)}{headers}"


def _parse_uri_parameters(text: str) -> Parameters:
    parameters: list[tuple[str, str | None]] = []
    position = 0
    while position < len(text):
        found = _parameter.match(text, position)
        if found is None:
            raise MessageError(f"not a URI parameter: {shown(text[position:])}")
        if found[1] is not None:
            parameters.append((found[1], found[2]))
        if len(parameters) > MAXIMUM_PARAMETERS:
            raise MessageError(f"more than {MAXIMUM_PARAMETERS} URI parameters")
        position = found.end()
    return tuple(parameters)


def _comparable(text: str | None) -> str | None:
    """`text` with escapes of unreserved characters resolved and the others in upper case (RFC 3261 19.1.4)."""
    if text is None or "%" not in text:
        return text

    def resolved(found: re.Match[str]) -> str:
        character = chr(int(found[1], 16))
        return character if character in _unreserved else found[0].upper()

    return _escape.sub(resolved, text)


def _identity(uri: Uri) -> tuple[object, ...]:
    """All that must be equal in both; parameters have a rule of their own."""
    pairs = (part.partition("=") for part in uri.headers.split("&") if part)
    headers = sorted(((_comparable(name) or "").lower(), _comparable(value) or "") for name, _, value in pairs)
    return uri.scheme, _comparable(uri.user), _comparable(uri.password), _comparable_host(uri.host), uri.port, headers


def _comparable_host(host: str) -> str:
    return IPv6Address(host).exploded if ":" in host else host.lower()


def _parameters_match(ours: Parameters, theirs: Parameters) -> bool:
    def folded(parameters: Parameters) -> dict[str, str]:
        return {(_comparable(name) or "").lower(): (_comparable(value) or "").lower() for name, value in parameters}

    left, right = folded(ours), folded(theirs)
    if any((name in left) != (name in right) for name in _compared_always):
        return False
    return all(left[name] == right[name] for name in left.keys() & right.keys())
