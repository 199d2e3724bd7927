"""What the server says: every event of OpenAI Realtime GA that it sends, with all members, in the wire's order.

One method an event. Each appends one encoded JSON text to the outbox; nothing else in the package writes events, so
this file is the list of what a client may see.
"""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_ALPHABET = string.ascii_letters + string.digits
_ID_CHARACTERS = 21

Wire = Mapping[str, Any]
"""A JSON object as it goes on the wire."""


class Identities:
    """Makes ids of the protocol's form: a prefix and 21 base62 characters."""

    def __init__(self, entropy: random.Random) -> None:
        self._entropy = entropy

    def new(self, prefix: str) -> str:
        """A fresh id, such as `item_A1b2...`."""
        return f"{prefix}_{''.join(self._entropy.choices(_ALPHABET, k=_ID_CHARACTERS))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentPlace:
    """Where a piece of a response belongs; the four members that all its content events share."""

    response_id: str
    item_id: str
    output_index: int
    content_index: int = 0

    def to_wire(self) -> dict[str, Any]:
        """The members in wire order."""
        return {
            "response_id": self.response_id,
            "item_id": self.item_id,
            "output_index": self.output_index,
            "content_index": self.content_index,
        }


class ServerEvents:
    """The outbox of one connection."""

    def __init__(self, identities: Identities) -> None:
        self._identities = identities
        self._outbox: list[str] = []

    def drain(self) -> list[str]:
        """Everything not yet sent, oldest first, each one WebSocket text message."""
        drained, self._outbox = self._outbox, []
        return drained

    def _add(self, kind: str, members: Wire) -> None:
        event = {"type": kind, "event_id": self._identities.new("event"), **members}
        self._outbox.append(json.dumps(event, separators=(",", ":")))

    # Session

    def session_created(self, session: Wire) -> None:
        """First event of the connection."""
        self._add("session.created", {"session": session})

    def session_updated(self, session: Wire) -> None:
        """Answers an update with the full effective session."""
        self._add("session.updated", {"session": session})

    def error(
        self,
        code: str,
        message: str,
        *,
        parameter: str | None = None,
        event_id: str | None = None,
        kind: str = "invalid_request_error",
    ) -> None:
        """Something was refused or went wrong; the session goes on unless the socket is closed."""
        detail = {"type": kind, "code": code, "message": message, "param": parameter, "event_id": event_id}
        self._add("error", {"error": detail})

    # Caller's audio

    def speech_started(self, *, audio_start_ms: int, item_id: str) -> None:
        """The caller speaks; `item_id` is the item that this turn will be."""
        self._add("input_audio_buffer.speech_started", {"audio_start_ms": audio_start_ms, "item_id": item_id})

    def speech_stopped(self, *, audio_end_ms: int, item_id: str) -> None:
        """The caller's turn is over."""
        self._add("input_audio_buffer.speech_stopped", {"audio_end_ms": audio_end_ms, "item_id": item_id})

    def audio_committed(self, *, previous_item_id: str | None, item_id: str) -> None:
        """The buffered audio has become an item."""
        members = {"previous_item_id": previous_item_id, "item_id": item_id}
        self._add("input_audio_buffer.committed", members)

    def audio_cleared(self) -> None:
        """The buffered audio is gone."""
        self._add("input_audio_buffer.cleared", {})

    def idle_timeout(self, *, audio_start_ms: int, audio_end_ms: int, item_id: str) -> None:
        """Nobody has spoken for `idle_timeout_ms` after the last reply."""
        members = {"audio_start_ms": audio_start_ms, "audio_end_ms": audio_end_ms, "item_id": item_id}
        self._add("input_audio_buffer.timeout_triggered", members)

    def transcription_delta(self, *, item_id: str, transcript: str, logprob: float | None = None) -> None:
        """More of the words of a spoken turn."""
        members = {"item_id": item_id, "content_index": 0, "delta": transcript, **_logprobs(transcript, logprob)}
        self._add("conversation.item.input_audio_transcription.delta", members)

    def transcription_completed(
        self, *, item_id: str, transcript: str, seconds: float, logprob: float | None = None
    ) -> None:
        """The words of a spoken turn."""
        members = {"item_id": item_id, "content_index": 0, "transcript": transcript, **_logprobs(transcript, logprob)}
        usage = {"type": "duration", "seconds": seconds}
        self._add("conversation.item.input_audio_transcription.completed", {**members, "usage": usage})

    def transcription_failed(self, *, item_id: str, code: str, message: str) -> None:
        """The words of a spoken turn could not be made out."""
        error = {"type": "transcription_error", "code": code, "message": message, "param": None}
        members = {"item_id": item_id, "content_index": 0, "error": error}
        self._add("conversation.item.input_audio_transcription.failed", members)

    # Tool servers

    def tool_list_in_progress(self, item_id: str) -> None:
        """A tool server is asked what it offers."""
        self._add("mcp_list_tools.in_progress", {"item_id": item_id})

    def tool_list_failed(self, item_id: str) -> None:
        """A tool server could not be reached."""
        self._add("mcp_list_tools.failed", {"item_id": item_id})

    # Items

    def item_added(self, *, previous_item_id: str | None, item: Wire) -> None:
        """An item enters the conversation."""
        self._add("conversation.item.added", {"previous_item_id": previous_item_id, "item": item})

    def item_done(self, *, previous_item_id: str | None, item: Wire) -> None:
        """An item is final."""
        self._add("conversation.item.done", {"previous_item_id": previous_item_id, "item": item})

    def item_retrieved(self, item: Wire) -> None:
        """An item with its audio."""
        self._add("conversation.item.retrieved", {"item": item})

    def item_deleted(self, item_id: str) -> None:
        """An item is gone."""
        self._add("conversation.item.deleted", {"item_id": item_id})

    def item_truncated(self, *, item_id: str, content_index: int, audio_end_ms: int) -> None:
        """An assistant's audio was cut to what was heard."""
        members = {"item_id": item_id, "content_index": content_index, "audio_end_ms": audio_end_ms}
        self._add("conversation.item.truncated", members)

    # Responses

    def response_created(self, response: Wire) -> None:
        """A response begins."""
        self._add("response.created", {"response": response})

    def response_done(self, response: Wire) -> None:
        """A response has ended, whatever its end."""
        self._add("response.done", {"response": response})

    def rate_limits_updated(self, limits: Sequence[Wire]) -> None:
        """What is left of the limits after a response."""
        self._add("rate_limits.updated", {"rate_limits": limits})

    def output_item_added(self, *, response_id: str, output_index: int, item: Wire) -> None:
        """The response has a new item."""
        members = {"response_id": response_id, "output_index": output_index, "item": item}
        self._add("response.output_item.added", members)

    def output_item_done(self, *, response_id: str, output_index: int, item: Wire) -> None:
        """An item of the response is final."""
        members = {"response_id": response_id, "output_index": output_index, "item": item}
        self._add("response.output_item.done", members)

    def content_part_added(self, place: ContentPlace, part: Wire) -> None:
        """A message of the response has a new, empty part."""
        self._add("response.content_part.added", {**place.to_wire(), "part": part})

    def content_part_done(self, place: ContentPlace, part: Wire) -> None:
        """A part is final."""
        self._add("response.content_part.done", {**place.to_wire(), "part": part})

    def audio_delta(self, place: ContentPlace, audio: bytes) -> None:
        """More speech in the output format."""
        self._add("response.output_audio.delta", {**place.to_wire(), "delta": base64.b64encode(audio).decode()})

    def audio_done(self, place: ContentPlace) -> None:
        """No more speech in this part."""
        self._add("response.output_audio.done", place.to_wire())

    def transcript_delta(self, place: ContentPlace, text: str) -> None:
        """More of the words being spoken, ahead of the audio."""
        self._add("response.output_audio_transcript.delta", {**place.to_wire(), "delta": text})

    def transcript_done(self, place: ContentPlace, text: str) -> None:
        """All words spoken in this part."""
        self._add("response.output_audio_transcript.done", {**place.to_wire(), "transcript": text})

    def text_delta(self, place: ContentPlace, text: str) -> None:
        """More of a written answer."""
        self._add("response.output_text.delta", {**place.to_wire(), "delta": text})

    def text_done(self, place: ContentPlace, text: str) -> None:
        """A written answer is complete."""
        self._add("response.output_text.done", {**place.to_wire(), "text": text})

    def arguments_delta(
        self, *, response_id: str, item_id: str, output_index: int, call_id: str, arguments: str
    ) -> None:
        """More of a function call's arguments."""
        members = {"response_id": response_id, "item_id": item_id, "output_index": output_index, "call_id": call_id}
        self._add("response.function_call_arguments.delta", {**members, "delta": arguments})

    def arguments_done(
        self, *, response_id: str, item_id: str, output_index: int, call_id: str, name: str, arguments: str
    ) -> None:
        """A function call's arguments are complete."""
        members = {"response_id": response_id, "item_id": item_id, "output_index": output_index, "call_id": call_id}
        self._add("response.function_call_arguments.done", {**members, "name": name, "arguments": arguments})


def _logprobs(transcript: str, logprob: float | None) -> dict[str, object]:
    """The member `logprobs` where there is one: a phrase stands or falls as a whole, so that it is one token."""
    if logprob is None:
        return {}
    return {"logprobs": [{"token": transcript, "logprob": logprob, "bytes": list(transcript.encode())}]}
