"""Events of GPT-Live: meant something, or counted; what we send in return is JSON text."""

from __future__ import annotations

import base64
import json

from gateway.media.codec import AudioFormat
from gateway.realtime.openai_live.protocol import OpenAILiveProtocol
from gateway.realtime.session import Secret, SessionOptions, Tool

_SOUND, _SILENCE = base64.b64encode(b"\x10" * 800).decode(), base64.b64encode(b"\xff" * 8000).decode()
_WORDS = {"delta": "Good day.", "start_ms": 100, "end_ms": 600}
_CALL = {"type": "function_call", "status": "completed", "call_id": "c", "name": "look", "arguments": '{"id":1}'}
_USAGE = {"input_tokens": 2, "output_tokens": 1, "input_tokens_details": {"cached_tokens": 1}}
_STARTED = {"id": "live_1", "model": "m", "expires_at": 1, "audio": {"format": {"type": "audio/pcmu", "rate": 8000}}}
_EVENTS: list[dict[str, object]] = [
    {"type": "session.started", "session": _STARTED},
    {"type": "session.output_transcript.delta"} | _WORDS,
    {"type": "session.output_audio.delta", "delta": _SOUND},
    {"type": "session.output_audio.delta", "delta": _SILENCE},
    {"type": "session.input_transcript.delta"} | _WORDS,
    {"type": "session.delegation.created", "delegation": {"id": "d", "target": "client"}, "offset_ms": 5},
    {"type": "response.event", "delegation_id": "d", "event": {"type": "response.created"}},
    {"type": "response.event", "delegation_id": "d", "event": {"type": "response.output_item.done", "item": _CALL}},
    {"type": "response.event", "event": {"type": "response.completed", "response": {"usage": _USAGE}}},
    {"type": "response.event", "delegation_id": "d", "event": {"type": "response.failed", "response": {}}},
    {"type": "session.usage.updated", "usage": {"seconds": 3.5}, "context_window": {"usage_ratio": 0.5}},
    {"type": "error", "error": {"type": "invalid_request_error", "code": "c", "message": "m", "client_event_id": "c1"}},
    {"type": "session.closed", "reason": "expired", "usage": {"seconds": 4}},
]
_LINES = [json.dumps(event, separators=(",", ":")).encode() for event in _EVENTS]
SEEDS = [*_LINES, b"\n".join(_LINES[1:])]


def fuzz(data: bytes) -> None:
    """One event a line, behind the one that begins a session."""
    form = AudioFormat.PCMU
    options = SessionOptions(
        url="ws://h/v1",
        model="m",
        api_key=Secret("k"),
        input_format=form,
        output_format=form,
        tools=(Tool(name="look"),),
    )
    protocol = OpenAILiveProtocol(options)
    for line in (_LINES[0], *data.split(b"\n")):
        protocol.receive(line.decode("utf-8", "replace"))
    protocol.send_tool_result("c", "{}", respond=True)
    protocol.end_turns()
    for message in protocol.messages_to_send():
        json.loads(message.encode("utf-8"))
