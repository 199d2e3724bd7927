"""What a realtime session is asked to be, and what a provider can do: for every provider the same words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

from gateway.media.codec import AudioFormat

Role: TypeAlias = Literal["user", "system", "assistant"]
TurnDetectionKind: TypeAlias = Literal["server_vad", "semantic_vad", "none"]
Eagerness: TypeAlias = Literal["low", "medium", "high", "auto"]
NoiseReduction: TypeAlias = Literal["near_field", "far_field"]
ReasoningEffort: TypeAlias = Literal["minimal", "low", "medium", "high", "xhigh"]
TranscriptionDelay: TypeAlias = Literal["minimal", "low", "medium", "high", "xhigh"]
ContextPolicy: TypeAlias = Literal["auto", "disabled", "retention_ratio"]


class Secret:
    """A credential that no ``repr``, log line or traceback shows. `reveal` is for the wire alone."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The credential itself."""
        return self._value

    def scrub(self, text: str) -> str:
        """`text` without this credential, for messages of a peer that echoes what it was sent."""
        value = self._value.strip()  # as it is sent: a key out of a file has a line end
        return text.replace(value, "***") if value else text

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnDetection:
    """Who decides that the caller has begun and ended to speak.

    ``server_vad`` goes by silence, ``semantic_vad`` by what was said; ``none`` leaves it to us (see `commit_audio`).
    """

    kind: TurnDetectionKind = "server_vad"
    threshold: float = 0.5
    """Activation of ``server_vad``, 0 to 1."""
    prefix_padding_ms: int = 300
    """Audio kept from before the detected speech (``server_vad``)."""
    silence_duration_ms: int = 500
    """Silence that ends a turn (``server_vad``)."""
    idle_timeout_ms: int | None = None
    """Silence after a reply until the model asks again (``server_vad``)."""
    eagerness: Eagerness = "auto"
    """How soon ``semantic_vad`` takes a turn as ended."""
    creates_response: bool = True
    """The model answers a turn's end by itself."""
    interrupts_response: bool = True
    """Speech ends the reply under way by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function the model may call. ``parameters`` is a JSON Schema of type object."""

    name: str
    description: str = ""
    parameters: Mapping[str, object] = field(default_factory=lambda: {"type": "object", "properties": {}})


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedServer:
    """A server of tools (MCP) that the provider itself calls; the gateway passes it on and decides approvals."""

    label: str
    """By it the model and our log lines know the server."""
    url: str = ""
    connector_id: str = ""
    """In place of `url`: one of the provider's own connectors."""
    authorization: Secret | None = None
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Sent to the server by the provider; they may hold credentials and are never shown."""
    description: str = ""
    allowed_tools: tuple[str, ...] | None = None
    """None for all that the server has."""
    require_approval: Literal["always", "never"] = "always"
    """Whether the provider asks us before each call."""
    approves: Literal["always", "never"] | tuple[str, ...] = "never"
    """What it is answered: yes, no, or yes for the tools of these names."""

    def does_approve(self, tool: str) -> bool:
        """Whether a call of `tool` may be made."""
        return self.approves == "always" or (self.approves != "never" and tool in self.approves)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextTruncation:
    """What happens when the conversation no longer fits into the model's context.

    ``auto`` drops the oldest, ``disabled`` makes the reply fail, ``retention_ratio`` drops more at once than it must,
    so that what stays is found in the provider's cache for longer.
    """

    policy: ContextPolicy = "auto"
    retention_ratio: float = 1.0
    """Part that stays, 0 to 1 (``retention_ratio``)."""
    max_tokens: int | None = None
    """Tokens of the conversation behind the instructions, at most (``retention_ratio``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Something that was said or told in the conversation before this session."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolExchange:
    """A tool call of the conversation before this session, and its result. ``arguments`` is the JSON object as text."""

    call_id: str
    name: str
    arguments: str
    output: str


HistoryItem: TypeAlias = Message | ToolExchange


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionChange:
    """What becomes different in a session under way; None leaves a thing as it is."""

    instructions: str | None = None
    tools: tuple[Tool, ...] | None = None
    max_output_tokens: int | None = None
    transcription_language: str | None = None
    """ISO 639-1; nothing where the caller's words are not written down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextOptions:
    """When a long conversation is shortened (`gateway.realtime.context`)."""

    limit_tokens: int = 20_000
    """What a reply may read and write before old turns give way to a summary. The smaller windows hold 28,000."""
    keep_turns: int = 6
    """The caller's last turns, which stay as they are with all that was said to them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """Everything a provider needs to open one session."""

    provider: str = "openai"
    """Name under which the provider registered."""
    url: str
    """The provider's base or full address: ws, wss, http or https."""
    model: str = ""
    backend_model: str = ""
    """Model that runs the tools of a speech model which hands such work on; empty for the adapter's own choice."""
    api_key: Secret | None = None
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Further headers of the opening request; they may hold credentials and are never shown."""
    ca_file: Path | None = None
    """Certificates to trust in place of the system's."""
    voice: str = ""
    """The provider's name of the voice; empty for its own choice."""
    instructions: str = ""
    input_format: AudioFormat = AudioFormat.PCM16_24K
    """What `append_audio` is given."""
    output_format: AudioFormat = AudioFormat.PCM16_24K
    """What `AudioDelta` carries."""
    turn_detection: TurnDetection = TurnDetection()
    noise_reduction: NoiseReduction | None = None
    noise_reduction_strength: float | None = None
    """0 to 1; None for the provider's own."""
    transcription_model: str | None = None
    """Model that writes down what the caller says; None for no transcript of the caller."""
    transcription_language: str | None = None
    """ISO 639-1."""
    transcription_languages: tuple[str, ...] = ()
    """Languages that callers may speak, where the model takes several (ISO 639-1)."""
    transcription_prompt: str = ""
    """What the transcription should know beforehand."""
    transcription_keywords: tuple[str, ...] = ()
    """Names and words that callers are likely to say."""
    transcription_delay: TranscriptionDelay | None = None
    """How long words may be held back for being right."""
    has_confidence: bool = False
    """Ask how sure the transcription is (`InputTranscript.confidence`)."""
    output_modality: Literal["audio", "text"] = "audio"
    """``text``: the model writes (`OutputTranscript`) and is not heard."""
    output_speed: float | None = None
    """Pace of speech, 0.25 to 1.5; None for the voice's own."""
    tools: tuple[Tool, ...] = ()
    hosted_servers: tuple[HostedServer, ...] = ()
    tool_choice: str = "auto"
    """``auto``, ``none``, ``required``, or the name of the one tool to call."""
    parallel_tool_calls: bool | None = None
    """Whether one reply may call several tools; None for the provider's own."""
    max_output_tokens: int | None = None
    """Upper bound of one reply, tool calls included; None for the provider's own."""
    reasoning_effort: ReasoningEffort | None = None
    truncation: ContextTruncation | None = None
    """None for the provider's own."""
    identifies_callers: bool = False
    """Tell the provider a pseudonym of the caller, by which it can tell one who abuses it from all others."""
    caller: str = field(default="", repr=False)
    """Number of the caller, where they are to be identified; empty where it is withheld or they are not."""
    history: tuple[HistoryItem, ...] = ()
    """What this session is to know of the conversation before it, oldest first."""
    context: ContextOptions = ContextOptions()
    resume_handle: str = ""
    """What `ResumptionOffered` told in the session before this one; the provider remembers that one by it."""
    connect_timeout_s: float = 3.0
    """From the first packet to the confirmed session."""
    uplink_backlog_ms: int = 2000
    """Audio kept when the link is slower than speech; beyond it the oldest goes."""

    def in_law(self, law: AudioFormat) -> SessionOptions:
        """The same in `law` of G.711 where the audio is G.711, so that octets pass untouched."""
        formats = (self.input_format, self.output_format)
        given, taken = (law if form in (AudioFormat.PCMU, AudioFormat.PCMA) else form for form in formats)
        return replace(self, input_format=given, output_format=taken)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a provider can do, so that the call need not know who it is."""

    input_formats: tuple[AudioFormat, ...]
    output_formats: tuple[AudioFormat, ...]
    turn_detections: tuple[TurnDetectionKind, ...]
    has_truncate: bool
    """The provider keeps what was heard, not what was generated, once told where playback stopped."""
    has_cancel: bool
    has_tools: bool
    usage_unit: Literal["tokens", "seconds", "none"]
    max_session_s: float | None
    """Age at which the provider ends a session, None where it does not."""
    has_questions: bool = False
    """`RealtimeSession.ask` is answered, beside the conversation."""
    has_deletion: bool = False
    """Items can be taken out of the conversation."""
    has_update: bool = False
    """Instructions and tools can change while the session is under way."""
    has_resumption: bool = False
    """A later session can go on where this one was (`ResumptionOffered`); elsewhere the history is replayed."""
    is_full_duplex: bool = False
    """Speech comes at the pace at which it is heard, and the model stops by itself when it is talked over: there are
    no turns, nothing to truncate and nothing to flush."""

    @property
    def has_server_turns(self) -> bool:
        """The provider can find the turns by itself."""
        return any(kind != "none" for kind in self.turn_detections)

    @property
    def has_manual_turns(self) -> bool:
        """The turns can be ours to find."""
        return "none" in self.turn_detections
