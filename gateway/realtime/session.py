"""What the gateway says to a realtime speech model and hears from it, whoever the provider is.

A `RealtimeSession` is one conversation over one connection. Commands are plain synchronous methods: they queue bytes
and return, so that the media tick may call them. What the model does comes back as frozen events, one at a time,
through the callback given to `connect`, in the order in which the provider sent them, from the event loop's thread.

::

    uplink     caller -> append_audio ------------> provider
    downlink   caller <- AudioDelta per item <----- provider      faster than real time: the media engine paces it
    barge-in   SpeechStarted -> flush the playout -> truncate(item, ms heard); its late audio never gets here
    tools      ToolCalled -> send_tool_result -> the model goes on once every call of that response has its result

The end of a session, in this order: at most one `SessionFailed` (the provider or the network ended it), then exactly
one `SessionClosed`, then nothing. A session is never reused; there is no resumption at this level.

Nothing in here opens sockets, reads clocks or knows a provider's event names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from gateway.errors import ProviderError, ProviderRefused, shown
from gateway.media.codec import AudioFormat

Role: TypeAlias = Literal["user", "system", "assistant"]
TurnDetectionKind: TypeAlias = Literal["server_vad", "semantic_vad", "none"]
Eagerness: TypeAlias = Literal["low", "medium", "high", "auto"]
NoiseReduction: TypeAlias = Literal["near_field", "far_field"]
ReasoningEffort: TypeAlias = Literal["minimal", "low", "medium", "high", "xhigh"]


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
        return text.replace(self._value, "***") if self._value else text

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__


# --- what a session is asked to be -----------------------------------------------------------------------------------


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
class SessionOptions:
    """Everything a provider needs to open one session."""

    provider: str = "openai"
    """Name under which the provider registered."""
    url: str
    """The provider's base or full address: ws, wss, http or https."""
    model: str = ""
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
    transcription_model: str | None = None
    """Model that writes down what the caller says; None for no transcript of the caller."""
    transcription_language: str | None = None
    """ISO 639-1."""
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    """``auto``, ``none``, ``required``, or the name of the one tool to call."""
    max_output_tokens: int | None = None
    """Upper bound of one reply, tool calls included; None for the provider's own."""
    reasoning_effort: ReasoningEffort | None = None
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

    @property
    def has_server_turns(self) -> bool:
        """The provider can find the turns by itself."""
        return any(kind != "none" for kind in self.turn_detections)

    @property
    def has_manual_turns(self) -> bool:
        """The turns can be ours to find."""
        return "none" in self.turn_detections


# --- what a session tells --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one reply, or one transcript, is billed for. Cached tokens are part of the input tokens."""

    input_tokens: int = 0
    output_tokens: int = 0
    input_text_tokens: int = 0
    input_audio_tokens: int = 0
    input_image_tokens: int = 0
    cached_tokens: int = 0
    cached_text_tokens: int = 0
    cached_audio_tokens: int = 0
    cached_image_tokens: int = 0
    output_text_tokens: int = 0
    output_audio_tokens: int = 0
    reasoning_tokens: int = 0
    seconds: float = 0.0
    """Billed time, for those who bill by it."""


class ResponseStatus(Enum):
    """How a reply ended."""

    COMPLETED = "completed"
    CANCELLED = "cancelled"
    INCOMPLETE = "incomplete"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionReady:
    """The provider confirmed the session as it was asked for. First event."""

    session_id: str
    model: str
    expires_at_s: int | None = None
    """Unix time at which the provider will end the session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechStarted:
    """The caller began to speak. ``audio_start_ms`` counts all audio ever appended."""

    item_id: str
    audio_start_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechStopped:
    """The caller's turn ended."""

    item_id: str
    audio_end_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InputTranscript:
    """Words of the caller: the next piece, or, final, the whole turn."""

    item_id: str
    text: str
    is_final: bool
    usage: Usage | None = None
    """Billed apart from the replies; on the final one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseStarted:
    """The model began a reply."""

    response_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioDelta:
    """The next piece of speech of an item, in the session's output format. Any size; faster than real time."""

    response_id: str
    item_id: str
    content_index: int
    audio: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioFinished:
    """No more speech will come for this item."""

    response_id: str
    item_id: str
    content_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputTranscript:
    """Words of the model: the next piece, or, final, the whole item. Ahead of the audio."""

    response_id: str
    item_id: str
    content_index: int
    text: str
    is_final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A function the model wants run. ``arguments`` is what it wrote, a JSON object; its members are not validated."""

    call_id: str
    name: str
    arguments: Mapping[str, object]
    response_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCalled:
    """A tool call is complete. Told once per ``call_id``."""

    call: ToolCall


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseFinished:
    """A reply ended. ``response_id`` is empty when the provider refused to begin it."""

    response_id: str
    status: ResponseStatus
    usage: Usage | None = None
    reason: str = ""
    """The provider's word for why a reply did not complete, as ``turn_detected``."""
    error: ProviderError | None = None
    """With ``FAILED``: what went wrong, and whether another try may succeed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFailed:
    """The session cannot go on; ``error`` says whether a new one may."""

    error: ProviderError


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionClosed:
    """The connection is gone. Last event. ``code`` is the WebSocket close code, 1006 without a close frame."""

    code: int
    reason: str


SessionEvent: TypeAlias = (
    SessionReady
    | SpeechStarted
    | SpeechStopped
    | InputTranscript
    | ResponseStarted
    | AudioDelta
    | AudioFinished
    | OutputTranscript
    | ToolCalled
    | ResponseFinished
    | SessionFailed
    | SessionClosed
)
EventCallback: TypeAlias = Callable[[SessionEvent], None]


@dataclass(slots=True)
class SessionStatistics:
    """What a session took and what it had to leave out; counts since it was made."""

    _: KW_ONLY
    messages_received: int = 0
    unknown_events: int = 0
    """Well-formed, of a type this version does not know."""
    malformed_events: int = 0
    """Not JSON, too large or deep, or without what its type needs."""
    skipped_audio: int = 0
    """Pieces of speech that were not audio: bad base64, half a sample."""
    late_audio: int = 0
    """Pieces of speech of a reply that had been interrupted."""
    repeated_calls: int = 0
    """Tool calls told before."""
    rejected_calls: int = 0
    """Tool calls answered with an error, because their arguments are no JSON object."""
    stale_results: int = 0
    """Tool results for calls that are unknown or were answered before."""
    benign_errors: int = 0
    """Errors that races between two honest sides lead to."""
    errors: int = 0
    """Other errors of the provider."""
    dropped_uplink_ms: float = 0.0
    """Caller's audio lost because the link was too slow."""


class RealtimeSession(Protocol):
    """One conversation with a speech model.

    Commands before `connect` has returned are a fault of the caller; after the end they do nothing.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What this provider can do."""
        ...

    @property
    def statistics(self) -> SessionStatistics:
        """Live counters."""
        ...

    async def connect(self, on_event: EventCallback) -> None:
        """Open the session and wait until the provider confirmed it; `SessionReady` was told then.

        Raises:
            ProviderUnavailable: not reachable, too slow or overloaded; no event is told, then or later.
            ProviderRefused: credentials, quota, model or options; likewise.
        """
        ...

    def append_audio(self, audio: bytes) -> None:
        """Send the next audio of the caller, any length of whole samples, silence included."""
        ...

    def commit_audio(self) -> None:
        """End the caller's turn, where turn detection is ``none``. The reply needs `respond`."""
        ...

    def send_text(self, role: Role, text: str) -> None:
        """Put a message into the conversation. The model does not answer it by itself."""
        ...

    def respond(self, instructions: str | None = None) -> None:
        """Let the model speak now, or as soon as the reply under way has ended.

        ``instructions`` hold for this one reply, in place of the session's.
        """
        ...

    def cancel_response(self) -> None:
        """End the reply under way; nothing when there is none. Its late audio is dropped."""
        ...

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> None:
        """Tell how much of an item was heard, clamped to what was received. Its late audio is dropped."""
        ...

    def send_tool_result(self, call_id: str, output: str, respond: bool = True) -> None:
        """Answer a tool call. With ``respond`` the model goes on once all calls of that response are answered."""
        ...

    async def close(self) -> None:
        """End the session politely and wait for its end, at most a second."""
        ...

    def abort(self) -> None:
        """End the session now, without a word to the peer."""
        ...


# --- providers -------------------------------------------------------------------------------------------------------

SessionFactory: TypeAlias = Callable[[SessionOptions], RealtimeSession]
_factories: dict[str, SessionFactory] = {}


def register_provider(name: str, factory: SessionFactory) -> None:
    """Make sessions of provider `name` by `factory`. A later registration takes the place of an earlier one."""
    _factories[name] = factory


def providers() -> tuple[str, ...]:
    """The registered names, sorted."""
    return tuple(sorted(_factories))


def open_session(options: SessionOptions) -> RealtimeSession:
    """A session of the provider that `options` name, not yet connected.

    Raises:
        ProviderRefused: nobody registered that name, or the provider cannot do what is asked.
    """
    factory = _factories.get(options.provider)
    if factory is None:
        known = ", ".join(providers()) or "none"
        raise ProviderRefused(f"no realtime provider is called {shown(options.provider)} (registered: {known})")
    return factory(options)
