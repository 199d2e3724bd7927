"""What a client may say: the eleven events of OpenAI Realtime GA, parsed strictly and refused in the protocol's words.

A refused event never ends the session. Each model here is the schema of its event; what pydantic finds wrong is turned
into the `error` event's code, parameter and message by `refusal`.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from gateway.embedded.items import ClientItem, ItemReference
from gateway.embedded.session import AudioFormatConfig, Prompt, Reasoning, ToolChoice, ToolConfig, VoiceConfig
from gateway.errors import GatewayError, shown

MAX_DEPTH = 64
"""Of what a client sends, for a tool's schema is shown in every `session.updated`."""


class RefusedEvent(GatewayError):
    """A client event that is not carried out; becomes one `error` event, and the session goes on."""

    def __init__(self, code: str, message: str, *, parameter: str | None = None, event_id: str | None = None) -> None:
        self.code = code
        self.message = message
        self.parameter = parameter
        self.event_id = event_id
        super().__init__(f"{code}: {message}")


class _Event(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    event_id: Annotated[str, Field(max_length=512)] | None = None


class SessionUpdate(_Event):
    """Changes the session; the object is merged and validated by `session.updated_session`."""

    type: Literal["session.update"]
    session: dict[str, Any]


class AudioAppend(_Event):
    """Audio in the session's input format, base64."""

    type: Literal["input_audio_buffer.append"]
    audio: str


class AudioCommit(_Event):
    """Makes the buffered audio a user item."""

    type: Literal["input_audio_buffer.commit"]


class AudioClear(_Event):
    """Throws the buffered audio away."""

    type: Literal["input_audio_buffer.clear"]


class OutputAudioClear(_Event):
    """Cuts the playout buffer, which only WebRTC and SIP connections have."""

    type: Literal["output_audio_buffer.clear"]


class ItemCreate(_Event):
    """Adds an item: text, a tool's output, or history."""

    type: Literal["conversation.item.create"]
    item: ClientItem
    previous_item_id: str | None = None


class ItemRetrieve(_Event):
    """Asks for an item with its audio."""

    type: Literal["conversation.item.retrieve"]
    item_id: str


class ItemTruncate(_Event):
    """Says how much of an assistant's audio was heard."""

    type: Literal["conversation.item.truncate"]
    item_id: str
    content_index: Annotated[int, Field(ge=0)]
    audio_end_ms: Annotated[int, Field(ge=0)]


class ItemDelete(_Event):
    """Removes an item."""

    type: Literal["conversation.item.delete"]
    item_id: str


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ResponseAudioOutput(_Part):
    """Output format and voice of one response."""

    format: AudioFormatConfig | None = None
    voice: VoiceConfig | None = None


class ResponseAudio(_Part):
    """Audio settings of one response."""

    output: ResponseAudioOutput | None = None


Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]


class ResponseParameters(_Part):
    """What one response does otherwise than the session says."""

    conversation: Literal["auto", "none"] = "auto"
    input: list[ClientItem | ItemReference] | None = None
    instructions: str | None = None
    output_modalities: list[Literal["audio", "text"]] | None = None
    audio: ResponseAudio | None = None
    tools: list[ToolConfig] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning: Reasoning | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=4096)] | Literal["inf"] | None = None
    metadata: Metadata | None = None
    prompt: Prompt | None = None


class ResponseCreate(_Event):
    """Asks for a response now."""

    type: Literal["response.create"]
    response: ResponseParameters | None = None


class ResponseCancel(_Event):
    """Stops a response that is running."""

    type: Literal["response.cancel"]
    response_id: str | None = None


ClientEvent = (
    SessionUpdate
    | AudioAppend
    | AudioCommit
    | AudioClear
    | OutputAudioClear
    | ItemCreate
    | ItemRetrieve
    | ItemTruncate
    | ItemDelete
    | ResponseCreate
    | ResponseCancel
)

EVENT_TYPES: tuple[str, ...] = tuple(
    model.model_fields["type"].annotation.__args__[0] for model in ClientEvent.__args__
)
_adapter: TypeAdapter[ClientEvent] = TypeAdapter(Annotated[ClientEvent, Field(discriminator="type")])


def parse_client_event(message: str | bytes) -> ClientEvent:
    """Read one WebSocket message.

    Raises:
        RefusedEvent: with the code the protocol has for it, and the client's event id where it could be read.
    """
    if isinstance(message, bytes):
        raise RefusedEvent("invalid_event", "Expected a text WebSocket message, but received a binary message.")
    data = parsed_json(message)
    if not isinstance(data, dict):
        raise RefusedEvent("invalid_event", "Expected a JSON object.")
    event_id = data.get("event_id") if isinstance(data.get("event_id"), str) else None
    if not is_shallow(data):
        message = f"Objects and lists may be nested {MAX_DEPTH} deep at most."
        raise RefusedEvent("invalid_value", message, event_id=event_id)
    if "type" not in data:
        raise RefusedEvent("invalid_event", "The 'type' field is missing.", event_id=event_id)
    if data["type"] not in EVENT_TYPES:
        values = ", ".join(f"'{name}'" for name in EVENT_TYPES)
        message = f"Invalid value: '{shown(data['type'])}'. Supported values are: {values}."
        raise RefusedEvent("invalid_value", message, parameter="type", event_id=event_id)
    try:
        return _adapter.validate_python(data)
    except ValidationError as error:
        raise refusal(error, data, event_id=event_id) from error


def parsed_json(text: str | bytes) -> Any:
    """What a client wrote, in which every number and every letter is one that can be sent back.

    Raises:
        RefusedEvent: it is no JSON.
    """
    try:
        value = json.loads(text, parse_constant=_no_number, parse_float=_finite)
        if "\\u" in text if isinstance(text, str) else b"\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise RefusedEvent("invalid_json", f"Could not parse the message as JSON: {shown(str(error))}") from error
    return value


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    """The number, which must be one that can be sent back.

    Raises:
        ValueError: it is too large.
    """
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:80]} is too large")
    return number


def is_shallow(value: object) -> bool:
    """Whether objects and lists are nested at most `MAX_DEPTH` deep: what is deeper cannot be shown again."""
    layer: list[object] = [value]
    for _ in range(MAX_DEPTH):
        containers = [element for element in layer if isinstance(element, dict | list)]
        if not containers:
            return True
        layer = [
            member for element in containers for member in (element.values() if isinstance(element, dict) else element)
        ]
    return not any(isinstance(element, dict | list) for element in layer)


def decode_audio(audio: str, parameter: str = "audio") -> bytes:
    """The bytes of a base64 member.

    Raises:
        RefusedEvent: it is not base64.
    """
    try:
        return base64.b64decode(audio, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RefusedEvent(
            "invalid_value", f"Invalid '{parameter}'. Expected base64-encoded audio bytes.", parameter=parameter
        ) from error


def refusal(
    error: ValidationError, data: Mapping[str, Any], *, prefix: str = "", event_id: str | None = None
) -> RefusedEvent:
    """What to tell the client about the first thing that is wrong with `data`."""
    problems = error.errors(include_url=False)
    named = [(_parameter(problem["loc"], data, problem["type"], prefix), problem) for problem in problems]
    # Where a word or an object would do and an object was given, what is wrong inside it says more.
    inside = (pair for pair in named if pair[0].startswith(f"{named[0][0]}."))
    parameter, problem = next(inside, named[0])
    kind = problem["type"]
    if kind == "extra_forbidden":
        code, message = "unknown_parameter", f"Unknown parameter: '{parameter}'."
    elif kind in ("missing", "union_tag_not_found"):
        if kind == "union_tag_not_found":
            parameter = f"{parameter}.{problem['ctx']['discriminator'].strip(chr(39))}"
        code, message = "missing_required_parameter", f"Missing required parameter: '{parameter}'."
    elif kind in ("literal_error", "union_tag_invalid"):
        if kind == "union_tag_invalid":
            parameter = f"{parameter}.{problem['ctx']['discriminator'].strip(chr(39))}"
        expected = problem["ctx"].get("expected") or problem["ctx"]["expected_tags"]
        given = problem["ctx"].get("tag", problem["input"])
        code, message = "invalid_value", f"Invalid value: '{shown(given)}'. Supported values are: {expected}."
    else:
        code, message = "invalid_value", f"Invalid value for '{parameter}': {problem['msg']}."
    return RefusedEvent(code, message, parameter=parameter, event_id=event_id)


def _parameter(location: tuple[int | str, ...], data: object, kind: str, prefix: str) -> str:
    """The dotted path of `location`, without the union tags that pydantic puts between the members."""
    path = prefix
    for index, part in enumerate(location):
        is_last = index == len(location) - 1
        if isinstance(data, dict) and (part in data or (is_last and kind == "missing")):
            path = f"{path}.{part}" if path else str(part)
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            path = f"{path}[{part}]"
            data = data[part]
    return path
