"""Events of the speech model's provider: meant something, or counted; what we send in return is JSON text."""

from __future__ import annotations

import json
from pathlib import Path

from gateway.media.codec import AudioFormat
from gateway.realtime.openai_protocol import OpenAIProtocol
from gateway.realtime.session import Secret, SessionOptions

_CONVERSATION = Path(__file__).parents[1] / "data" / "realtime-conversation.jsonl"
_EVENTS = [json.loads(line) for line in _CONVERSATION.read_text(encoding="utf-8").splitlines()]
_SERVER = [json.dumps(line["event"], separators=(",", ":")).encode() for line in _EVENTS if line["from"] == "server"]
SEEDS = [b"\n".join(_SERVER[:2]), *_SERVER, b"\n".join(_SERVER[2:12])]


def fuzz(data: bytes) -> None:
    """One event a line, behind the two that begin a session."""
    options = SessionOptions(url="ws://h/v1", model="m", api_key=Secret("k"), output_format=AudioFormat.PCMU)
    protocol = OpenAIProtocol(options)
    for line in (*_SERVER[:2], *data.split(b"\n")):
        protocol.receive(line.decode("utf-8", "replace"))
    for message in protocol.messages_to_send():
        json.loads(message.encode("utf-8"))
