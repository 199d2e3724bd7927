"""The events of the OpenAI Live protocol (GPT-Live) as text: those we send. No state in here.

Source: the Live API's reference as the types of OpenAI's Python SDK state it (``openai.types.live``, 3.57). Unknown
members are refused there, so nothing is said that was not asked for.

The provider counts in tokens of its own. Nobody here has its tokenizer: `tokens` errs on the side of too many.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, TypeAlias

import pybase64

from gateway.media.codec import AudioFormat
from gateway.realtime.address import is_token, split_url, websocket_url
from gateway.realtime.session import HistoryItem, Message, Role, SessionChange, SessionOptions, Tool

JsonObject: TypeAlias = dict[str, object]
Channel: TypeAlias = Literal["instructions", "thinking", "commentary"]
"""How something is told in mid-conversation: as a rule, as knowledge, or to be said."""

FORMATS: Final[Mapping[AudioFormat, Mapping[str, object]]] = {
    # Other than in the Realtime API, G.711 has its rate beside it. One format for both directions.
    AudioFormat.PCM16_24K: {"type": "audio/pcm", "rate": 24000},
    AudioFormat.PCM16_16K: {"type": "audio/pcm", "rate": 16000},
    AudioFormat.PCMU: {"type": "audio/pcmu", "rate": 8000},
    AudioFormat.PCMA: {"type": "audio/pcma", "rate": 8000},
}

AUDIO_DELTA: Final = "session.output_audio.delta"
BACKEND_MODEL: Final = "gpt-5.6-luna"
"""Runs the tools where the options name no other."""

MAX_HISTORY_MESSAGES: Final = 128
MAX_HISTORY_TOKENS: Final = 8192
MAX_APPEND_TOKENS: Final = 500
MESSAGE_TOKENS: Final = 8
"""What a message of the history costs beside its text."""
MIN_OUTPUT_TOKENS: Final = 16

_PATH: Final = "/live/sessions"
_APPEND_HEAD: Final = b'{"type":"session.input_audio.append","audio":"'
_APPEND_TAIL: Final = b'"}'
_DELEGATING: Final = (
    "You cannot do the following things yourself. When one of them is needed, hand it on, and go on when you hear what "
    "came of it:"
)
_WORKING: Final = (
    "You work in the background of a telephone call for the assistant who talks to the caller. It hands on to you what "
    "needs a tool, and reads your answer to the caller: be brief. These are the assistant's own instructions:"
)


def live_url(options: SessionOptions) -> str:
    """The WebSocket URL of a session: ``{base}/live/sessions``. The model is no part of it.

    The base may be ws, wss, http or https, with or without ``/live/sessions`` at its end; without any path ``/v1`` is
    meant, at Azure ``/openai/v1``. A query is kept.

    Raises:
        ProviderRefused: not such a URL. The URL itself is not shown, its query may hold a key.
    """
    parts = split_url(options.url)
    path = parts.path.rstrip("/") or ("/openai/v1" if _is_azure(parts.hostname) else "/v1")
    path = path if path.endswith(_PATH) else path + _PATH
    return websocket_url(parts, path=path, query=parts.query)


def credentials(options: SessionOptions) -> list[tuple[str, str]]:
    """The header that opens the session: Azure takes keys in one of its own, and tokens (JWT) as everybody does."""
    if not options.api_key:
        return []
    key = options.api_key.reveal().strip()
    if _is_azure(split_url(options.url).hostname) and not is_token(key):
        return [("api-key", key)]
    return [("Authorization", f"Bearer {key}")]


def _is_azure(host: str | None) -> bool:
    return host is not None and host.endswith(".azure.com")


def append(audio: bytes) -> bytes:
    """``session.input_audio.append``."""
    return b"".join((_APPEND_HEAD, pybase64.b64encode(audio), _APPEND_TAIL))


def append_size(audio_bytes: int) -> int:
    """Bytes of the `append` of `audio_bytes` bytes of audio."""
    return len(_APPEND_HEAD) + (audio_bytes + 2) // 3 * 4 + len(_APPEND_TAIL)


# --- the session ------------------------------------------------------------------------------------------------------


def session_start(options: SessionOptions) -> JsonObject:
    """``session.start``: all but the backend's part of it is fixed from then on."""
    audio: JsonObject = {"format": FORMATS[options.output_format]}
    if options.voice:
        audio["output"] = {"voice": {"id": options.voice} if options.voice.startswith("voice_") else options.voice}
    session: JsonObject = {"model": options.model, "audio": audio, "delegation": _delegation(options)}
    instructions = _instructions(options)
    if instructions:
        session["instructions"] = instructions
    history = _history(options.history)
    if history:
        session["input"] = history
    return {"type": "session.start", "session": session}


def _instructions(options: SessionOptions) -> str:
    """The voice's own, and what it may hand on."""
    return "\n\n".join(text for text in (options.instructions, handed_on(options.tools)) if text)


def handed_on(tools: Sequence[Tool]) -> str:
    """What the voice is told of the backend's tools: it knows nothing of them otherwise. Empty without tools."""
    lines = [f"- {tool.name}: {tool.description}" if tool.description else f"- {tool.name}" for tool in tools]
    return "\n".join([_DELEGATING, *lines]) if lines else ""


def _delegation(options: SessionOptions) -> JsonObject:
    """Who does what the voice hands on: without tools we do, with them a model of the provider's."""
    if not options.tools:
        return {"type": "client"}
    backend: JsonObject = {
        "model": options.backend_model or BACKEND_MODEL,
        "instructions": "\n\n".join(text for text in (_WORKING, options.instructions) if text),
        "tools": [_tool(tool) for tool in options.tools],
        "tool_choice": _tool_choice(options.tool_choice),
    }
    if options.max_output_tokens is not None:
        backend["max_output_tokens"] = max(options.max_output_tokens, MIN_OUTPUT_TOKENS)
    if options.reasoning_effort is not None:
        backend["reasoning"] = {"effort": options.reasoning_effort}
    return {"type": "responses", "responses": backend}


def session_update(change: SessionChange) -> JsonObject | None:
    """``session.update`` of what changes at the backend; None where nothing does."""
    backend: JsonObject = {}
    if change.tools is not None:
        backend["tools"] = [_tool(tool) for tool in change.tools]
    if change.max_output_tokens is not None:
        backend["max_output_tokens"] = max(change.max_output_tokens, MIN_OUTPUT_TOKENS)
    if not backend:
        return None
    return {"type": "session.update", "session": {"delegation": {"type": "responses", "responses": backend}}}


def _tool(tool: Tool) -> JsonObject:
    return {"type": "function", "name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}


def _tool_choice(choice: str) -> object:
    return choice if choice in ("auto", "none", "required") else {"type": "function", "name": choice}


# --- the conversation -------------------------------------------------------------------------------------------------


def _history(items: Sequence[HistoryItem]) -> list[JsonObject]:
    """The newest of what was before, as many messages as the provider takes."""
    newest: list[JsonObject] = []
    left = MAX_HISTORY_TOKENS
    for item in reversed(items):
        role, text = _as_message(item)
        left -= tokens(text) + MESSAGE_TOKENS
        if left < 0 or len(newest) == MAX_HISTORY_MESSAGES:
            break
        part = {"type": "output_text" if role == "assistant" else "input_text", "text": text}
        newest.append({"type": "message", "role": role, "content": [part]})
    return newest[::-1]


def _as_message(item: HistoryItem) -> tuple[str, str]:
    if isinstance(item, Message):
        return "developer" if item.role == "system" else item.role, item.text
    return "developer", f"The tool {item.name} was called with {item.arguments} and returned {item.output}"


_TOLD_AS: Final[Mapping[Role, str]] = {
    "system": "{}",
    "user": "The caller has written: {}",
    "assistant": "You have said to the caller: {}",
}


def told(role: Role, text: str) -> str:
    """A message as something to know: after the start there are no other messages."""
    return _TOLD_AS[role].format(text)


def appends(channel: Channel, text: str, delegation_id: str | None = None) -> Iterator[JsonObject]:
    """``session.*.append``, as many as `text` needs; the id of a delegation where it answers one that is ours."""
    for piece in pieces(text, MAX_APPEND_TOKENS):
        yield {"type": f"session.{channel}.append", "content": piece, "delegation_id": delegation_id}


def tool_result(call_id: str, output: str) -> JsonObject:
    """``response.item.create`` of a function's output."""
    item = {"type": "function_call_output", "call_id": call_id, "output": output}
    return {"type": "response.item.create", "item": item}


# --- tokens -----------------------------------------------------------------------------------------------------------


def tokens(text: str) -> int:
    """About how many tokens `text` has, rather too many: three common characters make one, any other is one."""
    common = sum(character.isascii() and (character.isalnum() or character == " ") for character in text)
    return len(text) - common + -(-common // 3)


def pieces(text: str, limit: int) -> list[str]:
    """`text` in pieces of at most `limit` tokens, between words where that is possible."""
    found: list[str] = []
    rest = text.strip()
    while tokens(rest) > limit:
        size = _fitting(rest, limit)
        space = max(rest.rfind(" ", 0, size + 1), rest.rfind("\n", 0, size + 1))
        cut = space if space > 0 else size
        found.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip()
    return [piece for piece in (*found, rest) if piece]


def _fitting(text: str, limit: int) -> int:
    """The length of the longest beginning of `text` that has at most `limit` tokens, at least 1."""
    fits, fails = 1, min(len(text), 3 * limit + 1)
    while fails - fits > 1:
        middle = (fits + fails) // 2
        if tokens(text[:middle]) <= limit:
            fits = middle
        else:
            fails = middle
    return fits
