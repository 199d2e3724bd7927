"""What the bodies of requests mean to a call: the session description, a digit, the status in a sipfrag.

Raises: `MessageError`, the peer's fault, with the status that a request with such a body is answered with.
"""

from __future__ import annotations

import re

from gateway.errors import MessageError, shown
from gateway.sip.message import Message
from gateway.sip.multipart import find_body
from gateway.sip.sdp import SessionDescription

SDP = "application/sdp"
DTMF_RELAY = "application/dtmf-relay"
DTMF = "application/dtmf"
_status_line = re.compile(r"SIP/2\.0[ \t]+([1-6][0-9][0-9])(?![^ \t\r\n])(?:[ \t]+([^\r\n]{0,200}))?")
DIGITS = frozenset("0123456789*#ABCD")
"""The keys that there are."""
_DEFAULT_DURATION_MS = 250
_LONGEST_DURATION_MS = 10_000


def session_description_of(message: Message) -> SessionDescription | None:
    """The offer or answer in `message`, alone or beside other parts; None where it has none.

    Raises: `MessageError` 415 where the body is something else that we must understand, 400 where it is broken.
    """
    if not message.body:
        return None
    encoding = (message.headers.get("Content-Encoding") or "identity").strip().lower()
    if encoding != "identity":
        raise MessageError(f"body encoded as {shown(encoding)}", status=415)
    if "Content-Type" not in message.headers:
        # RFC 3261 7.4.1 demands Content-Type; some telephones forget it.
        return SessionDescription.parse(message.body)
    body = find_body(message, SDP)
    if body is not None:
        return SessionDescription.parse(body)
    if not message.content_type.startswith("multipart/") and not _is_optional(message):
        raise MessageError(f"body of type {shown(message.content_type)}", status=415)
    return None


def description_or_none(message: Message) -> SessionDescription | None:
    """The description in `message`; None as well where it cannot be used."""
    try:
        return session_description_of(message)
    except MessageError:
        return None


def _is_optional(message: Message) -> bool:
    """Whether the body may be ignored by those who do not know its type (RFC 3261 20.11)."""
    disposition = (message.headers.get("Content-Disposition") or "").replace(" ", "").lower()
    return "handling=optional" in disposition


def read_digit(content_type: str, body: bytes) -> tuple[str, int] | None:
    """Digit and duration in ms of an INFO; None where it tells none.

    application/dtmf-relay holds ``Signal=5`` and ``Duration=160``, application/dtmf the digit alone. Neither is a
    standard; both are what telephones and Asterisk send.
    """
    text = body[:256].decode("ascii", "replace")
    if content_type == DTMF:
        return _checked_digit(text.strip(), "")
    if content_type != DTMF_RELAY:
        return None
    fields = {}
    for line in text.splitlines():
        name, _, value = line.partition("=")
        fields[name.strip().lower()] = value.strip()
    return _checked_digit(fields.get("signal", ""), fields.get("duration", ""))


def digit_body(content_type: str, digit: str, duration_ms: int) -> bytes:
    """The body of an INFO of application/dtmf-relay, or of application/dtmf, which tells no duration."""
    if content_type == DTMF:
        return digit.encode("ascii")
    return f"Signal={digit}\r\nDuration={max(1, min(duration_ms, _LONGEST_DURATION_MS))}\r\n".encode("ascii")


def _checked_digit(digit: str, duration: str) -> tuple[str, int] | None:
    digit = {"10": "*", "11": "#"}.get(digit, digit.upper())
    if digit not in DIGITS:
        return None
    is_number = duration.isascii() and duration.isdigit() and len(duration) <= 6
    duration_ms = int(duration) if is_number else _DEFAULT_DURATION_MS
    return digit, min(duration_ms, _LONGEST_DURATION_MS)


def read_sipfrag(body: bytes) -> tuple[int, str] | None:
    """Status and reason in a body of message/sipfrag (RFC 3420); None where it begins with no status line."""
    found = _status_line.match(body[:1024].lstrip(b"\r\n").decode("utf-8", "replace"))
    return (int(found[1]), (found[2] or "").strip()) if found else None
