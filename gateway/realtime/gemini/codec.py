"""The messages of Gemini Live as JSON text: those we send, and what is read out of those we receive.

Source: ``BidiGenerateContent`` of the Gemini API (v1beta) and of Vertex AI (v1): one object a message, in ProtoJSON, so
that names are in camel case and a duration is text as ``12.5s``. No state in here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias
from urllib.parse import parse_qsl, urlencode

import pybase64

from gateway.media.codec import AudioFormat
from gateway.realtime.address import split_url, websocket_url
from gateway.realtime.fields import Fields, MalformedEventError
from gateway.realtime.gemini.schema import parameters_of
from gateway.realtime.session import HistoryItem, Message, ReasoningEffort, Role, SessionOptions, Tool, Usage

JsonObject: TypeAlias = dict[str, object]

INPUT_FORMATS = (AudioFormat.PCM16_16K, AudioFormat.PCM16_24K, AudioFormat.PCM16_8K)
"""It brings every rate to 16 kHz: more is only sent in vain."""
OUTPUT_FORMAT = AudioFormat.PCM16_24K

_PATH = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
_VERTEX_SERVICE = "google.cloud.aiplatform."
_TOKEN_METHOD = "BidiGenerateContentConstrained"  # noqa: S105 - the name of a method
_AUDIO_TAIL = b'"}}}'
_RATE = re.compile(r"rate=([0-9]{1,6})", re.ASCII)
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)s", re.ASCII)

SILENT_THRESHOLD = 0.4
"""Below it the caller is taken to speak sooner, and to have ended later."""
LOUD_THRESHOLD = 0.6
"""Above it the other way round."""

_THINKING: Mapping[ReasoningEffort, str] = {
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "HIGH",
}

GO_ON: Final = "(The caller is on the line and has said nothing yet. It is your turn to speak.)"
"""What a model is told that is to speak of itself: it answers text or audio, and nothing else."""


# --- where to ---------------------------------------------------------------------------------------------------------


def live_url(options: SessionOptions) -> str:
    """The WebSocket URL of a session, with the key in its query, where Google's own clients put it.

    The base may be ws, wss, http or https; without a path the Gemini API (v1beta) is meant. A query is kept. A URL of
    Vertex AI gets no key: it takes a header (`authorization`).

    Raises:
        ProviderRefused: not such a URL. The URL itself is not shown, its query may hold a key.
    """
    parts = split_url(options.url)
    path = parts.path.rstrip("/") or _PATH
    query = parse_qsl(parts.query, keep_blank_values=True)
    names = {name for name, _ in query}
    if options.api_key and not is_vertex(options.url) and not names & {"key", "access_token"}:
        name = "access_token" if path.endswith(_TOKEN_METHOD) else "key"
        query.append((name, options.api_key.reveal().strip()))
    return websocket_url(parts, path=path, query=urlencode(query))


def is_vertex(url: str) -> bool:
    """Whether `url` is of Vertex AI, whose sessions are opened with an OAuth token."""
    return _VERTEX_SERVICE in url


def authorization(options: SessionOptions) -> list[tuple[str, str]]:
    """The header by which Vertex AI knows us: `api_key` is an OAuth access token there, an hour old at most."""
    if not options.api_key or not is_vertex(options.url):
        return []
    return [("Authorization", f"Bearer {options.api_key.reveal().strip()}")]


# --- what we send -----------------------------------------------------------------------------------------------------


def encode(message: Mapping[str, object]) -> str:
    """One client message as text; everything beyond ASCII escaped, so that any string can be sent."""
    return json.dumps(message, separators=(",", ":"))


def audio_head(audio_format: AudioFormat) -> bytes:
    """What stands before the base64 of a ``realtimeInput.audio``; `audio` puts the rest behind it."""
    kind = f"audio/pcm;rate={audio_format.sample_rate_hz}"
    return f'{{"realtimeInput":{{"audio":{{"mimeType":"{kind}","data":"'.encode()


def audio(head: bytes, samples: bytes) -> bytes:
    """``realtimeInput.audio``."""
    return b"".join((head, pybase64.b64encode(samples), _AUDIO_TAIL))


def audio_size(head: bytes, audio_bytes: int) -> int:
    """Bytes of the `audio` of `audio_bytes` bytes."""
    return len(head) + (audio_bytes + 2) // 3 * 4 + len(_AUDIO_TAIL)


def setup(options: SessionOptions) -> JsonObject:
    """``setup`` for all that the options ask; what they leave open is left to the provider."""
    model = options.model if "/" in options.model else f"models/{options.model}"
    result: JsonObject = {
        "model": model,
        "generationConfig": _generation(options),
        "realtimeInputConfig": _realtime_input(options),
        "outputAudioTranscription": {},
        # Without a sliding window audio ends a session after 15 minutes.
        "contextWindowCompression": {"slidingWindow": {}},
        # Only asked for are handles told. No member may be null: some models refuse it.
        "sessionResumption": {"handle": options.resume_handle} if options.resume_handle else {},
    }
    if options.instructions:
        result["systemInstruction"] = {"parts": [{"text": options.instructions}]}
    if options.transcription_model is not None:
        result["inputAudioTranscription"] = {}
    if options.tools and options.tool_choice != "none":
        result["tools"] = [{"functionDeclarations": [_declaration(tool) for tool in options.tools]}]
    return {"setup": result}


def _generation(options: SessionOptions) -> JsonObject:
    """``generationConfig``."""
    result: JsonObject = {"responseModalities": ["AUDIO"]}
    if options.voice:
        result["speechConfig"] = {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": options.voice}}}
    if options.max_output_tokens is not None:
        result["maxOutputTokens"] = options.max_output_tokens
    if options.reasoning_effort is not None:
        result["thinkingConfig"] = {"thinkingLevel": _THINKING[options.reasoning_effort]}
    return result


def _realtime_input(options: SessionOptions) -> JsonObject:
    """``realtimeInputConfig``. Gemini knows two sensitivities of each kind, and its own choice."""
    turns = options.turn_detection
    if turns.kind == "none":
        return {"automaticActivityDetection": {"disabled": True}}
    detection: JsonObject = {
        "prefixPaddingMs": turns.prefix_padding_ms,
        "silenceDurationMs": turns.silence_duration_ms,
    }
    if turns.threshold < SILENT_THRESHOLD:
        detection["startOfSpeechSensitivity"] = "START_SENSITIVITY_HIGH"
        detection["endOfSpeechSensitivity"] = "END_SENSITIVITY_LOW"
    elif turns.threshold > LOUD_THRESHOLD:
        detection["startOfSpeechSensitivity"] = "START_SENSITIVITY_LOW"
        detection["endOfSpeechSensitivity"] = "END_SENSITIVITY_HIGH"
    handling = "START_OF_ACTIVITY_INTERRUPTS" if turns.interrupts_response else "NO_INTERRUPTION"
    return {"automaticActivityDetection": detection, "activityHandling": handling}


def _declaration(tool: Tool) -> JsonObject:
    """``FunctionDeclaration``. Whether the model talks on while a tool runs (``behavior``) is left to the model."""
    result: JsonObject = {"name": tool.name, "description": tool.description}
    parameters = parameters_of(tool.parameters)
    if parameters is not None:
        result["parameters"] = parameters
    return result


def activity(*, is_start: bool) -> JsonObject:
    """``activityStart`` and ``activityEnd``, where turns are ours to find."""
    return {"realtimeInput": {"activityStart" if is_start else "activityEnd": {}}}


def client_content(turns: Sequence[JsonObject], *, is_complete: bool) -> JsonObject:
    """``clientContent``; complete, the model answers it, and breaks off what it is saying."""
    content: JsonObject = {"turnComplete": is_complete}
    if turns:
        content["turns"] = list(turns)
    return {"clientContent": content}


def turn(role: Role, text: str) -> JsonObject:
    """One turn of text. Gemini has no system turns: the user's role carries them, and says so."""
    if role == "system":
        text = f"(Told by the telephone system, not by the caller: {text})"
    return {"role": "model" if role == "assistant" else "user", "parts": [{"text": text}]}


def history_turn(item: HistoryItem) -> JsonObject:
    """A turn of the conversation before this session. Several models refuse calls and results there: they are told."""
    if isinstance(item, Message):
        return turn(item.role, item.text)
    return turn("system", f"the tool {item.name} was called with {item.arguments} and answered {item.output}")


def say_instructions(text: str) -> str:
    """What a model is asked so that it says exactly these words."""
    return f'Say exactly this, word for word, and nothing else: "{text}"'


def tool_response(call_id: str | None, name: str, output: str, scheduling: str | None) -> JsonObject:
    """``toolResponse`` of one call. An output that is a JSON object goes as it is, other text as its ``output``."""
    response: JsonObject = {"name": name, "response": _object_of(output)}
    if call_id is not None:
        response["id"] = call_id
    if scheduling is not None:
        response["scheduling"] = scheduling
    return {"toolResponse": {"functionResponses": [response]}}


def _object_of(output: str) -> object:
    try:
        value: object = json.loads(output)
    except (ValueError, RecursionError):
        value = output
    return value if isinstance(value, dict) and is_sendable(value) else {"output": output}


# --- what we receive --------------------------------------------------------------------------------------------------


def read_audio(blob: Fields) -> bytes:
    """The audio of an ``inlineData``.

    Raises:
        ValueError: not audio of the format that Gemini speaks, not base64, or half a sample.
    """
    kind = blob.text("mimeType", "")
    if not kind.startswith("audio/pcm"):
        raise ValueError("not audio")
    rate = _RATE.search(kind)
    if rate is not None and int(rate[1]) != OUTPUT_FORMAT.sample_rate_hz:
        raise ValueError("audio of another rate")
    samples = pybase64.b64decode(blob.text("data", ""), validate=True)
    if not samples or len(samples) % OUTPUT_FORMAT.bytes_per_sample:
        raise ValueError("not whole samples")
    return samples


def duration_s(fields: Fields, name: str, default: float) -> float:
    """A duration of ProtoJSON, in seconds; `default` where there is none that can be read."""
    value = fields.members.get(name)
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    return float(match[1]) if match else default


def is_sendable(value: object) -> bool:
    """Whether `value` can be JSON again, as UTF-8: no NaN, no half of a surrogate pair."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return False
    return True


def usage(metadata: Fields) -> Usage | None:
    """``usageMetadata``; None when told in a way that cannot be read. Thoughts are output, results of tools input."""
    try:
        return _usage(metadata)
    except MalformedEventError:
        return None


def _usage(metadata: Fields) -> Usage:
    given, made = _by_modality(metadata, "promptTokensDetails"), _by_modality(metadata, "responseTokensDetails")
    cached, tools = _by_modality(metadata, "cacheTokensDetails"), _by_modality(metadata, "toolUsePromptTokensDetails")
    thoughts = metadata.integer("thoughtsTokenCount", 0)
    tool_tokens = metadata.integer("toolUsePromptTokenCount", 0)
    return Usage(
        input_tokens=metadata.integer("promptTokenCount", 0) + tool_tokens,
        output_tokens=metadata.integer("responseTokenCount", 0) + thoughts,
        input_text_tokens=given.get("TEXT", 0) + tools.get("TEXT", 0),
        input_audio_tokens=given.get("AUDIO", 0) + tools.get("AUDIO", 0),
        input_image_tokens=given.get("IMAGE", 0) + tools.get("IMAGE", 0),
        cached_tokens=metadata.integer("cachedContentTokenCount", 0),
        cached_text_tokens=cached.get("TEXT", 0),
        cached_audio_tokens=cached.get("AUDIO", 0),
        cached_image_tokens=cached.get("IMAGE", 0),
        output_text_tokens=made.get("TEXT", 0) + thoughts,
        output_audio_tokens=made.get("AUDIO", 0),
        reasoning_tokens=thoughts,
    )


def _by_modality(metadata: Fields, name: str) -> dict[str, int]:
    """``ModalityTokenCount`` summed; what names no modality is text."""
    counts: dict[str, int] = {}
    for entry in metadata.each(name):
        modality = entry.text("modality", "TEXT")
        counts[modality] = counts.get(modality, 0) + entry.integer("tokenCount", 0)
    return counts


def total(first: Usage | None, second: Usage) -> Usage:
    """Both together: one reply is made of several generations where tools are called."""
    if first is None:
        return second
    return Usage(**{name: getattr(first, name) + getattr(second, name) for name in Usage.__dataclass_fields__})
