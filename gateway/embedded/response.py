"""One response from `response.created` to `response.done`, in the protocol's golden order.

A response performs a `Reply`: messages, spoken sentence by sentence, and function calls. It asks for one sentence at a
time (`Speak`) and is fed the audio that comes back; however it ends, every item and part it opened is closed first.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.embedded.audio import WireFormat
from gateway.embedded.brain import Call, Reply, Say
from gateway.embedded.events import ContentPlace, Identities, ServerEvents
from gateway.embedded.items import (
    OUTPUT_AUDIO_MS_PER_TOKEN,
    FunctionCall,
    Item,
    Ledger,
    Message,
    OutputAudio,
    OutputText,
    Tokens,
    text_tokens,
)
from gateway.embedded.session import AudioFormatConfig, CustomVoice, VoiceConfig
from gateway.embedded.voice import sentences

_CACHE_BLOCK_TOKENS = 64

REQUESTS_PER_MINUTE = 20_000
TOKENS_PER_MINUTE = 15_000_000
"""What `rate_limits.updated` tells of, and what nothing here is held to."""


@dataclass(frozen=True, slots=True)
class Speak:
    """Ask the voice for one sentence; answered with `Response.hear_voice` and `Response.sentence_ended`."""

    number: int
    text: str
    voice: str
    speed: float
    wire_format: WireFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseOptions:
    """What is in force for one response: the session's settings with the response's own laid over them."""

    is_text: bool
    voice: VoiceConfig
    format: AudioFormatConfig
    speed: float
    max_output_tokens: int | str
    metadata: Mapping[str, str] | None = None
    conversation_id: str | None = None
    """None: out of band, nothing of it enters the conversation."""

    @property
    def wire_format(self) -> WireFormat:
        """The output format."""
        return WireFormat(self.format.type)

    @property
    def voice_name(self) -> str:
        """The voice by name or id."""
        return self.voice.id if isinstance(self.voice, CustomVoice) else self.voice


class ResponseState(enum.Enum):
    """Life of a response."""

    WAITING = enum.auto()
    """The turn's words are not known yet."""
    SPEAKING = enum.auto()
    DONE = enum.auto()


@dataclass(slots=True)
class _OpenMessage:
    """The message that is being spoken or written."""

    message: Message
    place: ContentPlace
    part: OutputAudio | OutputText
    unsaid: deque[str]


class Response:
    """One response. `request` hands its sentences to the voice; `ledger` is the conversation's."""

    def __init__(
        self,
        options: ResponseOptions,
        *,
        events: ServerEvents,
        identities: Identities,
        ledger: Ledger,
        request: Callable[[Response, str], None],
    ) -> None:
        self.id = identities.new("resp")
        self.options = options
        self.state = ResponseState.WAITING
        self._events = events
        self._identities = identities
        self._ledger = ledger
        self._request = request
        self._output: list[Item] = []
        self._open: _OpenMessage | None = None
        self._undone: deque[Say | Call] = deque()
        self._is_whole = True
        self._is_voicing = False
        self._input_tokens = Tokens()
        self._cached_tokens = Tokens()
        self._output_tokens = Tokens()
        events.response_created(self._to_wire("in_progress", None, is_final=False))

    @property
    def is_in_conversation(self) -> bool:
        """Whether its items belong to the default conversation."""
        return self.options.conversation_id is not None

    @property
    def audio_ms(self) -> int:
        """Audio made so far, over all its messages."""
        parts = (part for item in self._output if isinstance(item, Message) for part in item.content)
        return sum(part.duration_ms for part in parts if isinstance(part, OutputAudio))

    def perform(self, reply: Reply, *, input_tokens: Tokens, known_tokens: Tokens, is_whole: bool = True) -> None:
        """Say and do `reply`, and where it is not whole all that `extend` brings.

        `known_tokens` of the input were input of an earlier response too.
        """
        self.state = ResponseState.SPEAKING
        self._is_whole = is_whole
        self._input_tokens = input_tokens
        self._cached_tokens = Tokens(*(_cached(known) for known in (known_tokens.text, known_tokens.audio)))
        self._undone.extend(reply)
        self._go_on()

    def extend(self, reply: Reply, *, is_whole: bool) -> None:
        """More of a reply that was not whole: its words go on in the message that is open."""
        if self.state is not ResponseState.SPEAKING:
            return
        self._is_whole = is_whole
        for action in reply:
            if isinstance(action, Say) and self._open is not None and not self._undone:
                self._open.unsaid.extend(sentences(action.text))
            else:
                self._undone.append(action)
        if not self._is_voicing:
            self._go_on()

    def hear_voice(self, audio: bytes) -> None:
        """Audio of the sentence that was asked for."""
        if self._open is None or not isinstance(self._open.part, OutputAudio) or not audio:
            return
        self._open.part.append(audio)
        self._events.audio_delta(self._open.place, audio)

    def sentence_ended(self) -> None:
        """The sentence that was asked for is spoken."""
        self._is_voicing = False
        if self.state is ResponseState.SPEAKING:
            self._go_on()

    def cancel(self, reason: str) -> None:
        """End now: `turn_detected` or `client_cancelled`."""
        self._finish("cancelled", {"type": "cancelled", "reason": reason})

    def fail(self, code: str, message: str) -> None:
        """End now because of us."""
        error = {"type": "server_error", "code": code, "message": message}
        self._finish("failed", {"type": "failed", "error": error})

    def _go_on(self) -> None:
        while self.state is ResponseState.SPEAKING:
            if self._is_over_budget():
                self._finish("incomplete", {"type": "incomplete", "reason": "max_output_tokens"})
            elif self._open is not None and self._open.unsaid:
                if not self._say(self._open, self._open.unsaid.popleft()):
                    return
            elif not self._undone and not self._is_whole:
                return
            elif self._open is not None:
                self._close_message("completed")
            elif self._undone:
                self._begin(self._undone.popleft())
            else:
                self._finish("completed", None)

    def _is_over_budget(self) -> bool:
        limit = self.options.max_output_tokens
        spent = self._spent()
        return isinstance(limit, int) and spent.text + spent.audio > limit

    def _begin(self, action: Say | Call) -> None:
        if isinstance(action, Call):
            self._call(action)
            return
        message = Message(id=self._identities.new("item"), role="assistant", status="in_progress")
        index = self._add(message)
        place = ContentPlace(response_id=self.id, item_id=message.id, output_index=index)
        part: OutputAudio | OutputText
        if self.options.is_text:
            part = OutputText()
            self._events.content_part_added(place, {"type": "text", "text": ""})
        else:
            part = OutputAudio(bytes_per_ms=self.options.wire_format.bytes_per_ms)
            self._events.content_part_added(place, {"type": "audio", "transcript": ""})
        message.content.append(part)
        self._open = _OpenMessage(message, place, part, deque(sentences(action.text)))

    def _say(self, message: _OpenMessage, sentence: str) -> bool:
        """Speak or write one sentence; False where audio must come before the next."""
        part = message.part
        if isinstance(part, OutputText):
            delta = f" {sentence}" if part.text else sentence
            part.text += delta
            self._events.text_delta(message.place, delta)
            return True
        delta = f" {sentence}" if part.transcript else sentence
        part.transcript = (part.transcript or "") + delta
        self._events.transcript_delta(message.place, delta)
        self._is_voicing = True
        self._request(self, sentence)
        return False

    def _call(self, call: Call) -> None:
        item = FunctionCall(
            id=self._identities.new("item"), name=call.name, call_id=self._identities.new("call"), status="in_progress"
        )
        index = self._add(item)
        self._events.arguments_delta(
            response_id=self.id, item_id=item.id, output_index=index, call_id=item.call_id, arguments=call.arguments
        )
        self._events.arguments_done(
            response_id=self.id,
            item_id=item.id,
            output_index=index,
            call_id=item.call_id,
            name=item.name,
            arguments=call.arguments,
        )
        item.arguments = call.arguments
        self._output_tokens += Tokens(text=text_tokens(call.name + call.arguments))
        self._complete(item, index, "completed")

    def _add(self, item: Item) -> int:
        index = len(self._output)
        self._output.append(item)
        self._events.output_item_added(response_id=self.id, output_index=index, item=item.to_wire())
        if self.is_in_conversation:
            self._ledger.add(item)
            previous = self._ledger.previous_id(item.id)
            self._events.item_added(previous_item_id=previous, item=item.to_wire())
        return index

    def _close_message(self, status: str) -> None:
        opened, self._open = self._open, None
        if opened is None:
            return
        part, place = opened.part, opened.place
        if isinstance(part, OutputText):
            self._events.text_done(place, part.text)
            self._events.content_part_done(place, {"type": "text", "text": part.text})
        else:
            self._events.audio_done(place)
            self._events.transcript_done(place, part.transcript or "")
            self._events.content_part_done(place, {"type": "audio", "transcript": part.transcript or ""})
        self._output_tokens += _part_tokens(part)
        self._complete(opened.message, place.output_index, status)

    def _complete(self, item: Item, index: int, status: str) -> None:
        item.status = status
        if self.is_in_conversation:
            self._events.item_done(previous_item_id=self._ledger.previous_id(item.id), item=item.to_wire())
        self._events.output_item_done(response_id=self.id, output_index=index, item=item.to_wire())

    def _finish(self, status: str, details: Mapping[str, Any] | None) -> None:
        if self.state is ResponseState.DONE:
            return
        self._close_message("completed" if status == "completed" else "incomplete")
        self.state = ResponseState.DONE
        self._events.response_done(self._to_wire(status, details, is_final=True))
        self._events.rate_limits_updated(self._rate_limits())

    def _spent(self) -> Tokens:
        return self._output_tokens + (_part_tokens(self._open.part) if self._open else Tokens())

    def _to_wire(self, status: str, details: Mapping[str, Any] | None, *, is_final: bool) -> dict[str, Any]:
        options = self.options
        voice = options.voice if isinstance(options.voice, str) else options.voice.model_dump(mode="json")
        output_audio = {"format": options.format.model_dump(mode="json"), "voice": voice}
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": details,
            "output": [item.to_wire() for item in self._output],
            "conversation_id": options.conversation_id,
            "output_modalities": ["text" if options.is_text else "audio"],
            "max_output_tokens": options.max_output_tokens,
            "audio": {"output": output_audio},
            "usage": self._usage() if is_final else None,
            "metadata": dict(options.metadata) if options.metadata is not None else None,
        }

    def _rate_limits(self) -> list[dict[str, Any]]:
        """Limits that nobody meets, lowered by this response alone as if it stood at the beginning of a minute."""
        spent = self._spent() + self._input_tokens
        shares = {"requests": (REQUESTS_PER_MINUTE, 1), "tokens": (TOKENS_PER_MINUTE, spent.text + spent.audio)}
        return [
            {"name": name, "limit": limit, "remaining": max(0, limit - used), "reset_seconds": 60 * used / limit}
            for name, (limit, used) in shares.items()
        ]

    def _usage(self) -> dict[str, Any]:
        given, cached, made = self._input_tokens, self._cached_tokens, self._spent()
        total_in, total_out = given.text + given.audio, made.text + made.audio
        return {
            "total_tokens": total_in + total_out,
            "input_tokens": total_in,
            "output_tokens": total_out,
            "input_token_details": {
                "text_tokens": given.text,
                "audio_tokens": given.audio,
                "image_tokens": 0,
                "cached_tokens": cached.text + cached.audio,
                "cached_tokens_details": {
                    "text_tokens": cached.text,
                    "audio_tokens": cached.audio,
                    "image_tokens": 0,
                },
            },
            "output_token_details": {"text_tokens": made.text, "audio_tokens": made.audio},
        }


def _cached(tokens: int) -> int:
    """Caches work in blocks: the part of a prompt that was seen before, rounded down."""
    return tokens - tokens % _CACHE_BLOCK_TOKENS


def _part_tokens(part: OutputAudio | OutputText) -> Tokens:
    if isinstance(part, OutputText):
        return Tokens(text=text_tokens(part.text))
    audio = -(-part.duration_ms // OUTPUT_AUDIO_MS_PER_TOKEN)
    return Tokens(text=text_tokens(part.transcript or ""), audio=audio)
