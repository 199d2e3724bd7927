"""What the scripted speech model says, as WebSocket frames that are made once and sent to everybody.

The events of a reply are those of OpenAI Realtime (GA), in its order: the transcript runs ahead of the audio, the audio
comes in pieces of some length, the first 300 ms at once and all of it faster than it is spoken.
"""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Mapping
from typing import Final

from gateway.media import codec
from gateway.media.codec import PCMA, PCMU, AudioFormat
from gateway.simulate.rig.caller import speech

REPLY_MS: Final = 3000
AT_ONCE_MS: Final = 300
SPEED: Final = 2.5
"""Audio is sent so much faster than it is spoken."""
REPLIES: Final = 64
"""Replies with names of their own; after so many the names begin anew."""
WORDS: Final = " and so on"
WORDS_MS: Final = 300
_TRANSCRIPT: Final = WORDS * (REPLY_MS // WORDS_MS)
_SESSION: Final = {"id": "sess_1", "object": "realtime.session", "type": "realtime", "model": "scripted"}
_TEXT: Final = 0x81


def frame(payload: bytes, opcode: int = _TEXT) -> bytes:
    """A whole, unmasked frame (RFC 6455 5.2)."""
    size = len(payload)
    if size < 126:
        return bytes((opcode, size)) + payload
    if size < 65536:
        return bytes((opcode, 126)) + size.to_bytes(2, "big") + payload
    return bytes((opcode, 127)) + size.to_bytes(8, "big") + payload


def event(kind: str, **members: object) -> bytes:
    """One server event, framed."""
    return frame(json.dumps({"type": kind, "event_id": "event_1"} | members, separators=(",", ":")).encode())


def created() -> bytes:
    """The greeting of the server."""
    return event("session.created", session=_SESSION)


def updated(session: Mapping[str, object]) -> bytes:
    """The session as it was asked for."""
    return event("session.updated", session=_SESSION | dict(session))


def turn_began(item: str, at_ms: int) -> bytes:
    """The caller began to speak."""
    return event("input_audio_buffer.speech_started", audio_start_ms=at_ms, item_id=item)


def turn_ended(item: str, at_ms: int) -> bytes:
    """The caller's turn is over, and part of the conversation."""
    message = {"id": item, "type": "message", "role": "user", "content": [{"type": "input_audio"}]}
    return b"".join(
        (
            event("input_audio_buffer.speech_stopped", audio_end_ms=at_ms, item_id=item),
            event("input_audio_buffer.committed", item_id=item, previous_item_id=None),
            event("conversation.item.added", item=message, previous_item_id=None),
            event("conversation.item.done", item=message, previous_item_id=None),
        )
    )


@functools.cache
def reply(number: int, output: AudioFormat, piece_ms: int) -> tuple[bytes, ...]:
    """Reply `number`, below `REPLIES`: what is sent together in one piece: an opening, the pieces, an end."""
    response, item = f"resp_{number}", f"item_{number}"
    place = {"response_id": response, "item_id": item, "output_index": 0, "content_index": 0}
    message = {"id": item, "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    done = {"id": response, "status": "completed", "output": [], "usage": {"input_tokens": 9, "output_tokens": 9}}
    opening = (
        event("response.created", response={"id": response, "status": "in_progress", "output": []})
        + event("response.output_item.added", response_id=response, output_index=0, item=message)
        + event("conversation.item.added", item=message, previous_item_id=None)
        + event("response.content_part.added", **place, part={"type": "audio", "transcript": ""})
    )
    words = event("response.output_audio_transcript.delta", **place, delta=WORDS)
    pieces = [
        words * _words_begin(index, piece_ms) + event("response.output_audio.delta", **place, delta=text)
        for index, text in enumerate(_audio(output, piece_ms))
    ]
    end = (
        event("response.output_audio.done", **place)
        + event("response.output_audio_transcript.done", **place, transcript=_TRANSCRIPT)
        + event("response.content_part.done", **place, part={"type": "audio", "transcript": _TRANSCRIPT})
        + event("conversation.item.done", item=message | {"status": "completed"}, previous_item_id=None)
        + event("response.output_item.done", response_id=response, output_index=0, item=message)
        + event("response.done", response=done)
    )
    return opening, *pieces, end


def _words_begin(index: int, piece_ms: int) -> bool:
    """Whether the next words of the transcript come before the piece of that index."""
    return index * piece_ms // WORDS_MS != (index - 1) * piece_ms // WORDS_MS


@functools.cache
def _audio(output: AudioFormat, piece_ms: int) -> tuple[str, ...]:
    """Base64 of each piece."""
    samples = speech(REPLY_MS * output.sample_rate_hz // 1000, 2)
    law = {AudioFormat.PCMU: PCMU, AudioFormat.PCMA: PCMA}.get(output)
    whole = samples.tobytes() if law is None else codec.encode(samples[None], law)[0].tobytes()
    size = piece_ms * output.bytes_per_ms
    return tuple(base64.b64encode(whole[start : start + size]).decode() for start in range(0, len(whole), size))
