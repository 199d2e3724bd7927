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
one `SessionClosed`, then nothing. A session is never reused; `recovery.session` is one that outlives its connections.

Nothing in here opens sockets, reads clocks or knows a provider's event names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.realtime.events import (
    Answered,
    AudioDelta,
    AudioFinished,
    CallerIdle,
    EventCallback,
    InputTranscript,
    InputTranscriptFailed,
    Interrupted,
    ItemAdded,
    ItemKind,
    ItemRetrieved,
    OutputTranscript,
    RateLimit,
    ReplyOverdue,
    ResponseFinished,
    ResponseStarted,
    ResponseStatus,
    ResumptionOffered,
    SessionClosed,
    SessionEvent,
    SessionExpiring,
    SessionFailed,
    SessionReady,
    SessionResumed,
    SessionStatistics,
    SessionSuspended,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
    ToolCalled,
    ToolCancelled,
    Usage,
    UsageReported,
)
from gateway.realtime.options import (
    Capabilities,
    ContextOptions,
    ContextPolicy,
    ContextTruncation,
    Eagerness,
    HistoryItem,
    HostedServer,
    Message,
    NoiseReduction,
    ReasoningEffort,
    Role,
    Secret,
    SessionChange,
    SessionOptions,
    Tool,
    ToolExchange,
    TranscriptionDelay,
    TurnDetection,
    TurnDetectionKind,
)
from gateway.realtime.provider_registry import SessionFactory, open_session, providers, register_provider

# The one door for providers, ours and other packages': what `options` and `events` hold is had from here.
__all__ = [
    "Answered",
    "AudioDelta",
    "AudioFinished",
    "CallerIdle",
    "Capabilities",
    "ContextOptions",
    "ContextPolicy",
    "ContextTruncation",
    "Eagerness",
    "EventCallback",
    "HistoryItem",
    "HostedServer",
    "InputTranscript",
    "InputTranscriptFailed",
    "Interrupted",
    "ItemAdded",
    "ItemKind",
    "ItemRetrieved",
    "Message",
    "NoiseReduction",
    "OutputTranscript",
    "RateLimit",
    "RealtimeSession",
    "ReasoningEffort",
    "ReplyOverdue",
    "ResponseFinished",
    "ResponseStarted",
    "ResponseStatus",
    "ResumptionOffered",
    "Role",
    "Secret",
    "SessionChange",
    "SessionClosed",
    "SessionEvent",
    "SessionExpiring",
    "SessionFactory",
    "SessionFailed",
    "SessionOptions",
    "SessionReady",
    "SessionResumed",
    "SessionStatistics",
    "SessionSuspended",
    "SpeechStarted",
    "SpeechStopped",
    "Tool",
    "ToolCall",
    "ToolCalled",
    "ToolCancelled",
    "ToolExchange",
    "TranscriptionDelay",
    "TurnDetection",
    "TurnDetectionKind",
    "Usage",
    "UsageReported",
    "open_session",
    "providers",
    "register_provider",
]


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

    def say(self, text: str) -> None:
        """Let the model speak these words, as `respond` does; how exactly is the model's skill."""
        ...

    def ask(self, question_id: str, instructions: str) -> None:
        """Let the model write about the conversation, beside it and unheard; `Answered` follows."""
        ...

    def delete_item(self, item_id: str) -> None:
        """Take an item out of the conversation; nothing where it is not there."""
        ...

    def replace_items(self, item_ids: Sequence[str], summary_id: str, summary: str) -> None:
        """Take items out of the conversation, and put `summary` at its beginning, as words of the assistant.

        The summary's item is told by that id where the provider lets it be chosen.
        """
        ...

    def update(self, change: SessionChange) -> None:
        """Change what the session is asked to be."""
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
