"""Bodies of several parts (RFC 5621 3, RFC 2046 5.1): how to the session description in a multipart INVITE is found.

PBXs and carriers wrap SDP together with ISUP, location objects or call recording metadata. The search is bounded by
`MAXIMUM_PARTS` and `MAXIMUM_DEPTH`, and linear in the body.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.errors import MessageError, shown
from gateway.sip.grammar import WHITE_SPACE, find_parameter, parse_parameters
from gateway.sip.message import Headers, Message

MAXIMUM_PARTS = 16
"""Parts of one body, nested ones included."""
MAXIMUM_DEPTH = 4
"""Multiparts within multiparts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyPart:
    """One part: its type and subtype in lower case without parameters, its headers, its bytes."""

    content_type: str
    headers: Headers
    content: bytes


def find_body(message: Message, content_type: str) -> bytes | None:
    """The first body of that type in `message`, be it alone or a part; None where there is none.

    Raises: `MessageError` (400) where a multipart body is broken or exceeds the bounds.
    """
    return next((part.content for part in body_parts(message) if part.content_type == content_type), None)


def body_parts(message: Message) -> list[BodyPart]:
    """All bodies of `message` that are not multiparts themselves, in their order; none where the body is empty.

    Raises: `MessageError` (400) where a multipart body is broken or exceeds the bounds.
    """
    parts: list[BodyPart] = []
    if not message.body:
        return parts
    for part in _flatten(message.headers, message.body, MAXIMUM_DEPTH):
        if len(parts) == MAXIMUM_PARTS:
            raise MessageError(f"body of more than {MAXIMUM_PARTS} parts")
        parts.append(part)
    return parts


def _flatten(headers: Headers, content: bytes, depth: int) -> Iterator[BodyPart]:
    # RFC 2046 5.2: without Content-Type a part is plain text.
    name, semicolon, parameters = (headers.get("Content-Type") or "text/plain").partition(";")
    content_type = name.strip(WHITE_SPACE).lower()
    if not content_type.startswith("multipart/"):
        yield BodyPart(content_type=content_type, headers=headers, content=content)
        return
    if depth == 0:
        raise MessageError(f"body nested deeper than {MAXIMUM_DEPTH}")
    boundary = find_parameter(parse_parameters(semicolon + parameters), "boundary")
    for piece in _split(content, boundary or ""):
        yield from _flatten(*_parse_part(piece), depth - 1)


def _split(content: bytes, boundary: str) -> list[bytes]:
    # RFC 2046 5.1.1: 1 to 70 characters, the line break before a delimiter belongs to the delimiter.
    if not 1 <= len(boundary) <= 70:
        raise MessageError(f"not a multipart boundary: {shown(boundary)}")
    delimiter = b"\r\n--" + boundary.encode("utf-8", "surrogateescape")
    _, *pieces = (b"\r\n" + content).split(delimiter, 4 * MAXIMUM_PARTS)
    closing = next((index for index, piece in enumerate(pieces) if piece.startswith(b"--")), None)
    if closing is None:
        raise MessageError("multipart body without an end")
    return pieces[:closing]


def _parse_part(piece: bytes) -> tuple[Headers, bytes]:
    # The rest of the delimiter's line is white space; a part without headers begins with an empty line.
    padding, line_break, rest = piece.partition(b"\r\n")
    if padding.strip(b" \t") or not line_break:
        raise MessageError("broken delimiter in a multipart body")
    head, empty_line, content = (b"\r\n" + rest).partition(b"\r\n\r\n")
    if not empty_line:
        raise MessageError("part of a body without an empty line")
    headers = Headers()
    for line in head.decode("utf-8", "surrogateescape").replace("\r\n ", " ").replace("\r\n\t", " ").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon and "\r" not in value and "\n" not in value:
            headers.add(name.rstrip(WHITE_SPACE), value)
    return headers, content
