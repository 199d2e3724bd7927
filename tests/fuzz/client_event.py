"""Events of a client of the embedded server: read, or refused with the protocol's own code."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from gateway.embedded.protocol import RefusedEvent, decode_audio, parse_client_event

_CONVERSATION = Path(__file__).parents[1] / "data" / "realtime-conversation.jsonl"
_EVENTS = [json.loads(line) for line in _CONVERSATION.read_text(encoding="utf-8").splitlines()]
SEEDS = [json.dumps(line["event"]).encode() for line in _EVENTS if line["from"] == "client"]


def fuzz(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    with suppress(RefusedEvent):
        parse_client_event(text)
    with suppress(RefusedEvent):
        decode_audio(text)
