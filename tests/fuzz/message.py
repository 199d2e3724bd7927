"""SIP messages: parsed or refused; what is parsed prints, and prints to itself."""

from __future__ import annotations

from pathlib import Path

from gateway.sip.message import MessageLimits, MessageRefused, make_response, parse_message

DATA = Path(__file__).parents[1] / "data"
SEEDS = [
    file.read_bytes()
    for folder in ("rfc4475", "rfc5118", "hostile")
    for file in sorted((DATA / folder).glob("*.dat"))
    if file.stat().st_size <= 4096
]
ROOMY = MessageLimits(max_bytes=1 << 17, max_headers=512, max_header_bytes=1 << 14)
"""Printing writes names in full and adds Content-Length."""


def fuzz(data: bytes) -> None:
    try:
        message = parse_message(data)
    except MessageRefused as error:
        _check_refusal(error)
        return
    for _, value in message.headers:
        assert "\r" not in value
        assert "\n" not in value
    message.headers.set("Content-Length", str(len(message.body)))
    printed = message.to_bytes()
    again = parse_message(printed, ROOMY)
    assert again == message
    assert again.to_bytes() == printed
    if hasattr(message, "uri"):
        parse_message(make_response(message, 200, to_tag="t").to_bytes(), ROOMY)


def _check_refusal(error: MessageRefused) -> None:
    assert str(error).isprintable()
    if error.message_head is not None:
        make_response(error.message_head, error.status, to_tag="t").to_bytes()
