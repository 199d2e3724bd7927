"""Who speaks the OpenAI Realtime protocol, and in which dialect: one record a provider, and the table of them all.

A dialect is data. `edge` writes and reads by it at the edge of the connection, so that `protocol` sees
the events of the original (GA) alone; `openai` makes addresses, headers and sessions of it.

Sources: the vendors' references and official clients, state of November 2026; "live" marks what others saw on the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from gateway.media.codec import AudioFormat
from gateway.realtime.openai.codec import FORMATS
from gateway.realtime.profile import ORIGINALS_KEYS
from gateway.realtime.session import Capabilities, TurnDetectionKind

Auth: TypeAlias = Literal["bearer", "azure", "basic", "xi-api-key"]
WireFormat: TypeAlias = str | Mapping[str, object]

NEW_ID: Final = "{id}"
"""As the value of a query's member: an id of this session's own."""

_PCM_24K, _PCM_16K, _PCM_8K = AudioFormat.PCM16_24K, AudioFormat.PCM16_16K, AudioFormat.PCM16_8K
_PCMU, _PCMA = AudioFormat.PCMU, AudioFormat.PCMA
_ORIGINAL: Final = {audio: FORMATS[audio] for audio in (_PCM_24K, _PCMU, _PCMA)}
_ONLY_24K: Final = {_PCM_24K: FORMATS[_PCM_24K]}
_BETA: Final = {_PCM_24K: "pcm16", _PCMU: "g711_ulaw", _PCMA: "g711_alaw"}

_GA_KEYS: Final = frozenset(
    {"type", "output_modalities", "instructions", "audio", "tools", "tool_choice", "max_output_tokens"}
)
_INPUT_KEYS: Final = frozenset({"format", "turn_detection", "transcription"})
_BETA_KEYS: Final = frozenset(
    {
        "modalities",
        "instructions",
        "voice",
        "input_audio_format",
        "output_audio_format",
        "input_audio_transcription",
        "turn_detection",
        "tools",
        "tool_choice",
        "max_response_output_tokens",
    }
)
_KEYS: Final[Mapping[str, frozenset[str]]] = {
    "noise_reduction": frozenset({"noise_reduction", "input_audio_noise_reduction"}),
    "max_output_tokens": frozenset({"max_output_tokens", "max_response_output_tokens"}),
    "parallel_tool_calls": frozenset({"parallel_tool_calls"}),
    "reasoning": frozenset({"reasoning", "reasoning_effort"}),
    "truncation": frozenset({"truncation"}),
}
"""Keys of a realtime section, and the members of a session by which they would be told."""
_NO_BACKEND: Final = frozenset({"backend_model"})
"""Its one model does all by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one provider deviates from OpenAI; the defaults are OpenAI itself."""

    name: str
    url: str = ""
    """Where everybody reaches it; empty where everybody has a server of their own."""
    path: str = "/v1/realtime"
    """Of an address that has none."""
    query: tuple[tuple[str, str], ...] = ()
    """Members that the address must have; those it has already stay."""
    auth: Auth = "bearer"
    """``azure``: `api-key`, or Bearer for a token of Entra. ``basic``: Basic, or Bearer for a JWT."""
    model_in: Literal["query", "session"] = "query"
    session_shape: Literal["ga", "xai", "flat"] = "ga"
    """``xai``: voice and turn detection at the top. ``flat``: the beta's, everything at the top, under other names."""
    session_keys: frozenset[str] | None = None
    """Members of the session that it takes, in its own shape; None for all. What is not here is never sent."""
    always: Mapping[str, object] = field(default_factory=dict)
    """Members that every session is opened with."""
    input_keys: frozenset[str] | None = None
    """Members of the GA shape's ``audio.input`` that it takes; None for all."""
    has_beta_names: bool = False
    """Its events carry the names of the beta (``response.audio.delta``)."""
    created: str = "session.created"
    """The event that opens the session."""
    ignored_events: frozenset[str] = frozenset()
    """Events of its own that mean nothing to a call."""
    input_formats: Mapping[AudioFormat, WireFormat] = field(default_factory=lambda: _ORIGINAL)
    """What it hears, and how that is written in the session. G.711 with a rate where the dialect wants one."""
    output_formats: Mapping[AudioFormat, WireFormat] = field(default_factory=lambda: _ORIGINAL)
    turn_detections: tuple[TurnDetectionKind, ...] = ("server_vad", "semantic_vad", "none")
    """The first is the one that is used where nobody chose."""
    turn_detection_names: Mapping[str, str] = field(default_factory=dict)
    """Where it calls a kind by another name."""
    transcription: Literal["model", "language"] = "model"
    """``language``: it always writes down what the caller says, by a model of its own."""
    has_nested_tools: bool = False
    """A tool is ``{type, function: {...}}``."""
    has_hosted_tools: bool = False
    """It calls tools of servers (MCP) by itself."""
    has_azure_voices: bool = False
    """Names such as ``en-US-AvaNeural`` are voices of Azure Speech, told as objects."""
    has_truncate: bool = True
    has_questions: bool = False
    """It writes beside the conversation (``conversation: none``, text only)."""
    has_deletion: bool = True
    has_verbatim_speech: bool = False
    """An item ``force_message`` is spoken word for word, without a ``response.create``."""
    usage_unit: Literal["tokens", "seconds", "none"] = "tokens"
    max_session_s: float | None = 3600.0
    keepalive_s: float | None = None
    """An empty append is due so often: it ends sessions of which it hears nothing."""
    error_codes: Mapping[str, str] = field(default_factory=dict)
    """Its codes, or types where it has no code, and the original's code of the same meaning.

    A code that means something else with one ``param`` has that behind a space.
    """

    @property
    def is_original(self) -> bool:
        """Nothing needs to be written or read otherwise than to OpenAI."""
        return (
            self.session_shape == "ga"
            and self.session_keys is None
            and self.model_in == "query"
            and self.has_truncate
            and self.has_questions
            and self.has_deletion
            and not self.always
            and not (self.has_beta_names or self.has_verbatim_speech or self.ignored_events or self.error_codes)
        )

    @property
    def capabilities(self) -> Capabilities:
        """What sessions of this provider can do."""
        return Capabilities(
            input_formats=tuple(self.input_formats),
            output_formats=tuple(self.output_formats),
            turn_detections=self.turn_detections,
            has_truncate=self.has_truncate,
            has_cancel=True,
            has_tools=True,
            usage_unit=self.usage_unit,
            max_session_s=self.max_session_s,
            has_questions=self.has_questions,
            has_deletion=self.has_deletion,
            has_update=True,
        )

    @property
    def lacks(self) -> frozenset[str]:
        """Keys of a realtime section that it could not be told."""
        if self.session_keys is None:
            return _NO_BACKEND
        told = self.session_keys if self.input_keys is None else self.session_keys | self.input_keys
        lacking = {key for key, members in _KEYS.items() if not told & members} | ORIGINALS_KEYS | _NO_BACKEND
        return frozenset(lacking if self.has_hosted_tools else lacking | {"mcp"})


OPENAI: Final = Dialect(name="openai", url="wss://api.openai.com/v1", has_questions=True, has_hosted_tools=True)

_TABLE: Final = (
    OPENAI,
    # The GA path alone: the dated preview path speaks the beta and is gone where it can be gone.
    Dialect(name="azure", path="/openai/v1/realtime", auth="azure", has_questions=True, has_hosted_tools=True),
    # Truncation reaches the model after the reply at best (live), text is never written, seconds are what is billed.
    Dialect(
        name="xai",
        url="wss://api.x.ai/v1",
        session_shape="xai",
        session_keys=frozenset(
            {
                "instructions",
                "voice",
                "turn_detection",
                "audio",
                "tools",
                "tool_choice",
                "max_output_tokens",
                "parallel_tool_calls",
                "reasoning",
            }
        ),
        input_keys=_INPUT_KEYS,
        created="conversation.created",
        ignored_events=frozenset({"ping"}),
        input_formats=FORMATS,
        output_formats=FORMATS,
        turn_detections=("server_vad", "none"),
        has_hosted_tools=True,
        has_truncate=False,
        has_verbatim_speech=True,
        usage_unit="seconds",
        error_codes={"max_duration": "session_expired"},
    ),
    # A cascade behind the protocol; its codes are those of gRPC.
    Dialect(
        name="inworld",
        url="wss://api.inworld.ai",
        path="/api/v1/realtime/session",
        query=(("key", NEW_ID), ("protocol", "realtime")),
        auth="basic",
        model_in="session",
        session_keys=_GA_KEYS | {"model"},
        input_keys=_INPUT_KEYS,
        ignored_events=frozenset({"ping"}),
        input_formats=FORMATS,
        output_formats=FORMATS,
        turn_detections=("semantic_vad", "server_vad", "none"),
        has_truncate=False,
        has_deletion=False,
        max_session_s=None,
        error_codes={
            "7": "invalid_api_key",
            "8": "rate_limit_exceeded",
            "14": "server_error",
            "16": "invalid_api_key",
        },
    ),
    # Refuses server_vad; ignores the model in the address. A session lasts 600 s, or 7200 at most where that is asked
    # for, and 60 s without a word of ours end it.
    Dialect(
        name="eleven",
        url="wss://api.elevenlabs.io",
        path="/v1/convai/realtime",
        auth="xi-api-key",
        model_in="session",
        session_keys=_GA_KEYS | {"model", "max_duration_seconds"},
        always={"max_duration_seconds": 7200},
        input_keys=_INPUT_KEYS,
        input_formats=_ONLY_24K,
        output_formats={_PCM_24K: {"type": "audio/pcm"}},
        turn_detections=("semantic_vad", "none"),
        transcription="language",
        has_deletion=False,
        usage_unit="none",
        max_session_s=7200.0,
        keepalive_s=30.0,
    ),
    Dialect(
        name="localai",
        session_keys=_GA_KEYS,
        input_keys=_INPUT_KEYS,
        input_formats=_ONLY_24K,
        output_formats=_ONLY_24K,
        max_session_s=None,
        error_codes={"model_load_error": "invalid_model"},
    ),
    # One pipeline a session; all taken is a matter of time.
    Dialect(
        name="speech_to_speech",
        session_keys=_GA_KEYS,
        input_keys=_INPUT_KEYS,
        input_formats=_ONLY_24K,
        output_formats=_ONLY_24K,
        turn_detections=("server_vad",),
        has_deletion=False,
        max_session_s=None,
        error_codes={"session_limit_reached": "rate_limit_exceeded"},
    ),
    # Beta names from here on. Its own semantic VAD is the one that every model takes.
    Dialect(
        name="azure_voice_live",
        path="/voice-live/realtime",
        query=(("api-version", "2026-07-15"),),
        auth="azure",
        session_shape="flat",
        session_keys=_BETA_KEYS | {"input_audio_noise_reduction", "parallel_tool_calls", "reasoning_effort"},
        has_beta_names=True,
        ignored_events=frozenset({"warning"}),
        input_formats=_BETA,
        output_formats=_BETA | {_PCM_16K: "pcm16_16000hz", _PCM_8K: "pcm16_8000hz"},
        turn_detection_names={"semantic_vad": "azure_semantic_vad"},
        has_azure_voices=True,
        has_deletion=False,
    ),
    # Hears 16 kHz and speaks 24 kHz.
    Dialect(
        name="qwen",
        url="wss://dashscope-intl.aliyuncs.com/api-ws/v1",
        path="/api-ws/v1/realtime",
        session_shape="flat",
        session_keys=_BETA_KEYS - {"max_response_output_tokens"},
        has_beta_names=True,
        ignored_events=frozenset({"session.finished"}),
        input_formats={_PCM_16K: "pcm"},
        output_formats={_PCM_24K: "pcm"},
        has_nested_tools=True,
        has_truncate=False,
        has_deletion=False,
        max_session_s=7200.0,
        error_codes={
            "InvalidApiKey": "invalid_api_key",
            "Arrearage": "billing_hard_limit_reached",
            "invalid_value response.create": "conversation_already_has_active_response",
        },
    ),
    Dialect(
        name="speaches",
        session_shape="flat",
        session_keys=_BETA_KEYS,
        has_beta_names=True,
        input_formats={_PCM_24K: "pcm16"},
        output_formats={_PCM_24K: "pcm16"},
        turn_detections=("server_vad", "none"),
        max_session_s=None,
    ),
    # The server of `gateway.embedded`.
    Dialect(name="embedded", has_questions=True),
)

DIALECTS: Final[Mapping[str, Dialect]] = {dialect.name: dialect for dialect in _TABLE}
"""Every dialect by its name, which is the provider's in the configuration."""
