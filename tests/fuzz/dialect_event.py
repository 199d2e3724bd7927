"""Events of providers that speak a dialect of OpenAI's protocol: meant something, or counted."""

from __future__ import annotations

import json

from gateway.media.codec import AudioFormat
from gateway.realtime.openai.dialects import DIALECTS
from gateway.realtime.openai.translated import DialectProtocol
from gateway.realtime.session import SessionOptions
from tests.fuzz.provider_event import SEEDS as ORIGINAL

_OWN = [
    b'{"type":"conversation.created","conversation":{"id":"conv_1"}}',
    b'{"type":"session.updated","session":{"id":"s","input_audio_format":"pcm16","output_audio_format":"pcm16"}}',
    b'{"type":"ping","timestamp":1}',
    b'{"type":"error","error":{"type":"max_duration","code":null,"message":"over"}}',
    b'{"type":"error","error":{"code":7,"message":"key"}}',
    b'{"type":"conversation.item.input_audio_transcription.updated","item_id":"i","transcript":"When do"}',
    b'{"type":"response.done","response":{"id":"r"},"usage":{"input_tokens_details":{},"billable_audio_seconds":3}}',
]
SEEDS = [*_OWN, *(seed.replace(b"response.output_", b"response.") for seed in ORIGINAL)]
_OPENING = _OWN[:2]


def fuzz(data: bytes) -> None:
    """One event a line, behind the two that begin a session; to a dialect with the beta's names, and one without."""
    for name in ("azure_voice_live", "xai"):
        options = SessionOptions(url="ws://h", output_format=AudioFormat.PCM16_24K)
        protocol = DialectProtocol(options, DIALECTS[name])
        for line in (*_OPENING, *data.split(b"\n")):
            protocol.receive(line.decode("utf-8", "replace"))
        for message in protocol.messages_to_send():
            json.loads(message.encode("utf-8"))
