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

from gateway.calls.escalation.events import EscalationCommand, FactNoticed
from gateway.calls.refusal import Refusal
from gateway.calls.step_events import StepCommand, StepEvent
from gateway.calls.transfer_state import TransferState
from gateway.dialplan.contacts import Acceptance, TransferMode
from gateway.dialplan.targets import DialTarget
from gateway.dialplan.triggers import BudgetUsed, CostOver


class TimerName(Enum):
    """The timers a call may run; each is restarted by starting it again."""

    ANNOUNCEMENT = "announcement"  # longest wait for the model's last sentence before a transfer or a hang-up
    DIGITS = "digits"  # pause after which the digits pressed so far are told to the model
    LIMIT = "limit"  # the longest a call may last
    RING = "ring"  # how long the target of an attended transfer may ring
    ACCEPT = "accept"  # how long a contact who has picked up may take to press a key
    JOIN = "join"  # how long caller and contact wait in silence for a PBX to join them, or to tell that it has
    RETRY = "retry"  # pause before a REFER that came too early is sent again
    CONSENT = "consent"  # how long the caller has to agree to be recorded
    STEP = "step"  # what the step under way waits for
    TALK = "talk"  # how long the caller has been with the session
    FAREWELL = "farewell"  # how long the caller has to say something before the call is ended


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
    """The caller's ACK is here; or, in a call of ours, the answer of whom we called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rang:
    """The telephone that we call rings, or is heard before it is picked up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Nobody took the call that we placed."""

    refusal: Refusal
    status: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerLeft:
    """Hung up, cancelled, or the network lost them. ``cause`` is a word for the record."""

    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerReplaced:
    """The PBX has put somebody else in the caller's place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerSpoke:
    """The model heard the caller begin to speak."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DigitReceived:
    """One key, once."""

    digit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolAsked:
    """The model wants a tool to be run. Names and arguments are its words, not to be trusted.

    ``turn`` counts what the caller has said so far.
    """

    call_id: str
    name: str
    arguments: Mapping[str, object]
    response_id: str = ""
    turn: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFailed:
    """A tool could not be run, or did not do what was asked."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayoutEnded:
    """All audio of the model (or of the file) has left for the telephone, and no more is on its way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferReported:
    """News of our REFER: a SIP status by its response or by NOTIFY (RFC 3515 2.4.5)."""

    status: int
    reason: str
    is_final: bool
    is_notified: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetProgressed:
    """A provisional status of our call to the target of an attended transfer, 101 to 199."""

    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetAnswered:
    """The target has picked up, and hears us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetRefused:
    """The target did not take our call."""

    refusal: Refusal
    status: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetLeft:
    """The target's call to us has ended, after it was answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerFound:
    """`SeekCaller`: the PBX has not moved the caller, whom we hear; what becomes of the REFER is not awaited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetPressed:
    """A key of the target, who has picked up and is not joined with the caller."""

    digit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WhisperEnded:
    """The target has heard all of `Whisper`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryReady:
    """What `AwaitSummary` waited for is there, or no longer waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerFired:
    """A timer started by `StartTimer` ran out."""

    timer: TimerName


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaLost:
    """Nothing has come from the caller for longer than anybody stays silent at a telephone; `cause` is for records."""

    cause: str = "no audio from the caller"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandFailed:
    """A command could not be carried out; ``reason`` says why. The call is not worth going on with."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetReached:
    """So much of a limit is used up, or so much money is spent. `limit` names the limit that is nearest."""

    mark: BudgetUsed | CostOver
    limit: str

    @property
    def is_final(self) -> bool:
        """Whether nothing is left."""
        return self.mark == BudgetUsed(1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class HangUpAsked:
    """An operator wants the call to end."""


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
    | Rang
    | Refused
    | CallerLeft
    | CallerReplaced
    | CallerSpoke
    | DigitReceived
    | ToolAsked
    | ToolFailed
    | PlayoutEnded
    | TransferReported
    | TargetProgressed
    | TargetAnswered
    | TargetRefused
    | TargetLeft
    | CallerFound
    | TargetPressed
    | WhisperEnded
    | SummaryReady
    | TimerFired
    | MediaLost
    | CommandFailed
    | BudgetReached
    | FactNoticed
    | HangUpAsked
    | DrainBegan
    | DrainEnded
    | StepEvent
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """Send 180 Ringing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSession:
    """Open the dialplan's session of that name; answers with `SessionOpened` or `SessionLost`.

    A session that is open already is closed, and heard of no more. ``variables`` are those of the call.
    """

    name: str
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseSession:
    """Let the session go; nothing more is heard of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dial:
    """Call whom the call is for; answers with `Rang`, and `Established` or `Refused`."""


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
    """Let caller and model hear each other, or not (while a file plays, or the PBX moves the caller).

    With ``lets_finish`` the caller still hears what the model is about to say, and is heard no more. With
    ``keeps_caller`` the model hears afterwards what the caller says meanwhile.
    """

    is_open: bool
    lets_finish: bool = False
    keeps_caller: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitPlayout:
    """Answer with `PlayoutEnded` as soon as nothing is left to be said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTool:
    """Run a tool of the session beside the call, and give the model its result."""

    call_id: str
    name: str
    arguments: Mapping[str, object]
    response_id: str = ""


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
class ShortenAnswers:
    """Ask the model for short answers from now on, and keep it from long ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """Play a sound file to the caller."""

    file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class StopPlaying:
    """Drop the rest of what `Play` plays; no `PlayoutEnded` follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRecording:
    """Record the call from now on, unless that is done already, or was ended before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseRecording:
    """Record silence, or no longer."""

    is_paused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRecording:
    """End the recording for good; `why` is for the record."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refer:
    """Ask the PBX to connect the caller with `target` (RFC 3515), one of the dialplan's."""

    target: DialTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class CallTarget:
    """Call the target of an attended transfer; answers with `TargetAnswered`, `TargetRefused` and the like.

    `trunk` is another one than the caller's; None: that one.
    """

    target: DialTarget
    trunk: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayRinging:
    """Let the caller hear a ring-back tone, or no longer; where there is `music`, that, again and again."""

    is_on: bool
    music: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AskSummary:
    """Begin to find out, beside the conversation, what `contact` has to know of the call, who is called by `mode`."""

    contact: str
    mode: TransferMode


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitSummary:
    """Answer with `SummaryReady` when it is there, or has been waited for long enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Whisper:
    """Let the target hear who calls, why, and which keys there are; answers with `WhisperEnded`."""

    acceptance: Acceptance


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOver:
    """Ask the PBX to put the caller in our place towards the target that has answered (RFC 5589 7)."""

    target: DialTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class SeekCaller:
    """Answer with `CallerFound` if the caller, whom the PBX was asked to move, is heard here now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinTarget:
    """Let caller and target hear each other through us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseTarget:
    """End our call to the target, whatever its stage; nothing more is heard of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteRefusedTransfer:
    """Write down that a transfer was refused before anybody was dialled, and why."""

    contact: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HangUp:
    """Send BYE; CANCEL to a call of ours that is not answered. `reason` is the value of a Reason header (RFC 3326)."""

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
    | CloseSession
    | Dial
    | Answer
    | Reject
    | Greet
    | BargeIn
    | BridgeAudio
    | AwaitPlayout
    | RunTool
    | ReplyToTool
    | TellModel
    | ShortenAnswers
    | Play
    | StopPlaying
    | StartRecording
    | PauseRecording
    | StopRecording
    | Refer
    | CallTarget
    | PlayRinging
    | AskSummary
    | AwaitSummary
    | Whisper
    | HandOver
    | SeekCaller
    | JoinTarget
    | ReleaseTarget
    | NoteRefusedTransfer
    | HangUp
    | StartTimer
    | StopTimer
    | StepCommand
    | EscalationCommand
)


class Outcome(Enum):
    """How a call ended, for the record."""

    CALLER_HUNG_UP = "caller-hung-up"
    CALLEE_HUNG_UP = "callee-hung-up"
    CANCELLED = "cancelled"
    GATEWAY_HUNG_UP = "gateway-hung-up"
    TRANSFERRED = "transferred"
    REJECTED = "rejected"
    REFUSED = "refused"  # nobody took the call that we placed
    FAILED = "failed"


class RecordingConsent(Enum):
    """Whether a caller agreed to be recorded, for the record."""

    GIVEN = "given"  # elsewhere, as the dialplan says
    ANNOUNCED = "announced"  # told, and stayed
    AGREED = "agreed"  # by a key
    DECLINED = "declined"  # by a key
    UNANSWERED = "unanswered"  # pressed no key
    WITHDRAWN = "withdrawn"  # agreed, and ended it

    @property
    def is_granted(self) -> bool:
        """Whether the caller may be recorded."""
        return self in (RecordingConsent.GIVEN, RecordingConsent.ANNOUNCED, RecordingConsent.AGREED)


@dataclass(slots=True, kw_only=True)
class CallNotes:
    """What the call's record tells beyond its numbers; written by the state machine only."""

    outcome: Outcome | None = None
    cause: str = ""
    session: str | None = None
    transfer_target: str | None = None
    transfer_state: TransferState | None = None  # of the last attempt
    refusal: Refusal | None = None  # why nobody took the call that we placed
    escalations: list[str] = field(default_factory=list)
    consent: RecordingConsent | None = None  # None: the caller has not been asked, or not decided
    failed_tools: int = 0
