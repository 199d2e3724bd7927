"""What steps ask for, and what they are told: the part of `gateway.calls.events` that is theirs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from gateway.dialplan.actions import Action, Tone
from gateway.dialplan.mailboxes import Mailbox
from gateway.dialplan.tools import HttpRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechBegan:
    """Whoever listens to the caller for the dialplan hears them begin to speak."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WordsHeard:
    """One turn of the caller, by whoever listens for the dialplan; "" where nothing was understood."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechReady:
    """The text of `PrepareSpeech` can be heard, or will not be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HookAnswered:
    """A web service has said what is to be done; both are checked."""

    actions: tuple[Action, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class HookFailed:
    """A web service has not said anything that can be followed; why is in the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageReady:
    """A message may be left: whoever writes it down listens, or nobody will."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageEnded:
    """The caller has been silent for so long, or has spoken for as long as they may; or nobody keeps messages."""


StepEvent: TypeAlias = SpeechBegan | WordsHeard | SpeechReady | HookAnswered | HookFailed | MessageReady | MessageEnded


@dataclass(frozen=True, slots=True, kw_only=True)
class Speak:
    """Speak a text to the caller; `PlayoutEnded` follows when it was heard, and also when it cannot be spoken.

    One that ``is_personal`` holds something of this caller: its sound is not kept for others. ``use`` is the realtime
    session of the configuration that speaks it; "" is the plan's.
    """

    text: str
    is_personal: bool = False
    use: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareSpeech:
    """Have a text spoken that the caller is to hear soon; `SpeechReady` follows when it begins to sound."""

    speech: Speak


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayTone:
    """Play a tone for so long; `PlayoutEnded` follows."""

    tone: Tone
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Tell what the caller says from now on: `SpeechBegan`, `WordsHeard`. ``phrases`` are likely to be said."""

    phrases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StopListening:
    """Nothing more is to be told of the caller's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskHook:
    """Ask a web service what is to be done; answers with `HookAnswered` or `HookFailed`.

    ``values`` are the variables of the call, ``keys`` those that the caller has pressed in menus.
    """

    request: HttpRequest
    values: Mapping[str, str]
    keys: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DropHook:
    """The answer of a web service is of no interest any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareMessage:
    """Get ready to take a message; answers with `MessageReady`, or `MessageEnded` where none can be left."""

    mailbox: Mailbox


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordMessage:
    """Record the caller from now on; answers with `MessageEnded`."""

    mailbox: Mailbox


@dataclass(frozen=True, slots=True, kw_only=True)
class EndMessage:
    """Record no more. What was said is a message if somebody spoke."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveWish:
    """Keep that the caller wants to be called back at ``number``."""

    mailbox: Mailbox
    number: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteLostWish:
    """Write down that a wish to be called back could not be kept, and why."""

    mailbox: Mailbox
    why: str


StepCommand: TypeAlias = (
    PrepareSpeech
    | Speak
    | PlayTone
    | Listen
    | StopListening
    | AskHook
    | DropHook
    | PrepareMessage
    | RecordMessage
    | EndMessage
    | LeaveWish
    | NoteLostWish
)
