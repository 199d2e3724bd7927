"""SIP messages (RFC 3261 7): bytes in, a `Request` or a `Response` out, and back.

`parse_message` is strict and bounded. What it returns is whole: the mandatory headers are there once each and well
formed (RFC 3261 8.1.1), so are Contact, Route and Record-Route where present, and the properties of the message do not
raise any more. What it refuses is refused with the status that a request with that flaw is answered with; the error
carries as much of the request as an answer needs.

It never opens a body, never resolves a name, and takes time linear in the datagram.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.errors import MessageError, shown
from gateway.sip.grammar import WHITE_SPACE, is_token, parse_number, split_list
from gateway.sip.headers import BRANCH_COOKIE, CSeq, Headers, NameAddr, Via, canonical_name
from gateway.sip.uri import Address, Uri
from gateway.sip.vocabulary import reason_phrase

__all__ = [
    "BRANCH_COOKIE",
    "DEFAULT_LIMITS",
    "Address",
    "CSeq",
    "Headers",
    "Message",
    "MessageLimits",
    "MessageRefused",
    "NameAddr",
    "Request",
    "Response",
    "Uri",
    "Via",
    "is_keepalive",
    "make_response",
    "parse_message",
    "refusal_of",
]

VERSION = "SIP/2.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageLimits:
    """What a message may cost at most."""

    max_bytes: int = 65536
    """The whole message; more is 513 Message Too Long."""
    max_headers: int = 256
    """Header lines, folded ones counted once; more is 400."""
    max_header_bytes: int = 8192
    """One header line, unfolded; longer is 400."""
    max_list_values: int = 128
    """Values of Via, Route, Record-Route or Contact; more is 400."""


DEFAULT_LIMITS = MessageLimits()


class MessageRefused(MessageError):
    """A datagram that is not a message.

    `message_head` is what was readable of a request, for `make_response` and its `top_via` only; None where nothing
    may be answered: a response, an ACK, or no usable Via.
    """

    def __init__(self, reason: str, *, status: int = 400, message_head: Request | None = None) -> None:
        super().__init__(reason, status=status)
        self.message_head = message_head


@dataclass(slots=True, kw_only=True)
class _Message:
    headers: Headers
    body: bytes = b""

    @property
    def vias(self) -> list[Via]:
        """All Via values, the topmost first."""
        return list(self.headers.view("Via", _parse_vias))

    @property
    def top_via(self) -> Via:
        """The Via of the element that sent this to us."""
        return self.headers.view("Via", _parse_vias)[0]

    @property
    def from_(self) -> NameAddr:
        """The From header."""
        return self.headers.view("From", _parse_name_addr)

    @property
    def to(self) -> NameAddr:
        """The To header."""
        return self.headers.view("To", _parse_name_addr)

    @property
    def call_id(self) -> str:
        """The Call-ID, to be compared byte by byte (RFC 3261 20.8)."""
        return self.headers.view("Call-ID", _parse_call_id)

    @property
    def cseq(self) -> CSeq:
        """The CSeq header."""
        return self.headers.view("CSeq", _parse_cseq)

    @property
    def contacts(self) -> list[NameAddr]:
        """All Contact values; none for ``Contact: *``."""
        return list(self.headers.view("Contact", _parse_contacts))

    @property
    def content_type(self) -> str:
        """Type and subtype of the body in lower case without parameters; "" where there is no Content-Type."""
        return (self.headers.get("Content-Type") or "").partition(";")[0].strip(WHITE_SPACE).lower()

    def route_set(self, name: str) -> list[NameAddr]:
        """All values of Route, Record-Route, Path or Service-Route, the topmost first."""
        return list(self.headers.view(name, _parse_routes))

    @property
    def size_bytes(self) -> int:
        """About how long it is: headers in characters, and the body."""
        return len(self.body) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _to_bytes(self, start_line: str) -> bytes:
        if "\r" in start_line or "\n" in start_line:
            raise ValueError(f"line break in the start line: {shown(start_line)}")
        lines = [start_line]
        lines += [f"{name}: {value}" for name, value in self.headers if name != "Content-Length"]
        lines.append(f"Content-Length: {len(self.body)}\r\n\r\n")
        return "\r\n".join(lines).encode("utf-8", "surrogateescape") + self.body


@dataclass(slots=True, kw_only=True)
class Request(_Message):
    """A request (RFC 3261 7.1). `method` is as on the wire: methods are case-sensitive and may be unknown to us."""

    method: str
    uri: Uri

    def to_bytes(self) -> bytes:
        """The datagram. Content-Length is that of `body`, whatever `headers` say."""
        return self._to_bytes(f"{self.method} {self.uri} {VERSION}")


@dataclass(slots=True, kw_only=True)
class Response(_Message):
    """A response (RFC 3261 7.2). `status` 100 to 699; `reason` is for people, may be empty or any UTF-8."""

    status: int
    reason: str

    def to_bytes(self) -> bytes:
        """The datagram. Content-Length is that of `body`, whatever `headers` say."""
        return self._to_bytes(f"{VERSION} {self.status} {self.reason}")


Message = Request | Response


def is_keepalive(data: bytes) -> bool:
    """Whether a datagram only keeps a NAT binding open: line breaks (RFC 5626 3.5.1), zero octets, or nothing."""
    return not data.strip(b"\r\n\0")


def parse_message(data: bytes, limits: MessageLimits = DEFAULT_LIMITS) -> Message:
    """The message in `data`: one datagram, or one message that a stream transport has framed.

    What follows the body by Content-Length is ignored (RFC 3261 18.3); without Content-Length the body ends with the
    datagram. Empty lines before the message are skipped (RFC 3261 7.5).

    Raises: `MessageRefused` (a `MessageError`) and nothing else.
    """
    if len(data) > limits.max_bytes:
        raise MessageRefused(f"{len(data)} bytes", status=513)
    head, blank_line, body = data.lstrip(b"\r\n").partition(b"\r\n\r\n")
    text = head.decode("utf-8", "surrogateescape")
    try:
        if not blank_line:
            raise MessageError("no empty line behind the headers")
        return _parse(text, body, limits)
    except MessageError as error:
        raise MessageRefused(error.reason, status=error.status, message_head=_read_what_can_be(text)) from error


def refusal_of(head: bytes, reason: str, *, status: int = 400) -> MessageRefused:
    """The refusal of a message whose `head` shows a flaw that `parse_message` does not look for."""
    text = head.decode("utf-8", "surrogateescape")
    return MessageRefused(reason, status=status, message_head=_read_what_can_be(text))


# Control characters are allowed nowhere but as the second half of a quoted pair, line breaks not even there: they would
# end the header for the next reader (RFC 3261 25.1).
_stray_control = re.compile(r"[\r\n]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f](?<!\\.)", re.DOTALL)
_fold = re.compile(r"\r\n[ \t]++")


def _parse(head: str, body: bytes, limits: MessageLimits) -> Message:
    if "\r\n " in head or "\r\n\t" in head:
        head = _fold.sub(" ", head)
    start_line, *lines = head.split("\r\n")
    if len(lines) > limits.max_headers:
        raise MessageError(f"{len(lines)} headers")
    headers = _parse_headers(lines, limits)
    if _stray_control.search(head.replace("\r\n", " ")):
        raise MessageError("control character")
    message: Message
    if start_line[:4].upper() == "SIP/":
        message = _parse_status_line(start_line, headers)
    else:
        message = _parse_request_line(start_line, headers)
    _check_headers(message, limits)
    message.body = _cut_body(headers.get("Content-Length"), body)
    return message


def _parse_headers(lines: list[str], limits: MessageLimits) -> Headers:
    fields: list[tuple[str, str]] = []
    for line in lines:
        # RFC 3261 7.3.1: white space before the colon is allowed, but only white space.
        name, colon, value = line.partition(":")
        if not colon:
            raise MessageError(f"header without a colon: {shown(line)}")
        if len(line) > limits.max_header_bytes:
            raise MessageError(f"header of {len(line)} characters: {shown(line)}")
        fields.append((canonical_name(name.rstrip(WHITE_SPACE)), value.strip(WHITE_SPACE)))
    return Headers.of_parsed(fields)


def _parse_request_line(line: str, headers: Headers) -> Request:
    # RFC 3261 25.1: single spaces, none at the end; RFC 4475 3.1.2.8 to 3.1.2.10.
    parts = line.split(" ")
    if len(parts) != 3 or not is_token(parts[0]):
        raise MessageError(f"not a request line: {shown(line)}")
    method, uri_text, version = parts
    if version.upper() != VERSION:
        unknown = version.upper().startswith("SIP/")
        raise MessageError(f"version {shown(version)}", status=505 if unknown else 400)
    uri = Uri.parse(uri_text)
    if uri.scheme not in ("sip", "sips", "tel"):
        raise MessageError(f"scheme {shown(uri.scheme)} in the Request-URI", status=416)
    if uri.headers:
        # RFC 3261 19.1.1, Table 1: not allowed in a Request-URI.
        raise MessageError(f"headers in the Request-URI: {shown(uri_text)}")
    return Request(method=method, uri=uri, headers=headers)


def _parse_status_line(line: str, headers: Headers) -> Response:
    version, _, rest = line.partition(" ")
    code, _, reason = rest.partition(" ")
    if version.upper() != VERSION:
        raise MessageError(f"version {shown(version)}", status=505)
    if len(code) != 3 or not 100 <= parse_number(code, 999, "status") <= 699:
        raise MessageError(f"not a status line: {shown(line)}")
    return Response(status=int(code), reason=reason, headers=headers)


_SINGLE = ("From", "To", "Call-ID", "CSeq", "Max-Forwards", "Content-Length", "Content-Type", "Expires")


def _check_headers(message: Message, limits: MessageLimits) -> None:
    headers = message.headers
    for name in ("Via", "From", "To", "Call-ID", "CSeq"):
        if name not in headers:
            raise MessageError(f"no {name}")
    for name in _SINGLE:
        if len(headers.get_all(name)) > 1:
            raise MessageError(f"more than one {name}")
    _check_lists(headers, limits.max_list_values)
    # Reading a property parses and remembers it: none of these raises any more once this has passed.
    _ = message.vias, message.from_, message.to, message.call_id, message.contacts
    _ = message.route_set("Route"), message.route_set("Record-Route")
    cseq = message.cseq
    if isinstance(message, Request) and cseq.method != message.method:
        raise MessageError(f"{shown(message.method)} with CSeq {shown(str(cseq))}")
    # Max-Forwards is mandatory, but RFC 2543 elements send none (RFC 4475 3.4.1).
    for text in headers.get_all("Max-Forwards"):
        parse_number(text, 255, "Max-Forwards")


def _check_lists(headers: Headers, maximum: int) -> None:
    for name in ("Via", "Contact", "Route", "Record-Route"):
        fields = headers.get_all(name)
        # Commas in quotes count here too, so a list is divided only when it may be too long.
        if len(fields) + sum(field.count(",") for field in fields) > maximum and len(headers.get_list(name)) > maximum:
            raise MessageError(f"more than {maximum} values of {name}")


def _cut_body(content_length: str | None, body: bytes) -> bytes:
    if content_length is None:
        return body
    length = parse_number(content_length, 2**31, "Content-Length")
    if length > len(body):
        # RFC 3261 18.3: a datagram that ends before its body does is an error.
        raise MessageError(f"Content-Length {length}, but {len(body)} bytes of body")
    return body[:length]


def _parse_vias(fields: list[str]) -> tuple[Via, ...]:
    vias = tuple(Via.parse(value) for field in fields for value in split_list(field))
    if not vias:
        raise MessageError("no Via")
    return vias


def _parse_name_addr(fields: list[str]) -> NameAddr:
    if not fields:
        raise MessageError("no From or To")
    return NameAddr.parse(fields[0])


def _parse_call_id(fields: list[str]) -> str:
    call_id = fields[0] if fields else ""
    if not call_id or not call_id.isascii() or " " in call_id or "\t" in call_id:
        raise MessageError(f"not a Call-ID: {shown(call_id)}")
    return call_id


def _parse_cseq(fields: list[str]) -> CSeq:
    return CSeq.parse(fields[0] if fields else "")


def _parse_routes(fields: list[str]) -> tuple[NameAddr, ...]:
    return tuple(NameAddr.parse(value) for field in fields for value in split_list(field))


def _parse_contacts(fields: list[str]) -> tuple[NameAddr, ...]:
    return () if fields == ["*"] else _parse_routes(fields)


_ANSWERED_WITH = ("Via", "From", "To", "Call-ID", "CSeq", "Timestamp")


def _read_what_can_be(head: str) -> Request | None:
    """The headers that an answer copies, the first of each, from a head that has some flaw."""
    start_line, *lines = _fold.sub(" ", head).split("\r\n")
    method = start_line.partition(" ")[0]
    if not is_token(method) or method == "ACK" or method.upper().startswith("SIP/"):
        return None
    headers = Headers()
    for line in lines[:512]:
        name, colon, value = line.partition(":")
        try:
            name = canonical_name(name.rstrip(WHITE_SPACE))
            if name == "Via":
                _add_readable_vias(headers, value)
            elif colon and name in _ANSWERED_WITH and name not in headers:
                headers.add(name, value)
        except (MessageError, ValueError):
            continue
    try:
        uri = Uri.parse(start_line.split(" ")[1])
    except (MessageError, IndexError):
        uri = Uri("unreadable")
    return Request(method=method, uri=uri, headers=headers) if "Via" in headers else None


def _add_readable_vias(headers: Headers, field: str) -> None:
    for value in split_list(field):
        Via.parse(value)
        headers.add("Via", value)


# RFC 3261 12.1.1, RFC 6665 4.2.1, RFC 3515: the methods whose responses make a dialog.
_DIALOG_MAKERS = ("INVITE", "SUBSCRIBE", "REFER")


def make_response(
    request: Request,
    status: int,
    *,
    reason: str | None = None,
    to_tag: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
    content_type: str | None = None,
) -> Response:
    """A response by RFC 3261 8.2.6: all Via values in order, From, To, Call-ID and CSeq as the request has them.

    `to_tag` is added where To has no tag yet; 100 goes without one (pass None). Record-Route is copied into responses
    that make a dialog (RFC 3261 12.1.1), Timestamp into 100 (8.2.6.1). `reason` defaults to the standard's phrase.
    `request` may be a `MessageRefused.message_head`: what it lacks, the response lacks.
    """
    copied = Headers()
    names = ["Via", "From", "To", "Call-ID", "CSeq"]
    if status == 100:
        names.append("Timestamp")
    elif status < 300 and request.method in _DIALOG_MAKERS:
        names.append("Record-Route")
    for name in names:
        for value in request.headers.get_all(name):
            copied.add(name, _tagged(value, to_tag) if name == "To" and to_tag else value)
    for name, value in headers:
        copied.add(name, value)
    if content_type is not None:
        copied.set("Content-Type", content_type)
    return Response(
        status=status, reason=reason_phrase(status) if reason is None else reason, headers=copied, body=body
    )


def _tagged(to: str, tag: str) -> str:
    try:
        has_tag = NameAddr.parse(to).tag is not None
    except MessageError:
        return to
    return to if has_tag else f"{to.rstrip('; ')};tag={tag}"
