"""The default conversation's items and what a client may do to them: create, retrieve, truncate, delete."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import numpy as np

from gateway.embedded.audio import LINE_RATE_HZ, LineDecoder, WireFormat, encode, resample
from gateway.embedded.events import Identities, ServerEvents
from gateway.embedded.items import (
    ClientAssistantMessage,
    ClientFunctionCall,
    ClientFunctionCallOutput,
    ClientInputAudio,
    ClientInputImage,
    ClientInputText,
    ClientItem,
    ClientSystemMessage,
    ClientUserMessage,
    FunctionCall,
    FunctionCallOutput,
    InputAudio,
    InputImage,
    InputText,
    Item,
    Ledger,
    Message,
    OutputAudio,
    OutputText,
    Part,
    item_tokens,
)
from gateway.embedded.protocol import ItemCreate, ItemTruncate, RefusedEvent, decode_audio

MAX_KEPT_AUDIO_BYTES = 16 << 20
"""Audio and pictures kept for `conversation.item.retrieve`, over all items; the oldest go first."""
MAX_CONTEXT_TOKENS = 128_000
MAX_ITEMS = 10_000
"""What the conversation holds; beyond it the oldest items are dropped without a word, as the real server does."""

_BYTES_PER_MS = 2 * LINE_RATE_HZ // 1000


class History:
    """The items, kept in step with what the client was told about them."""

    def __init__(self, events: ServerEvents, identities: Identities) -> None:
        self.ledger = Ledger()
        self._events = events
        self._identities = identities

    def put(self, item: Item, previous_item_id: str | None = None) -> None:
        """Add an item that is final from the start."""
        self.ledger.add(item, previous_item_id=previous_item_id)
        previous = self.ledger.previous_id(item.id)
        self._events.item_added(previous_item_id=previous, item=item.to_wire())
        self._events.item_done(previous_item_id=previous, item=item.to_wire())
        self._forget_old_audio()
        self._drop_old_items()

    def put_turn(self, item_id: str, samples: bytes) -> Message:
        """Commit a spoken turn, `int16[n]` at 8 kHz, as a user item."""
        part = InputAudio(duration_ms=len(samples) // _BYTES_PER_MS, audio=samples)
        message = Message(id=item_id, role="user", content=[part])
        self._events.audio_committed(previous_item_id=self.ledger.last_id, item_id=item_id)
        self.put(message)
        return message

    def put_silence(self, item_id: str, duration_ms: int) -> None:
        """Commit a stretch in which the caller said nothing as a user item."""
        self._events.audio_committed(previous_item_id=self.ledger.last_id, item_id=item_id)
        self.put(Message(id=item_id, role="user", content=[InputAudio(transcript="", duration_ms=duration_ms)]))

    def create(self, event: ItemCreate, input_format: WireFormat) -> Item:
        """Carry out `conversation.item.create`.

        Raises:
            RefusedEvent: a duplicate id, an unknown previous item, an output for a call that was never made.
        """
        item_id = event.item.id or self._identities.new("item")
        if item_id in self.ledger:
            message = f"Error adding item: an item with id '{item_id}' already exists."
            raise RefusedEvent("item_create_duplicate_item_id", message, parameter="item.id")
        previous = event.previous_item_id
        if previous is not None and previous != "root" and previous not in self.ledger:
            message = f"Error adding item: the previous item with id '{previous}' does not exist."
            raise RefusedEvent("invalid_value", message, parameter="previous_item_id")
        item = self.item_of(event.item, item_id, input_format)
        self.put(item, previous)
        return item

    def item_of(self, given: ClientItem, item_id: str, input_format: WireFormat) -> Item:
        """What a client's item is here.

        Raises:
            RefusedEvent: it refers to a call or request that was never made, or its audio is not base64.
        """
        match given:
            case ClientUserMessage():
                content = [_input_part(part, input_format) for part in given.content]
                return Message(id=item_id, role="user", content=content)
            case ClientSystemMessage():
                return Message(id=item_id, role="system", content=[InputText(text=part.text) for part in given.content])
            case ClientAssistantMessage():
                said: list[Part] = [OutputText(text=part.text) for part in given.content]
                return Message(id=item_id, role="assistant", content=said)
            case ClientFunctionCall():
                call_id = given.call_id or self._identities.new("call")
                return FunctionCall(id=item_id, name=given.name, call_id=call_id, arguments=given.arguments)
            case ClientFunctionCallOutput():
                if self.call(given.call_id) is None:
                    message = f"Tool call ID '{given.call_id}' not found in conversation."
                    raise RefusedEvent("invalid_value", message, parameter="item.call_id")
                return FunctionCallOutput(id=item_id, call_id=given.call_id, output=given.output)
        message = "There is no MCP approval request to answer."
        raise RefusedEvent("invalid_value", message, parameter="item.approval_request_id")

    def call(self, call_id: str) -> FunctionCall | None:
        """The function call of this id."""
        return next((i for i in self.ledger if isinstance(i, FunctionCall) and i.call_id == call_id), None)

    def retrieve(self, item_id: str, input_format: WireFormat) -> None:
        """Carry out `conversation.item.retrieve`; the caller's audio is given in the session's input format.

        Raises:
            RefusedEvent: no item has this id.
        """
        item = self.ledger.get(item_id)
        if item is None:
            message = f"Item with item_id not found: {item_id}"
            raise RefusedEvent("item_retrieve_invalid_item_id", message, parameter="item_id")
        wire = item.to_wire()
        if isinstance(item, Message):
            for part, shown in zip(item.content, wire["content"], strict=True):
                if isinstance(part, InputAudio | OutputAudio):
                    shown["audio"] = base64.b64encode(_wire_audio(part, input_format)).decode()
        self._events.item_retrieved(wire)

    def delete(self, item_id: str) -> None:
        """Carry out `conversation.item.delete`.

        Raises:
            RefusedEvent: no item has this id.
        """
        if item_id not in self.ledger:
            message = f"Item with item_id not found: {item_id}"
            raise RefusedEvent("item_delete_invalid_item_id", message, parameter="item_id")
        self.ledger.remove(item_id)
        self._events.item_deleted(item_id)

    def truncate(self, event: ItemTruncate) -> None:
        """Carry out `conversation.item.truncate`: keep what was heard.

        Raises:
            RefusedEvent: no such assistant audio, or it is shorter than that.
        """
        item = self.ledger.get(event.item_id)
        if not isinstance(item, Message) or item.role != "assistant":
            message = f"Item with item_id not found: {event.item_id}"
            raise RefusedEvent("item_truncate_invalid_item_id", message, parameter="item_id")
        part = item.content[event.content_index] if event.content_index < len(item.content) else None
        if not isinstance(part, OutputAudio):
            message = f"There is no audio content at index {event.content_index} of the item."
            raise RefusedEvent("invalid_value", message, parameter="content_index")
        if event.audio_end_ms > part.longest_ms:
            message = f"Audio content of {part.duration_ms}ms is already shorter than {event.audio_end_ms}ms"
            raise RefusedEvent("invalid_value", message, parameter="audio_end_ms")
        part.truncate(event.audio_end_ms)
        self._events.item_truncated(item_id=item.id, content_index=event.content_index, audio_end_ms=event.audio_end_ms)

    def unanswered(self) -> list[Message | FunctionCallOutput]:
        """What came in since the assistant last spoke, oldest first."""
        found: list[Message | FunctionCallOutput] = []
        for item in reversed(list(self.ledger)):
            if isinstance(item, Message) and item.role == "assistant":
                break
            if not isinstance(item, FunctionCall):
                found.append(item)
        return found[::-1]

    @property
    def has_spoken(self) -> bool:
        """Whether the assistant has said anything yet."""
        return any(isinstance(item, Message) and item.role == "assistant" for item in self.ledger)

    def _heavy_parts(self) -> Iterator[InputAudio | OutputAudio | InputImage]:
        for item in self.ledger:
            if isinstance(item, Message):
                yield from (part for part in item.content if isinstance(part, InputAudio | OutputAudio | InputImage))

    def _forget_old_audio(self) -> None:
        surplus = sum(part.kept_bytes for part in self._heavy_parts()) - MAX_KEPT_AUDIO_BYTES
        for part in self._heavy_parts():
            if surplus <= 0:
                return
            surplus -= part.kept_bytes
            part.forget()

    def _drop_old_items(self) -> None:
        costs = [(item.id, item_tokens(item)) for item in self.ledger]
        tokens = sum(cost.text + cost.audio for _, cost in costs)
        count = len(costs)
        for item_id, cost in costs[:-1]:
            if tokens <= MAX_CONTEXT_TOKENS and count <= MAX_ITEMS:
                return
            self.ledger.remove(item_id)
            tokens -= cost.text + cost.audio
            count -= 1


def _input_part(part: ClientInputText | ClientInputAudio | ClientInputImage, input_format: WireFormat) -> Part:
    if isinstance(part, ClientInputText):
        return InputText(text=part.text)
    if isinstance(part, ClientInputImage):
        return InputImage(image_url=part.image_url, detail=part.detail or "auto")
    audio = decode_audio(part.audio, "item.content.audio") if part.audio else b""
    samples = LineDecoder(input_format).decode(audio).tobytes()
    return InputAudio(transcript=part.transcript, duration_ms=len(samples) // _BYTES_PER_MS, audio=samples)


def _wire_audio(part: InputAudio | OutputAudio, input_format: WireFormat) -> bytes:
    if isinstance(part, OutputAudio):
        return bytes(part.audio)
    samples = np.frombuffer(part.audio, dtype=np.int16)
    return encode(resample(samples, LINE_RATE_HZ, input_format.sample_rate_hz), input_format)
