"""Messages of Gemini Live: meant something, or counted; what we send in return is JSON text."""

from __future__ import annotations

import json

from gateway.media.codec import AudioFormat
from gateway.realtime.gemini.protocol import GeminiProtocol
from gateway.realtime.session import Secret, SessionOptions
from tests.support.gemini_server import USAGE, audio_part

_READY = b'{"setupComplete":{"sessionId":"s"}}'
_MESSAGES = [
    {"serverContent": {"inputTranscription": {"text": "Who?", "finished": True}}},
    {"serverContent": {"modelTurn": {"parts": [audio_part(b"\1\2" * 8)]}, "outputTranscription": {"text": "I."}}},
    {"serverContent": {"generationComplete": True, "interactionStatus": "IDLE"}},
    {"serverContent": {"turnComplete": True, "turnCompleteReason": "NEED_MORE_INPUT"}, "usageMetadata": USAGE},
    {"serverContent": {"interrupted": True}, "voiceActivity": {"voiceActivityType": "ACTIVITY_START"}},
    {"toolCall": {"functionCalls": [{"id": "f1", "name": "look", "args": {"a": 1}}]}},
    {"toolCallCancellation": {"ids": ["f1"]}},
    {"goAway": {"timeLeft": "10.5s"}, "sessionResumptionUpdate": {"newHandle": "h", "resumable": True}},
]
_LINES = [json.dumps(message, separators=(",", ":")).encode() for message in _MESSAGES]
SEEDS = [*_LINES, b"\n".join(_LINES)]


def fuzz(data: bytes) -> None:
    """One message a line, in a session that is set up; each as text or as binary."""
    options = SessionOptions(
        url="ws://h", model="m", api_key=Secret("k"), input_format=AudioFormat.PCM16_16K, transcription_model="own"
    )
    protocol = GeminiProtocol(options)
    for number, line in enumerate((_READY, *data.split(b"\n"))):
        protocol.receive(line if number % 2 else line.decode("utf-8", "replace"))
        protocol.respond(None)
    for message in protocol.messages_to_send():
        json.loads(message.encode("utf-8"))
