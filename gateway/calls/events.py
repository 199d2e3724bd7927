"""What happens to a call, and what is to be done about it: the words between `Call` and `CallTask`.

Events are past participles and come from the telephone, the model, the media and the clock; commands are verbs and are
carried out by the call's task, in order. Audio is neither: it goes from leg to session and back without passing here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TypeAlias

from gateway.dialplan.targets import DialTarget


class TimerName(Enum):
    """The timers a call may run; each is restarted by starting it again."""

    ANNOUNCEMENT = "announcement"  # longest wait for the model's last sentence before a transfer or a hang-up
    DIGITS = "digits"  # pause after which the digits pressed so far are told to the model
    LIMIT = "limit"  # the longest a call may last


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The dialplan has decided; nothing but 100 Trying has been sent yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOpened:
    """The realtime session is configured and listens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLost:
    """The session could not be opened, or has ended without our asking."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Established:
    """The caller's ACK is here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerLeft:
    """Hung up, cancelled, or the network lost them. ``cause`` is a word for the record."""

    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerSpoke:
    """The model heard the caller begin to speak."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DigitReceived:
    """One key, once."""

    digit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolAsked:
    """The model wants a tool to be run. Names and arguments are its words, not to be trusted."""

    call_id: str
    name: str
    arguments: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayoutEnded:
    """All audio of the model (or of the file) has left for the telephone, and no more is on its way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferReported:
    """News of our REFER: a SIP status by its response or by NOTIFY (RFC 3515 2.4.5)."""

    status: int
    reason: str
    is_final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerFired:
    """A timer started by `StartTimer` ran out."""

    timer: TimerName


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaLost:
    """Nothing has come from the caller for longer than anybody stays silent at a telephone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandFailed:
    """A command could not be carried out; ``reason`` says why. The call is not worth going on with."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainBegan:
    """The gateway is going down: the call may go on, but begins nothing new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainEnded:
    """The gateway stops now; whoever is still talking is let go."""


Event: TypeAlias = (
    Started
    | SessionOpened
    | SessionLost
    | Established
    | CallerLeft
    | CallerSpoke
    | DigitReceived
    | ToolAsked
    | PlayoutEnded
    | TransferReported
    | TimerFired
    | MediaLost
    | CommandFailed
    | DrainBegan
    | DrainEnded
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """Send 180 Ringing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSession:
    """Open the dialplan's session of that name; answers with `SessionOpened` or `SessionLost`.

    A session that is open already is closed, and heard of no more.
    """

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Send 200 OK; the leg's media starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """Refuse the call with a final status, 400 to 699."""

    status: int
    reason: str | None = None
    retry_after_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Greet:
    """Let the session speak first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BargeIn:
    """Silence the model at once and tell it how much of its words was heard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeAudio:
    """Let caller and model hear each other, or not (while a file plays, or the PBX moves the caller)."""

    is_open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitPlayout:
    """Answer with `PlayoutEnded` as soon as nothing is left to be said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyToTool:
    """Give the model a tool's result, which is data; `respond` makes it speak about it."""

    call_id: str
    output: Mapping[str, object]
    respond: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TellModel:
    """Put a fact into the conversation (digits pressed, a transfer that failed) and let the model react."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """Play a sound file to the caller."""

    file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Refer:
    """Ask the PBX to connect the caller with `target` (RFC 3515), one of the dialplan's."""

    target: DialTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class HangUp:
    """Send BYE. `reason` is the text of its Reason header (RFC 3326), if any."""

    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTimer:
    """Fire `TimerFired` after `delay_s`."""

    timer: TimerName
    delay_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StopTimer:
    """Forget a timer, whether it runs or not."""

    timer: TimerName


Command: TypeAlias = (
    Ring
    | OpenSession
    | Answer
    | Reject
    | Greet
    | BargeIn
    | BridgeAudio
    | AwaitPlayout
    | ReplyToTool
    | TellModel
    | Play
    | Refer
    | HangUp
    | StartTimer
    | StopTimer
)


class Outcome(Enum):
    """How a call ended, for the record."""

    CALLER_HUNG_UP = "caller-hung-up"
    CANCELLED = "cancelled"
    GATEWAY_HUNG_UP = "gateway-hung-up"
    TRANSFERRED = "transferred"
    REJECTED = "rejected"
    FAILED = "failed"


@dataclass(slots=True, kw_only=True)
class CallNotes:
    """What the call's record tells beyond its numbers; written by the state machine only."""

    outcome: Outcome | None = None
    cause: str = ""
    session: str | None = None
    transfer_target: str | None = None
    escalations: list[str] = field(default_factory=list)
