"""Between the original protocol and a dialect of it: our events as the provider takes them, and its own as GA has them.

::

    OpenAIProtocol --GA event--> outbound --as the dialect has it--> socket
    OpenAIProtocol <--GA event-- inbound  <--as the dialect has it-- socket

A delta of audio, which is what there is most of, is never parsed here: it passes, with its name exchanged where the
dialect has the beta's.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.media.codec import AudioFormat
from gateway.realtime.fields import Fields, MalformedEventError, parse
from gateway.realtime.openai.codec import AUDIO_DELTA, FORMATS, JsonObject, encode
from gateway.realtime.openai.dialects import Dialect, WireFormat
from gateway.realtime.openai.protocol import MAX_EVENT_CHARACTERS
from gateway.realtime.session import SessionOptions

_HEAD_CHARACTERS: Final = 256
"""The type of an event stands within these, or the event is parsed."""
_BETA_DELTA: Final = '"response.audio.delta"'
_GA_DELTA: Final = f'"{AUDIO_DELTA}"'
_UPDATED_TRANSCRIPT: Final = "conversation.item.input_audio_transcription.updated"

_GA_NAMES: Final[Mapping[str, str]] = {
    "response.audio.delta": AUDIO_DELTA,
    "response.audio.done": "response.output_audio.done",
    "response.audio_transcript.delta": "response.output_audio_transcript.delta",
    "response.audio_transcript.done": "response.output_audio_transcript.done",
    "response.text.delta": "response.output_text.delta",
    "response.text.done": "response.output_text.done",
}
_FLAT_NAMES: Final[Mapping[str, str]] = {
    "output_modalities": "modalities",
    "max_output_tokens": "max_response_output_tokens",
}
_FLAT_INPUT: Final[Mapping[str, str]] = {
    "format": "input_audio_format",
    "transcription": "input_audio_transcription",
    "noise_reduction": "input_audio_noise_reduction",
    "turn_detection": "turn_detection",
}
_FLAT_OUTPUT: Final[Mapping[str, str]] = {"format": "output_audio_format", "voice": "voice"}
_PCM_NAMES: Final = frozenset({"pcm", "pcm16", "pcm24"})
"""What confirmations of the beta call PCM, whatever its rate."""


@dataclass(slots=True)
class _Transcript:
    """What was told of the turn that is being written down."""

    item_id: str = ""
    text: str = ""


class Edge:
    """The two directions of one session. Knows of the session what must be known to translate, and nothing else."""

    def __init__(self, dialect: Dialect, options: SessionOptions) -> None:
        self._dialect = dialect
        self._options = options
        self._transcript = _Transcript()
        self._billed_s = 0.0

    # --- ours ---------------------------------------------------------------------------------------------------------

    def outbound(self, document: str) -> str:
        """An event of ours, written in GA, as the dialect has it."""
        event: JsonObject = json.loads(document)
        match event["type"]:
            case "session.update":
                event["session"] = self._session(_object(event["session"]))
            case "response.create" if "response" in event and self._dialect.session_shape == "flat":
                event["response"] = _flat(_object(event["response"]))
            case "response.cancel":
                event.pop("response_id", None)  # there is but one; several of them take no id
            case "conversation.item.create" if self._dialect.has_beta_names:
                event["item"] = _beta_item(_object(event["item"]))
        return encode(event)

    def _session(self, session: JsonObject) -> JsonObject:
        """``session`` in the dialect's shape, with nothing in it that the dialect does not take."""
        dialect = self._dialect
        opening: JsonObject = {}  # what is told once: only the first update has this
        if "output_modalities" in session:
            opening = dict(dialect.always)
            if dialect.model_in == "session" and self._options.model:
                opening["model"] = self._options.model
        if "audio" in session:
            audio = session["audio"] = _object(session["audio"])
            if "input" in audio:
                audio["input"] = self._input(_object(audio["input"]))
            if "output" in audio:
                audio["output"] = self._output(_object(audio["output"]))
        if "tools" in session:
            session["tools"] = self._tools(session["tools"])
        if dialect.session_shape == "xai":
            session = _raised(session)
        elif dialect.session_shape == "flat":
            session = _flat(session)
        session |= opening
        if dialect.session_keys is None:
            return session
        return {name: value for name, value in session.items() if name in dialect.session_keys}

    def _input(self, heard: JsonObject) -> JsonObject:
        """``session.audio.input``."""
        dialect = self._dialect
        if dialect.input_keys is not None:
            heard = {name: value for name, value in heard.items() if name in dialect.input_keys}
        if "format" in heard:
            heard["format"] = self._dialect.input_formats[self._options.input_format]
        if isinstance(heard.get("turn_detection"), dict):
            heard["turn_detection"] = self._turn_detection(_object(heard["turn_detection"]))
        if isinstance(heard.get("transcription"), dict):
            heard |= self._transcription(_object(heard.pop("transcription")))
        return heard

    def _transcription(self, wanted: JsonObject) -> JsonObject:
        """Model and language, as far as they can be chosen; what else the original takes, it alone takes."""
        known = ("model", "language") if self._dialect.transcription == "model" else ("language",)
        told = {name: wanted[name] for name in known if name in wanted}
        return {"transcription": told} if told else {}

    def _turn_detection(self, turns: JsonObject) -> JsonObject:
        own = self._dialect.turn_detection_names.get(str(turns["type"]))
        if own is not None:
            turns["type"] = own
            turns.pop("eagerness", None)  # a word of OpenAI's kind
        return turns

    def _output(self, spoken: JsonObject) -> JsonObject:
        """``session.audio.output``."""
        if "format" in spoken:
            spoken["format"] = self._dialect.output_formats[self._options.output_format]
        voice = spoken.get("voice")
        if self._dialect.has_azure_voices and isinstance(voice, str) and "-" in voice:
            spoken["voice"] = {"type": "azure-standard", "name": voice}
        if self._dialect.session_keys is not None:
            spoken.pop("speed", None)
        return spoken

    def _tools(self, tools: object) -> list[JsonObject]:
        """The tools, as far as the dialect has their kind."""
        listed = [_object(tool) for tool in tools] if isinstance(tools, list) else []
        if not self._dialect.has_hosted_tools:
            listed = [tool for tool in listed if tool.get("type") == "function"]
        return [_nested(tool) for tool in listed] if self._dialect.has_nested_tools else listed

    # --- theirs -------------------------------------------------------------------------------------------------------

    def inbound(self, document: str) -> str | None:
        """An event of the provider as GA has it; None for one that means nothing.

        Raises:
            MalformedEventError: not what its type says.
        """
        head = document[:_HEAD_CHARACTERS]
        if _BETA_DELTA in head:
            return document.replace(_BETA_DELTA, _GA_DELTA, 1)
        if _GA_DELTA in head:
            return document
        if len(document) > MAX_EVENT_CHARACTERS:
            raise MalformedEventError("too large")
        event = parse(document)
        kind = event.text("type")
        if kind in self._dialect.ignored_events:
            return None
        changed = self._read(self._ga_name(kind), event)
        return None if changed is None else encode(changed)

    def _ga_name(self, kind: str) -> str:
        if kind == self._dialect.created:
            return "session.created"
        if kind == "conversation.item.created":
            return "conversation.item.added"
        return _GA_NAMES.get(kind, kind) if self._dialect.has_beta_names else kind

    def _read(self, kind: str, event: Fields) -> JsonObject | None:
        members = dict(event.members) | {"type": kind}
        match kind:
            case "session.updated":
                members["session"] = self._confirmed(event.fields("session"))
            case "error":
                members["error"] = self._error(event.fields("error"))
            case "response.done":
                members["response"] = self._done(event)
            case kind if kind == _UPDATED_TRANSCRIPT:
                return self._transcript_so_far(event)
        return members

    def _confirmed(self, session: Fields) -> JsonObject:
        """``session`` of ``session.updated``, in as far as it says what was made of our formats."""
        members = dict(session.members)
        if self._dialect.session_shape != "flat":
            return members
        heard, spoken = self._options.input_format, self._options.output_format
        return members | {
            "audio": {
                "input": _format_taken(session.text("input_audio_format", ""), heard, self._dialect.input_formats),
                "output": _format_taken(session.text("output_audio_format", ""), spoken, self._dialect.output_formats),
            }
        }

    def _error(self, error: Fields) -> JsonObject:
        """``error``, with the original's code where the dialect has another for the same."""
        code = error.members.get("code")
        word = str(code) if code not in (None, "") else error.text("type", "")
        known = self._dialect.error_codes
        meant = known.get(f"{word} {error.text('param', '')}") or known.get(word) or known.get(error.text("type", ""))
        return dict(error.members) | {"code": meant or word}

    def _done(self, event: Fields) -> JsonObject:
        """``response`` of ``response.done``, with the usage where and as the original has it."""
        response = event.fields("response")
        usage = response.fields("usage") or event.fields("usage")
        members = dict(response.members)
        if self._dialect.usage_unit == "none" or not usage:
            return members
        told = dict(usage.members)
        for direction in ("input", "output"):
            if f"{direction}_tokens_details" in told:
                told.setdefault(f"{direction}_token_details", told.pop(f"{direction}_tokens_details"))
        with contextlib.suppress(MalformedEventError):
            if "billable_audio_seconds" in usage:
                told["seconds"] = self._newly_billed(usage.number("billable_audio_seconds", 0.0))
        return members | {"usage": told}

    def _newly_billed(self, total_s: float) -> float:
        """Seconds since the last reply; the provider tells all since the beginning."""
        newly_s, self._billed_s = max(total_s - self._billed_s, 0.0), max(total_s, self._billed_s)
        return newly_s

    def _transcript_so_far(self, event: Fields) -> JsonObject | None:
        """A delta out of a transcript that is told from its beginning each time; none where it took words back."""
        item_id, text = event.text("item_id"), event.text("transcript", "")
        if item_id != self._transcript.item_id:
            self._transcript = _Transcript(item_id)
        told, self._transcript.text = self._transcript.text, text
        if not text.startswith(told) or text == told:
            return None
        kind = "conversation.item.input_audio_transcription.delta"
        return {"type": kind, "item_id": item_id, "content_index": 0, "delta": text[len(told) :]}


def _format_taken(name: str, asked: AudioFormat, formats: Mapping[AudioFormat, WireFormat]) -> JsonObject:
    """What the beta confirms for one direction, in GA's words; its own where it is not what was `asked`."""
    if not name:
        return {}
    wire = formats[asked]
    is_taken = name == wire or (name in _PCM_NAMES and wire in _PCM_NAMES)
    return {"format": FORMATS[asked] if is_taken else {"type": name}}


def _object(value: object) -> JsonObject:
    """A JSON object of our own making, to be changed."""
    if not isinstance(value, dict):
        raise MalformedEventError("not an object")
    return dict(value)


def _raised(session: JsonObject) -> JsonObject:
    """Voice and turn detection at the top, beside ``audio``."""
    audio: Any = session.get("audio", {})
    heard, spoken = audio.get("input", {}), audio.get("output", {})
    raised = {"turn_detection": heard.pop("turn_detection")} if "turn_detection" in heard else {}
    if "voice" in spoken:
        raised["voice"] = spoken.pop("voice")
    return session | raised


def _flat(session: JsonObject) -> JsonObject:
    """The beta's shape of a session or of a reply: everything at the top, under its older name."""
    audio: Any = session.get("audio", {})
    flat: JsonObject = {_FLAT_NAMES.get(name, name): value for name, value in session.items() if name != "audio"}
    for members, names in ((audio.get("input", {}), _FLAT_INPUT), (audio.get("output", {}), _FLAT_OUTPUT)):
        flat |= {names[name]: value for name, value in members.items() if name in names}
    if flat.get("modalities") == ["audio"]:
        flat["modalities"] = ["text", "audio"]  # speech alone is refused; its words come with it either way
    if isinstance(effort := flat.pop("reasoning", None), dict):
        flat["reasoning_effort"] = effort.get("effort")
    return flat


def _nested(tool: JsonObject) -> JsonObject:
    """A function as chat completions have it."""
    return {"type": "function", "function": {name: value for name, value in tool.items() if name != "type"}}


def _beta_item(item: JsonObject) -> JsonObject:
    """An item whose written parts have the beta's name."""
    if not isinstance(item.get("content"), list):
        return item
    parts = [_object(part) for part in item["content"]]  # type: ignore[attr-defined]
    return item | {
        "content": [part | {"type": "text"} if part.get("type") == "output_text" else part for part in parts]
    }
