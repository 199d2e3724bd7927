"""What a realtime session tells, whoever the provider is: frozen events, one at a time, in the provider's order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field, fields
from enum import Enum
from typing import Literal, TypeAlias

from gateway.errors import ProviderError

ItemKind: TypeAlias = Literal["user", "system", "assistant", "tool_call", "tool_result"]


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
    place: int = 0
    """Of its provider among those that may serve the call, in their order; 0 for the one that was asked for."""


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
    confidence: float | None = None
    """0 to 1, where it was asked for; on the final one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputTranscriptFailed:
    """The words of a turn of the caller could not be written down; the model heard them all the same."""

    item_id: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerIdle:
    """The caller said nothing for as long as `TurnDetection.idle_timeout_ms` after a reply; the model speaks again."""

    item_id: str
    audio_start_ms: int
    audio_end_ms: int


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
    is_silence: bool = False
    """A pause of a provider that is full duplex: may be left out where playout is behind."""


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
class ToolCancelled:
    """The model does not wait for a tool call any more; its result would not be taken."""

    call_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted:
    """The provider has ended its reply because the caller spoke: what is queued of it is not to be heard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemAdded:
    """The conversation has got an item, which `RealtimeSession.delete_item` can take out again."""

    item_id: str
    kind: ItemKind
    call_id: str = ""
    """Of a tool's call, and of its result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemRetrieved:
    """What the provider has of an item now, in words; empty where it has sound alone."""

    item_id: str
    kind: ItemKind
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What the model wrote to a question of `RealtimeSession.ask`; ``error`` where it did not."""

    question_id: str
    text: str
    usage: Usage | None = None
    error: ProviderError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageReported:
    """What is billed apart from any reply, since the last report."""

    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionExpiring:
    """The provider is going to end the session in so many seconds."""

    in_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumptionOffered:
    """A later session that is given this handle goes on where this one is now; the latest counts."""

    handle: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSuspended:
    """The connection is gone, and another is being made; what is appended meanwhile is kept for it, within limits."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionResumed:
    """Another session has taken the place of the one before, and knows the conversation."""

    provider: str
    model: str
    session_id: str
    gap_ms: int
    """From the loss of the one to the confirmation of the other; 0 where the other stood before the one ended."""
    is_planned: bool = False
    """The one before it had not been lost: it was about to expire."""
    place: int = 0
    """As `SessionReady.place`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyOverdue:
    """The caller's turn has ended and the model says nothing. What it begins to say next ends the wait."""

    waited_s: float


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
    | InputTranscriptFailed
    | CallerIdle
    | ResponseStarted
    | AudioDelta
    | AudioFinished
    | OutputTranscript
    | ToolCalled
    | ToolCancelled
    | Interrupted
    | ItemAdded
    | ItemRetrieved
    | Answered
    | UsageReported
    | SessionExpiring
    | ResumptionOffered
    | SessionSuspended
    | SessionResumed
    | ReplyOverdue
    | ResponseFinished
    | SessionFailed
    | SessionClosed
)
EventCallback: TypeAlias = Callable[[SessionEvent], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """How much of a limit of the account is left, and when all of it is there again."""

    limit: int
    remaining: int
    reset_s: float


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
    """Tool calls answered with an error: their arguments are no JSON object, or the caller interrupted them."""
    stale_results: int = 0
    """Tool results for calls that are unknown or were answered before."""
    benign_errors: int = 0
    """Errors that races between two honest sides lead to."""
    errors: int = 0
    """Other errors of the provider."""
    failed_transcripts: int = 0
    """Turns of the caller that could not be written down."""
    hosted_calls: int = 0
    """Tools that the provider called itself, with success or without."""
    hosted_failures: int = 0
    """Those that failed, and servers whose tools could not be listed."""
    denied_approvals: int = 0
    """Calls of hosted tools that we did not let the provider make."""
    rate_limits: Mapping[str, RateLimit] = field(default_factory=dict)
    """By the provider's name (``requests``, ``tokens``), as told last."""
    dropped_uplink_ms: float = 0.0
    """Caller's audio lost because the link was too slow."""
    context_usage_ratio: float = 0.0
    """How full the model's memory is, 0 to 1, where the provider tells; it may fall again."""

    def add(self, more: SessionStatistics) -> None:
        """Add what is counted of `more`; of everything else take what it told last."""
        for figure in fields(SessionStatistics):
            before, latest = getattr(self, figure.name), getattr(more, figure.name)
            is_count = isinstance(latest, int | float) and figure.name != "context_usage_ratio"
            setattr(self, figure.name, before + latest if is_count else latest or before)
