"""Bodies of several parts: divided within the bounds, or refused."""

from __future__ import annotations

from contextlib import suppress

from gateway.errors import MessageError
from gateway.sip.message import Headers, Request, Uri
from gateway.sip.multipart import MAXIMUM_PARTS, body_parts, find_body

_SDP_PART = b"Content-Type: application/sdp\r\n\r\nv=0\r\n"
SEEDS = [
    b"multipart/mixed;boundary=b\n--b\r\n" + _SDP_PART + b"\r\n--b--\r\n",
    b'multipart/alternative; boundary="x y"\n--x y\r\n\r\nplain\r\n--x y\r\nContent-Type:text/html\r\n\r\n\r\n--x y--',
    b"multipart/mixed;boundary=o\n--o\r\nContent-Type: multipart/mixed;boundary=i\r\n\r\n--i\r\n"
    + _SDP_PART
    + b"\r\n--i--\r\n--o--",
    b"application/sdp\nv=0\r\n",
]


def fuzz(data: bytes) -> None:
    """The first line is Content-Type, all behind it the body."""
    content_type, _, body = data.partition(b"\n")
    with suppress(ValueError, MessageError):
        headers = Headers([("Content-Type", content_type.decode("utf-8", "surrogateescape"))])
        message = Request(method="INVITE", uri=Uri("sip", host="x"), headers=headers, body=body)
        try:
            parts = body_parts(message)
        except ValueError as error:
            raise AssertionError("not a MessageError") from error
        assert len(parts) <= MAXIMUM_PARTS
        assert sum(len(part.content) for part in parts) <= len(body)
        found = [part.content for part in parts if part.content_type == "application/sdp"]
        assert find_body(message, "application/sdp") == (found[0] if found else None)
