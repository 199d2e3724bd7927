"""Conversation items: what a client may create, what the conversation keeps, and how each looks on the wire."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from gateway.embedded.session import Strict

CHARACTERS_PER_TOKEN = 4
INPUT_AUDIO_MS_PER_TOKEN = 100
OUTPUT_AUDIO_MS_PER_TOKEN = 50


def text_tokens(text: str) -> int:
    """About how many tokens `text` has; none only where it is empty."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


# --- What a client may create -----------------------------------------------------------------------------------------


class _ClientItem(Strict):
    id: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    object: Literal["realtime.item"] | None = None
    status: Literal["completed", "incomplete", "in_progress"] | None = None


class ClientInputText(Strict):
    """Written by the user or the system."""

    type: Literal["input_text"]
    text: str


class ClientInputAudio(Strict):
    """Audio in the session's input format, base64, or the words of audio that is no longer there."""

    type: Literal["input_audio"]
    audio: str | None = None
    transcript: str | None = None


class ClientInputImage(Strict):
    """A picture as a data URI; nobody looks at it here."""

    type: Literal["input_image"]
    image_url: Annotated[str, Field(pattern=r"^data:image/(png|jpe?g);base64,")]
    detail: Literal["auto", "low", "high"] | None = None


class ClientOutputText(Strict):
    """What the assistant wrote or said in an earlier session."""

    type: Literal["output_text"]
    text: str


class ClientUserMessage(_ClientItem):
    """A user's turn."""

    type: Literal["message"]
    role: Literal["user"]
    content: list[Annotated[ClientInputText | ClientInputAudio | ClientInputImage, Field(discriminator="type")]]


class ClientSystemMessage(_ClientItem):
    """Instructions in mid-conversation."""

    type: Literal["message"]
    role: Literal["system"]
    content: list[ClientInputText]


class ClientAssistantMessage(_ClientItem):
    """History; assistant audio cannot be created."""

    type: Literal["message"]
    role: Literal["assistant"]
    content: list[ClientOutputText]


class ClientFunctionCall(_ClientItem):
    """History: a call that was made in an earlier session."""

    type: Literal["function_call"]
    name: str
    arguments: str
    call_id: str | None = None


class ClientFunctionCallOutput(_ClientItem):
    """What a tool answered."""

    type: Literal["function_call_output"]
    call_id: str
    output: str


class ClientApprovalResponse(_ClientItem):
    """Answers an approval request, of which this server makes none."""

    type: Literal["mcp_approval_response"]
    approval_request_id: str
    approve: bool
    reason: str | None = None


class ItemReference(Strict):
    """An item of the conversation as input of one response."""

    type: Literal["item_reference"]
    id: str


ClientMessage = Annotated[ClientUserMessage | ClientSystemMessage | ClientAssistantMessage, Field(discriminator="role")]
ClientItem = Annotated[
    ClientMessage | ClientFunctionCall | ClientFunctionCallOutput | ClientApprovalResponse,
    Field(discriminator="type"),
]


# --- What the conversation keeps --------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class InputText:
    """Text of a user or of the system."""

    text: str

    def to_wire(self) -> dict[str, Any]:
        """The content part on the wire."""
        return {"type": "input_text", "text": self.text}


@dataclass(slots=True, kw_only=True)
class InputAudio:
    """A turn that was spoken: its words once they are known, its length, and its audio while that is kept."""

    transcript: str | None = None
    is_certain: bool = True
    """Whether the words were heard well enough to act on."""
    duration_ms: int = 0
    audio: bytes = b""

    @property
    def kept_bytes(self) -> int:
        """Memory that its audio takes."""
        return len(self.audio)

    def forget(self) -> None:
        """Give that memory back."""
        self.audio = b""

    def to_wire(self) -> dict[str, Any]:
        """The content part on the wire."""
        return {"type": "input_audio", "transcript": self.transcript}


@dataclass(slots=True, kw_only=True)
class InputImage:
    """A picture."""

    image_url: str
    detail: str = "auto"

    @property
    def kept_bytes(self) -> int:
        """Memory that it takes."""
        return len(self.image_url)

    def forget(self) -> None:
        """Give that memory back."""
        self.image_url = self.image_url.partition(",")[0] + ","

    def to_wire(self) -> dict[str, Any]:
        """The content part on the wire."""
        return {"type": "input_image", "image_url": self.image_url, "detail": self.detail}


@dataclass(slots=True, kw_only=True)
class OutputText:
    """Text of the assistant."""

    text: str = ""

    def to_wire(self) -> dict[str, Any]:
        """The content part on the wire."""
        return {"type": "output_text", "text": self.text}


@dataclass(slots=True, kw_only=True)
class OutputAudio:
    """Speech of the assistant in the output format; `transcript` is None after a truncation."""

    bytes_per_ms: int
    transcript: str | None = ""
    size_bytes: int = 0
    audio: bytearray = field(default_factory=bytearray)

    @property
    def duration_ms(self) -> int:
        """Length of the audio that was made."""
        return self.size_bytes // self.bytes_per_ms

    @property
    def longest_ms(self) -> int:
        """The same with its last, broken millisecond, which a client may count as a whole one."""
        return -(-self.size_bytes // self.bytes_per_ms)

    @property
    def kept_bytes(self) -> int:
        """Memory that its audio takes."""
        return len(self.audio)

    def forget(self) -> None:
        """Give that memory back; its length stays known."""
        self.audio = bytearray()

    def append(self, audio: bytes) -> None:
        """Add audio that was sent to the client."""
        self.audio += audio
        self.size_bytes += len(audio)

    def truncate(self, end_ms: int) -> None:
        """Keep the first `end_ms`; the words are forgotten, as nobody knows which of them were heard."""
        self.size_bytes = min(self.size_bytes, end_ms * self.bytes_per_ms)
        del self.audio[self.size_bytes :]
        self.transcript = None

    def to_wire(self) -> dict[str, Any]:
        """The content part on the wire."""
        return {"type": "output_audio", "transcript": self.transcript}


Part = InputText | InputAudio | InputImage | OutputText | OutputAudio


@dataclass(slots=True, kw_only=True)
class Message:
    """Something said or written by `role`."""

    id: str
    role: Literal["user", "assistant", "system"]
    status: str = "completed"
    content: list[Part] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Its words, as far as they are known."""
        words = (part.text if isinstance(part, InputText | OutputText) else part.transcript for part in self._spoken())
        return " ".join(filter(None, words))

    @property
    def is_certain(self) -> bool:
        """Whether its words were written, or heard well enough to act on."""
        return all(part.is_certain for part in self.content if isinstance(part, InputAudio))

    def _spoken(self) -> Iterator[InputText | OutputText | InputAudio | OutputAudio]:
        return (part for part in self.content if not isinstance(part, InputImage))

    def to_wire(self) -> dict[str, Any]:
        """The item on the wire."""
        content = [part.to_wire() for part in self.content]
        head = {"id": self.id, "object": "realtime.item", "type": "message", "status": self.status}
        return head | {"role": self.role, "content": content}


@dataclass(slots=True, kw_only=True)
class FunctionCall:
    """A call of a tool."""

    id: str
    name: str
    call_id: str
    arguments: str = ""
    status: str = "completed"

    def to_wire(self) -> dict[str, Any]:
        """The item on the wire."""
        head = {"id": self.id, "object": "realtime.item", "type": "function_call", "status": self.status}
        return head | {"name": self.name, "call_id": self.call_id, "arguments": self.arguments}


@dataclass(slots=True, kw_only=True)
class FunctionCallOutput:
    """What a tool answered."""

    id: str
    call_id: str
    output: str
    status: str = "completed"

    def to_wire(self) -> dict[str, Any]:
        """The item on the wire."""
        head = {"id": self.id, "object": "realtime.item", "type": "function_call_output", "status": self.status}
        return head | {"call_id": self.call_id, "output": self.output}


Item = Message | FunctionCall | FunctionCallOutput


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of some items by modality."""

    text: int = 0
    audio: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.text + other.text, self.audio + other.audio)


def item_tokens(item: Item) -> Tokens:
    """What `item` costs as input of a response: 10 tokens a second of the caller, 20 of the assistant."""
    if isinstance(item, FunctionCall):
        return Tokens(text=text_tokens(item.name + item.arguments))
    if isinstance(item, FunctionCallOutput):
        return Tokens(text=text_tokens(item.output))
    total = Tokens()
    for part in item.content:
        if isinstance(part, InputAudio):
            total += Tokens(audio=-(-part.duration_ms // INPUT_AUDIO_MS_PER_TOKEN))
        elif isinstance(part, OutputAudio):
            audio = -(-part.duration_ms // OUTPUT_AUDIO_MS_PER_TOKEN)
            total += Tokens(text=text_tokens(part.transcript or ""), audio=audio)
        elif not isinstance(part, InputImage):
            total += Tokens(text=text_tokens(part.text))
    return total


class Ledger:
    """The items of the default conversation, in order."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        self._order: list[str] = []

    def __iter__(self) -> Iterator[Item]:
        return (self._items[item_id] for item_id in self._order)

    def __contains__(self, item_id: str) -> bool:
        return item_id in self._items

    def get(self, item_id: str) -> Item | None:
        """The item of this id."""
        return self._items.get(item_id)

    @property
    def last_id(self) -> str | None:
        """Id of the newest item."""
        return self._order[-1] if self._order else None

    def add(self, item: Item, *, previous_item_id: str | None = None) -> None:
        """Put `item` at the end, or after `previous_item_id`, which must be there, or first (``"root"``)."""
        if previous_item_id is None:
            place = len(self._order)
        elif previous_item_id == "root":
            place = 0
        else:
            place = self._order.index(previous_item_id) + 1
        self._items[item.id] = item
        self._order.insert(place, item.id)

    def previous_id(self, item_id: str) -> str | None:
        """Id of the item before this one; None for the first, and for one that was deleted meanwhile."""
        if item_id not in self._items:
            return None
        place = self._order.index(item_id)
        return self._order[place - 1] if place else None

    def remove(self, item_id: str) -> None:
        """Delete an item that is there."""
        del self._items[item_id]
        self._order.remove(item_id)
