"""What happens to a call, and what is to be done about it: the words between `Call` and `CallTask`.

Events are past participles and come from the telephone, the model, the media and the clock; commands are verbs and are
carried out by the call's task, in order. Audio is neither: it goes from leg to session and back without passing here.

A module for each of those whom a call speaks with: `line`, `session`, `transfer`, `sound`, `recording`, `clock`,
`steps` (of the dialplan) and `service` (the gateway itself). What these hold is had from here, that of `steps` apart;
what escalations tell and ask is in `gateway.calls.escalation.events`.
"""

from __future__ import annotations

from typing import TypeAlias

from gateway.calls.escalation.events import EscalationCommand, FactNoticed
from gateway.calls.events.clock import StartTimer, StopTimer, TimerCommand, TimerFired, TimerName
from gateway.calls.events.line import (
    Answer,
    CallerLeft,
    CallerReplaced,
    Dial,
    DigitReceived,
    Established,
    HangUp,
    LineCommand,
    LineEvent,
    MediaLost,
    Rang,
    Refused,
    Reject,
    Ring,
)
from gateway.calls.events.recording import PauseRecording, RecordingCommand, StartRecording, StopRecording
from gateway.calls.events.service import (
    BudgetReached,
    CommandFailed,
    DrainBegan,
    DrainEnded,
    HangUpAsked,
    ServiceEvent,
    Started,
)
from gateway.calls.events.session import (
    BargeIn,
    BridgeAudio,
    CallerSpoke,
    CloseSession,
    Greet,
    OpenSession,
    ReplyToTool,
    RunTool,
    SessionCommand,
    SessionEvent,
    SessionLost,
    SessionOpened,
    ShortenAnswers,
    TellModel,
    ToolAsked,
    ToolFailed,
)
from gateway.calls.events.sound import AwaitPlayout, Play, PlayoutEnded, SoundCommand, StopPlaying
from gateway.calls.events.steps import StepCommand, StepEvent
from gateway.calls.events.transfer import (
    AskSummary,
    AwaitSummary,
    CallerFound,
    CallTarget,
    HandOver,
    JoinTarget,
    NoteRefusedTransfer,
    PlayRinging,
    Refer,
    ReleaseTarget,
    SeekCaller,
    SummaryReady,
    TargetAnswered,
    TargetLeft,
    TargetPressed,
    TargetProgressed,
    TargetRefused,
    TransferCommand,
    TransferEvent,
    TransferReported,
    Whisper,
    WhisperEnded,
)
from gateway.calls.notes import CallNotes, Outcome, RecordingConsent

__all__ = [
    "Answer",
    "AskSummary",
    "AwaitPlayout",
    "AwaitSummary",
    "BargeIn",
    "BridgeAudio",
    "BudgetReached",
    "CallNotes",
    "CallTarget",
    "CallerFound",
    "CallerLeft",
    "CallerReplaced",
    "CallerSpoke",
    "CloseSession",
    "Command",
    "CommandFailed",
    "Dial",
    "DigitReceived",
    "DrainBegan",
    "DrainEnded",
    "Established",
    "Event",
    "Greet",
    "HandOver",
    "HangUp",
    "HangUpAsked",
    "JoinTarget",
    "MediaLost",
    "NoteRefusedTransfer",
    "OpenSession",
    "Outcome",
    "PauseRecording",
    "Play",
    "PlayRinging",
    "PlayoutEnded",
    "Rang",
    "RecordingConsent",
    "Refer",
    "Refused",
    "Reject",
    "ReleaseTarget",
    "ReplyToTool",
    "Ring",
    "RunTool",
    "SeekCaller",
    "SessionLost",
    "SessionOpened",
    "ShortenAnswers",
    "StartRecording",
    "StartTimer",
    "Started",
    "StopPlaying",
    "StopRecording",
    "StopTimer",
    "SummaryReady",
    "TargetAnswered",
    "TargetLeft",
    "TargetPressed",
    "TargetProgressed",
    "TargetRefused",
    "TellModel",
    "TimerFired",
    "TimerName",
    "ToolAsked",
    "ToolFailed",
    "TransferReported",
    "Whisper",
    "WhisperEnded",
]

Event: TypeAlias = (
    LineEvent | SessionEvent | TransferEvent | PlayoutEnded | TimerFired | ServiceEvent | StepEvent | FactNoticed
)
Command: TypeAlias = (
    LineCommand
    | SessionCommand
    | RunTool
    | TransferCommand
    | NoteRefusedTransfer
    | SoundCommand
    | RecordingCommand
    | TimerCommand
    | StepCommand
    | EscalationCommand
)
