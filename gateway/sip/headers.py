"""Header fields (RFC 3261 20): the ordered multi-map `Headers`, and the values with a structure of their own.

`NameAddr`, `Via` and `CSeq` are values: parsed from text, printed back to text that parses to the same value.

Raises: `MessageError`, the peer's fault, in every ``parse``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

from gateway.errors import MessageError, shown
from gateway.sip.grammar import (
    HOST_PATTERN,
    TOKEN_PATTERN,
    WHITE_SPACE,
    Parameters,
    find_parameter,
    format_host,
    format_parameters,
    is_token,
    match_quoted_string,
    parse_host,
    parse_number,
    parse_parameters,
    parse_port,
    quote,
    replace_parameter,
    split_list,
    unquote,
)
from gateway.sip.uri import Uri

T = TypeVar("T")

BRANCH_COOKIE = "z9hG4bK"
MAXIMUM_CSEQ = 2**31 - 1
"""RFC 3261 8.1.1.5: the sequence number fits into 31 bits."""

_KNOWN_NAMES = """
    Accept Accept-Contact Accept-Encoding Accept-Language Alert-Info Allow Allow-Events Authentication-Info
    Authorization Call-ID Call-Info Contact Content-Disposition Content-Encoding Content-ID Content-Language
    Content-Length Content-Type CSeq Date Diversion Error-Info Event Expires From History-Info Identity
    Identity-Info In-Reply-To Join Max-Forwards MIME-Version Min-Expires Min-SE Organization P-Access-Network-Info
    P-Asserted-Identity P-Called-Party-ID P-Charging-Vector P-Early-Media P-Preferred-Identity Path Priority Privacy
    Proxy-Authenticate Proxy-Authorization Proxy-Require RAck Reason Record-Route Refer-Sub Refer-To Referred-By
    Reject-Contact Remote-Party-ID Replaces Reply-To Request-Disposition Require Retry-After Route RSeq
    Security-Client Security-Server Security-Verify Server Service-Route Session-Expires Session-ID SIP-ETag
    SIP-If-Match Subject Subscription-State Supported Target-Dialog Timestamp To Unsupported User-Agent Via Warning
    WWW-Authenticate
""".split()  # noqa: SIM905 -- a list of words reads better as words
_COMPACT_NAMES = {
    "a": "Accept-Contact",
    "b": "Referred-By",
    "c": "Content-Type",
    "d": "Request-Disposition",
    "e": "Content-Encoding",
    "f": "From",
    "i": "Call-ID",
    "j": "Reject-Contact",
    "k": "Supported",
    "l": "Content-Length",
    "m": "Contact",
    "n": "Identity-Info",
    "o": "Event",
    "r": "Refer-To",
    "s": "Subject",
    "t": "To",
    "u": "Allow-Events",
    "v": "Via",
    "x": "Session-Expires",
    "y": "Identity",
}
_canonical = {name: name for name in _KNOWN_NAMES} | {name.lower(): name for name in _KNOWN_NAMES} | _COMPACT_NAMES


def canonical_name(name: str) -> str:
    """The one spelling of a header name: ``Call-ID`` for ``call-id``, ``CALL-ID`` and ``i`` (RFC 3261 7.3.1, 7.3.3).

    Raises: `MessageError` where `name` is no token.
    """
    known = _canonical.get(name) or _canonical.get(name.lower())
    if known is not None:
        return known
    if not is_token(name):
        raise MessageError(f"not a header name: {shown(name)}")
    return "-".join(part.capitalize() for part in name.split("-"))


class Headers:
    """Header fields by canonical name. Names keep the order of their first field, fields of a name their own order.

    The order among different names means nothing (RFC 3261 7.3.1). Values are single lines without white space around.
    Whoever sets one with a line break, or with what UTF-8 cannot write, gets a `ValueError`: no header is smuggled into
    another, and what was set can be sent.
    """

    __slots__ = ("_fields", "_views")

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self._fields: dict[str, list[str]] = {}
        self._views: dict[str, object] = {}
        for name, value in fields:
            self.add(name, value)

    @classmethod
    def of_parsed(cls, fields: Iterable[tuple[str, str]]) -> Headers:
        """Headers of fields that the lexer has checked: names canonical, values single lines without space around."""
        headers = cls()
        mapping = headers._fields
        for name, value in fields:
            if name in mapping:
                mapping[name].append(value)
            else:
                mapping[name] = [value]
        return headers

    def get(self, name: str, default: str | None = None) -> str | None:
        """The first field of that name."""
        fields = self._fields.get(canonical_name(name))
        return fields[0] if fields else default

    def get_all(self, name: str) -> list[str]:
        """All fields of that name as they stand, one entry for each header line."""
        return list(self._fields.get(canonical_name(name), ()))

    def get_list(self, name: str) -> list[str]:
        """All values of a header that is a comma-separated list (RFC 3261 7.3.1), whether on one line or on several.

        Not for headers whose one value may hold a comma: Date, the four authentication headers, free text.
        """
        return [value for field in self._fields.get(canonical_name(name), ()) for value in split_list(field)]

    def view(self, name: str, parse: Callable[[list[str]], T]) -> T:
        """What `parse` makes of all fields of that name, remembered until one changes. One parser a name, please."""
        name = canonical_name(name)
        if name not in self._views:
            self._views[name] = parse(self._fields.get(name, []))
        return self._views[name]  # type: ignore[return-value]

    def add(self, name: str, value: str) -> None:
        """Append a field behind the others of its name."""
        name, value = _checked(name, value)
        self._fields.setdefault(name, []).append(value)
        self._views.pop(name, None)

    def set(self, name: str, value: str) -> None:
        """Put one field in the place of all others of its name."""
        name, value = _checked(name, value)
        self._fields[name] = [value]
        self._views.pop(name, None)

    def prepend(self, name: str, value: str) -> None:
        """Put a field before the others of its name; a new name comes first of all, as Via should."""
        name, value = _checked(name, value)
        if name in self._fields:
            self._fields[name].insert(0, value)
        else:
            self._fields = {name: [value], **self._fields}
        self._views.pop(name, None)

    def remove(self, name: str) -> None:
        """Drop all fields of that name; none is no error."""
        name = canonical_name(name)
        self._fields.pop(name, None)
        self._views.pop(name, None)

    def copy(self) -> Headers:
        """An independent copy."""
        twin = Headers()
        twin._fields = {name: list(values) for name, values in self._fields.items()}
        twin._views = dict(self._views)
        return twin

    def __contains__(self, name: str) -> bool:
        return canonical_name(name) in self._fields

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return ((name, value) for name, values in self._fields.items() for value in values)

    def __len__(self) -> int:
        return sum(map(len, self._fields.values()))

    def __eq__(self, other: object) -> bool:
        return self._fields == other._fields if isinstance(other, Headers) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Headers({list(self)!r})"


def _checked(name: str, value: str) -> tuple[str, str]:
    value = value.strip(WHITE_SPACE)
    if "\r" in value or "\n" in value:
        raise ValueError(f"line break in the value of {name}: {shown(value)}")
    if not value.isascii():
        value.encode("utf-8", "surrogateescape")  # half a surrogate pair, as JSON may bring, has no bytes: fail here
    return canonical_name(name), value


# A display name without quotes is tokens with white space between. Dots, brackets and UTF-8 are let pass, because PBXs
# send names as people typed them; what would end the name or the header is not (RFC 4475 3.1.2.15).
_bare_display_name = re.compile(r'[^",;<>]*+')


@dataclass(frozen=True, slots=True)
class NameAddr:
    """The value of From, To, Contact, Route, Refer-To and their like: ``"name" <uri>;parameter`` (RFC 3261 20.10).

    `display_name` is unquoted. `parameters` are those of the header, never those of the URI.
    """

    display_name: str
    uri: Uri
    parameters: Parameters = ()

    @classmethod
    def parse(cls, text: str) -> NameAddr:
        """Both forms: name-addr and addr-spec. Raises: `MessageError`."""
        text = text.strip(WHITE_SPACE)
        if text.startswith('"'):
            end = match_quoted_string(text)
            name, rest = unquote(text[:end]), text[end:].lstrip(WHITE_SPACE)
            if not rest.startswith("<"):
                raise MessageError(f"no <URI> behind the display name: {shown(text)}")
            rest = rest[1:]
        else:
            name, bracket, rest = text.partition("<")
            if not bracket:
                return cls._parse_addr_spec(text)
            name = name.rstrip(WHITE_SPACE)
            if not _bare_display_name.fullmatch(name):
                raise MessageError(f"display name needs quotes: {shown(text)}")
        uri, bracket, parameters = rest.partition(">")
        if not bracket:
            raise MessageError(f"no > behind the URI: {shown(text)}")
        return cls(name, Uri.parse(uri), parse_parameters(parameters.lstrip(WHITE_SPACE)))

    @classmethod
    def _parse_addr_spec(cls, text: str) -> NameAddr:
        # RFC 3261 20: a URI with a comma, a question mark or a semicolon in it must stand in brackets.
        uri, semicolon, parameters = text.partition(";")
        uri = uri.rstrip(WHITE_SPACE)
        if "?" in uri or "," in uri:
            raise MessageError(f"URI needs brackets: {shown(text)}")
        return cls("", Uri.parse(uri), parse_parameters(semicolon + parameters))

    @property
    def tag(self) -> str | None:
        """The tag of a From or To (RFC 3261 19.3); None where there is none, as before a dialog and in RFC 2543."""
        return find_parameter(self.parameters, "tag") or None

    def parameter(self, name: str, default: str | None = None) -> str | None:
        """The value of a header parameter, unquoted; "" where it stands without one."""
        return find_parameter(self.parameters, name.lower(), default)

    def with_parameter(self, name: str, value: str | None) -> NameAddr:
        """A copy with that header parameter set; None sets one without a value."""
        return replace(self, parameters=replace_parameter(self.parameters, name, value))

    def __str__(self) -> str:
        name = f"{quote(self.display_name)} " if self.display_name else ""
        return f"{name}<{self.uri}>{format_parameters(self.parameters)}"


_via = re.compile(
    rf"[ \t]*+({TOKEN_PATTERN})[ \t]*+/[ \t]*+({TOKEN_PATTERN})[ \t]*+/[ \t]*+({TOKEN_PATTERN})"
    rf"[ \t]++({HOST_PATTERN})[ \t]*+(?::[ \t]*+([0-9]++)[ \t]*+)?"
)


@dataclass(frozen=True, slots=True)
class Via:
    """One Via value (RFC 3261 20.42). `host` is without the brackets of IPv6; `protocol` is what stands before UDP."""

    transport: str
    host: str
    port: int | None = None
    parameters: Parameters = ()
    protocol: str = "SIP/2.0"

    @classmethod
    def parse(cls, text: str) -> Via:
        """Raises: `MessageError`."""
        found = _via.match(text)
        if found is None:
            raise MessageError(f"not a Via: {shown(text)}")
        name, version, transport, host, port = found.groups()
        number = None if port is None else parse_port(port)
        parameters = parse_parameters(text, found.end())
        return cls(transport.upper(), parse_host(host), number, parameters, f"{name}/{version}")

    @property
    def branch(self) -> str | None:
        """The transaction's name, None or any text in requests of RFC 2543 elements."""
        return find_parameter(self.parameters, "branch") or None

    @property
    def has_unique_branch(self) -> bool:
        """Whether the branch names the transaction (RFC 3261 17.2.3). The bare cookie does not (RFC 4475 3.2.1)."""
        branch = self.branch or ""
        return branch.startswith(BRANCH_COOKIE) and len(branch) > len(BRANCH_COOKIE)

    @property
    def received(self) -> str | None:
        """The address the request really came from, as the receiver noted it (RFC 3261 18.2.1).

        Without the brackets that some put around IPv6 (RFC 5118 4.5).
        """
        address = find_parameter(self.parameters, "received") or ""
        return address.removeprefix("[").removesuffix("]") or None

    @property
    def rport(self) -> int | None:
        """The port the request really came from (RFC 3581); None where it was not filled in, or with nonsense."""
        text = find_parameter(self.parameters, "rport") or ""
        return int(text) if text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536 else None

    @property
    def has_rport(self) -> bool:
        """Whether the sender asks for the answer to the port it sent from (RFC 3581 4)."""
        return find_parameter(self.parameters, "rport") is not None

    def parameter(self, name: str, default: str | None = None) -> str | None:
        """The value of a parameter; "" where it stands without one."""
        return find_parameter(self.parameters, name.lower(), default)

    def with_parameter(self, name: str, value: str | None) -> Via:
        """A copy with that parameter set; None sets one without a value."""
        return replace(self, parameters=replace_parameter(self.parameters, name, value))

    def __str__(self) -> str:
        port = "" if self.port is None else f":{self.port}"
        return f"{self.protocol}/{self.transport} {format_host(self.host)}{port}{format_parameters(self.parameters)}"


class CSeq(NamedTuple):
    """The place of a request in its dialog (RFC 3261 20.16): `number` 0 to 2**31 - 1."""

    number: int
    method: str

    @classmethod
    def parse(cls, text: str) -> CSeq:
        """Raises: `MessageError`."""
        number, _, method = text.strip(WHITE_SPACE).replace("\t", " ").partition(" ")
        method = method.lstrip(" ")
        if not is_token(method):
            raise MessageError(f"not a CSeq: {shown(text)}")
        return cls(parse_number(number, MAXIMUM_CSEQ, "CSeq"), method)

    def __str__(self) -> str:
        return f"{self.number} {self.method}"
