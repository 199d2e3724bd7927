"""The events of the OpenAI Realtime protocol (GA) as text: those we send, and the audio in those we receive.

Source: the Realtime API reference and the event schemas of the OpenAI OpenAPI description. No state in here.

Audio dominates. An append is a constant prefix, base64 and a constant suffix, nothing is quoted or dumped. A received
delta as the hosted provider writes it is read by one regular expression up to its base64, which ends the document; JSON
parsed it is whenever anything about it is not as expected.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeAlias
from urllib.parse import parse_qsl, urlencode

import pybase64

from gateway.errors import shown
from gateway.media.codec import AudioFormat
from gateway.realtime.address import split_url, websocket_url
from gateway.realtime.fields import Fields, MalformedEventError, parse
from gateway.realtime.openai import session_object
from gateway.realtime.questions import QUESTION
from gateway.realtime.session import (
    HistoryItem,
    HostedServer,
    ItemKind,
    Message,
    ResponseStatus,
    Role,
    SessionChange,
    SessionOptions,
    Tool,
    TurnDetection,
    Usage,
)

JsonObject: TypeAlias = dict[str, object]

FORMATS: Mapping[AudioFormat, Mapping[str, object]] = {
    # G.711 implies 8000 Hz; a rate beside it is refused.
    AudioFormat.PCM16_24K: {"type": "audio/pcm", "rate": 24000},
    AudioFormat.PCM16_16K: {"type": "audio/pcm", "rate": 16000},
    AudioFormat.PCM16_8K: {"type": "audio/pcm", "rate": 8000},
    AudioFormat.PCMU: {"type": "audio/pcmu"},
    AudioFormat.PCMA: {"type": "audio/pcma"},
}
"""How formats are written; which of them a provider has, its dialect says."""

AUDIO_DELTA = "response.output_audio.delta"
MAX_ANSWER_TOKENS: Final = 4096
"""Of a question's answer, thoughts included, however short the session's replies must be."""

_APPEND_HEAD = b'{"type":"input_audio_buffer.append","audio":"'
_APPEND_TAIL = b'"}'
_ID: Final = r"[\w.:-]{0,128}"
_COUNT: Final = r"(?:0|[1-9][0-9]{0,8})"
_DELTA_HEAD: Final = re.compile(
    rf'''
    \{{ (?: "type":[ ]?"{re.escape(AUDIO_DELTA)}",[ ]?"event_id":[ ]?"{_ID}"
        | "event_id":[ ]?"{_ID}",[ ]?"type":[ ]?"{re.escape(AUDIO_DELTA)}" )
    ,[ ]?"response_id":[ ]?"({_ID})"
    ,[ ]?"item_id":[ ]?"({_ID})"
    ,[ ]?"output_index":[ ]?{_COUNT}
    ,[ ]?"content_index":[ ]?({_COUNT})
    ,[ ]?"delta":[ ]?"''',
    re.ASCII | re.VERBOSE,
)
"""The order of members on the wire and in the reference, with or without spaces, and nothing that would be escaped."""
_DELTA_TAIL: Final = '"}'


def realtime_url(
    options: SessionOptions,
    *,
    path: str = "/v1/realtime",
    query: Sequence[tuple[str, str]] = (),
    has_model: bool = True,
) -> str:
    """The WebSocket URL of a session: ``{base}/realtime?model=``.

    The base may be ws, wss, http or https, with or without ``/realtime`` (what `path` has from there on) at its end;
    without any path `path` is meant. A query is kept, and has `query` put before it where it says nothing about the
    same; a model named in the options takes the place of one in it, or stays out with `has_model` false.

    Raises:
        ProviderRefused: not such a URL. The URL itself is not shown, its query may hold a key.
    """
    parts = split_url(options.url)
    ending = path[path.index("/realtime") :]
    named = parts.path.rstrip("/") or path
    asked = parse_qsl(parts.query, keep_blank_values=True)
    members = [member for member in query if member[0] not in dict(asked)] + asked
    if options.model and has_model:
        members = [(name, value) for name, value in members if name != "model"] + [("model", options.model)]
    path = named if named.endswith(ending) else named + ending
    return websocket_url(parts, path=path, query=urlencode(members))


def format_problem(options: SessionOptions, audio: Fields) -> str:
    """What the provider made of the formats; one it does not name it took. Noise would be heard otherwise."""
    for direction, asked in (("input", options.input_format), ("output", options.output_format)):
        taken = audio.fields(direction).fields("format")
        wanted = FORMATS[asked]
        if taken and any(name in taken and taken.members[name] != value for name, value in wanted.items()):
            return f"the provider does not take {wanted['type']} as {direction}: it answered {shown(taken.members)}"
    return ""


def encode(event: Mapping[str, object]) -> str:
    """One client event as text; everything beyond ASCII escaped, so that any string can be sent."""
    return json.dumps(event, separators=(",", ":"))


def append(audio: bytes) -> bytes:
    """``input_audio_buffer.append``."""
    return b"".join((_APPEND_HEAD, pybase64.b64encode(audio), _APPEND_TAIL))


def append_size(audio_bytes: int) -> int:
    """Bytes of the `append` of `audio_bytes` bytes of audio."""
    return len(_APPEND_HEAD) + (audio_bytes + 2) // 3 * 4 + len(_APPEND_TAIL)


def session_update(options: SessionOptions) -> JsonObject:
    """``session.update`` for all that the options ask; what they leave open is left to the provider.

    The same options give the same octets, instructions and tools before all else, the tools in the order in which they
    are given: what a conversation begins with is what the provider finds in its cache.
    """
    session: JsonObject = {"type": "realtime"}
    if options.instructions:
        session["instructions"] = options.instructions
    session["tools"] = _tools(options.tools, options.hosted_servers)
    if options.tools or options.hosted_servers:
        session["tool_choice"] = _tool_choice(options.tool_choice)
    if options.parallel_tool_calls is not None:
        session["parallel_tool_calls"] = options.parallel_tool_calls
    if options.max_output_tokens is not None:
        session["max_output_tokens"] = options.max_output_tokens
    if options.reasoning_effort is not None:
        session["reasoning"] = {"effort": options.reasoning_effort}
    if options.truncation is not None:
        session["truncation"] = session_object.truncation(options.truncation)
    if options.has_confidence and options.transcription_model is not None:
        session["include"] = [session_object.LOGPROBS]
    session["output_modalities"] = [options.output_modality]
    session["audio"] = {"input": _input(options), "output": _output(options)}
    return {"type": "session.update", "session": session}


def _output(options: SessionOptions) -> JsonObject:
    """``session.audio.output``."""
    result: JsonObject = {"format": FORMATS[options.output_format]}
    if options.voice:
        result["voice"] = options.voice
    if options.output_speed is not None:
        result["speed"] = options.output_speed
    return result


def _input(options: SessionOptions) -> JsonObject:
    """``session.audio.input``."""
    result: JsonObject = {
        "format": FORMATS[options.input_format],
        "turn_detection": _turn_detection(options.turn_detection),
    }
    transcription, noise_reduction = session_object.transcription(options), session_object.noise_reduction(options)
    if transcription is not None:
        result["transcription"] = transcription
    if noise_reduction is not None:
        result["noise_reduction"] = noise_reduction
    return result


def _turn_detection(turns: TurnDetection) -> JsonObject | None:
    """``turn_detection``; null leaves the turns to us."""
    if turns.kind == "none":
        return None
    automatic: JsonObject = {
        "create_response": turns.creates_response,
        "interrupt_response": turns.interrupts_response,
    }
    if turns.kind == "semantic_vad":
        return {"type": "semantic_vad", "eagerness": turns.eagerness} | automatic
    # The silence is always said: the reference gives 500 ms as its default, the wire has 200.
    result: JsonObject = {
        "type": "server_vad",
        "threshold": turns.threshold,
        "prefix_padding_ms": turns.prefix_padding_ms,
        "silence_duration_ms": turns.silence_duration_ms,
    }
    if turns.idle_timeout_ms is not None:
        result["idle_timeout_ms"] = turns.idle_timeout_ms
    return result | automatic


def _tools(tools: Sequence[Tool], servers: Sequence[HostedServer]) -> list[JsonObject]:
    """``tools``: what we carry out, and after it what the provider calls itself."""
    return [_tool(tool) for tool in tools] + [session_object.hosted_tool(server) for server in servers]


def _tool(tool: Tool) -> JsonObject:
    return {"type": "function", "name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}


def _tool_choice(choice: str) -> object:
    return choice if choice in ("auto", "none", "required") else {"type": "function", "name": choice}


def message(role: Role, text: str, *, item_id: str = "", is_first: bool = False) -> JsonObject:
    """``conversation.item.create`` of a text message, at the end of the conversation or at its beginning."""
    part = {"type": "output_text" if role == "assistant" else "input_text", "text": text}
    item: JsonObject = {"type": "message", "role": role, "content": [part]}
    if item_id:
        item["id"] = item_id
    event: JsonObject = {"type": "conversation.item.create", "item": item}
    return event | {"previous_item_id": "root"} if is_first else event


def tool_result(call_id: str, output: str) -> JsonObject:
    """``conversation.item.create`` of a function's output."""
    item = {"type": "function_call_output", "call_id": call_id, "output": output}
    return {"type": "conversation.item.create", "item": item}


def response_create(instructions: str | None) -> JsonObject:
    """``response.create``, with instructions for this one reply."""
    if instructions is None:
        return {"type": "response.create"}
    return {"type": "response.create", "response": {"instructions": instructions}}


def say_instructions(text: str) -> str:
    """What a model is asked so that it says exactly these words."""
    return f'Say exactly this, word for word, and nothing else: "{text}"'


def question(key: str, instructions: str) -> JsonObject:
    """``response.create`` beside the conversation, answered in writing; told apart by its metadata."""
    response = {
        "conversation": "none",
        "output_modalities": ["text"],
        "instructions": instructions,
        "max_output_tokens": MAX_ANSWER_TOKENS,
        "metadata": {QUESTION: key},
        "tools": [],
        "tool_choice": "none",
    }
    return {"type": "response.create", "response": response}


def change(change: SessionChange, options: SessionOptions) -> JsonObject:
    """``session.update`` of what changes in a session of `options`.

    What is replaced is told as a whole: tools with those of the hosted servers, the language with all of transcription.
    """
    session: JsonObject = {"type": "realtime"}
    if change.instructions is not None:
        session["instructions"] = change.instructions
    if change.tools is not None:
        session["tools"] = _tools(change.tools, options.hosted_servers)
    if change.max_output_tokens is not None:
        session["max_output_tokens"] = change.max_output_tokens
    if change.transcription_language is not None:
        language = replace(options, transcription_language=change.transcription_language, transcription_languages=())
        transcription = session_object.transcription(language)
        if transcription is not None:
            session["audio"] = {"input": {"transcription": transcription}}
    return {"type": "session.update", "session": session}


def approval(item_id: str, request_id: str, *, approves: bool) -> JsonObject:
    """``conversation.item.create`` of the answer to a request of a hosted tool."""
    item = {"id": item_id, "type": "mcp_approval_response", "approval_request_id": request_id, "approve": approves}
    return {"type": "conversation.item.create", "item": item}


def retrieve_item(item_id: str) -> JsonObject:
    """``conversation.item.retrieve``."""
    return {"type": "conversation.item.retrieve", "item_id": item_id}


def delete_item(item_id: str) -> JsonObject:
    """``conversation.item.delete``."""
    return {"type": "conversation.item.delete", "item_id": item_id}


def history_item(item: HistoryItem) -> list[JsonObject]:
    """``conversation.item.create`` for something that was in the conversation before this session."""
    if isinstance(item, Message):
        return [message(item.role, item.text)]
    call = {"type": "function_call", "call_id": item.call_id, "name": item.name, "arguments": item.arguments}
    return [{"type": "conversation.item.create", "item": call}, tool_result(item.call_id, item.output)]


def response_cancel(response_id: str | None) -> JsonObject:
    """``response.cancel`` of one reply, or of the one that is under way when it arrives."""
    if response_id is None:
        return {"type": "response.cancel"}
    return {"type": "response.cancel", "response_id": response_id}


def truncate(item_id: str, content_index: int, audio_end_ms: int) -> JsonObject:
    """``conversation.item.truncate``."""
    return {
        "type": "conversation.item.truncate",
        "item_id": item_id,
        "content_index": content_index,
        "audio_end_ms": audio_end_ms,
    }


def read_audio_delta(document: str, bytes_per_sample: int) -> tuple[str, str, int, bytes] | None:
    """Response, item, content index and audio of a delta in the usual layout; None leaves it to JSON.

    Whatever stands where the base64 should and is not, an escape or a further member, makes it another layout.
    """
    head = _DELTA_HEAD.match(document)
    if head is None or not document.endswith(_DELTA_TAIL):
        return None
    try:
        audio = decode_audio(document[head.end() : -len(_DELTA_TAIL)], bytes_per_sample)
    except ValueError:
        return None
    response_id, item_id, content_index = head.groups()
    return response_id, item_id, int(content_index), audio


def decode_audio(text: str, bytes_per_sample: int) -> bytes:
    """The audio of a delta.

    Raises:
        ValueError: not base64, or half a sample.
    """
    audio = pybase64.b64decode(text, validate=True)
    if not audio or len(audio) % bytes_per_sample:
        raise ValueError("not whole samples")
    return audio


def tool_arguments(text: str) -> Mapping[str, object] | None:
    """What the model wrote as arguments, None when that is no JSON object fit to be passed on; nothing means none."""
    if not text.strip():
        return {}
    try:
        arguments = parse(text).members
        json.dumps(arguments, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        return None
    return arguments


def response_status(response: Fields) -> ResponseStatus:
    """How a reply ended; a word this version does not know counts as not completed."""
    try:
        return ResponseStatus(response.text("status", "completed"))
    except ValueError:
        return ResponseStatus.INCOMPLETE


_KINDS: Mapping[str, ItemKind] = {"function_call": "tool_call", "function_call_output": "tool_result"}


def item_kind(item: Fields) -> ItemKind | None:
    """What an item of the conversation is; None for one that this version does not know."""
    kind, role = item.text("type", ""), item.text("role", "")
    if kind == "message":
        return role if role in ("user", "system", "assistant") else None  # type: ignore[return-value]
    return _KINDS.get(kind)


def item_text(item: Fields) -> str:
    """The words of an item: written, said or, where it was transcribed, heard. An image has none."""
    return "".join(part.text("text", "") or part.text("transcript", "") for part in item.each("content"))


def written_text(response: Fields) -> str:
    """All that a reply has written."""
    return "".join(item_text(item) for item in response.each("output"))


def confidence(event: Fields) -> float | None:
    """How sure a transcription is, 0 to 1: the geometric mean of its tokens' probabilities; None where not told."""
    tokens = event.members.get("logprobs")
    if not isinstance(tokens, list):
        return None
    logprobs = [token.get("logprob") for token in tokens if isinstance(token, dict)]
    told = [value for value in logprobs if isinstance(value, int | float) and -1000 <= value <= 0]
    return math.exp(sum(told) / len(told)) if told else None


def usage(fields: Fields) -> Usage | None:
    """Tokens or seconds billed; None when not told, or told in a way that cannot be read."""
    if not fields:
        return None
    try:
        return _usage(fields)
    except MalformedEventError:
        return None


def _usage(fields: Fields) -> Usage:
    given, made = fields.fields("input_token_details"), fields.fields("output_token_details")
    cached = given.fields("cached_tokens_details")
    return Usage(
        input_tokens=fields.integer("input_tokens", 0),
        output_tokens=fields.integer("output_tokens", 0),
        input_text_tokens=given.integer("text_tokens", 0),
        input_audio_tokens=given.integer("audio_tokens", 0),
        input_image_tokens=given.integer("image_tokens", 0),
        cached_tokens=given.integer("cached_tokens", 0),
        cached_text_tokens=cached.integer("text_tokens", 0),
        cached_audio_tokens=cached.integer("audio_tokens", 0),
        cached_image_tokens=cached.integer("image_tokens", 0),
        output_text_tokens=made.integer("text_tokens", 0),
        output_audio_tokens=made.integer("audio_tokens", 0),
        reasoning_tokens=made.integer("reasoning_tokens", 0),
        seconds=fields.number("seconds", 0.0),
    )
