"""A transfer: what the PBX and whoever is called tell, and what is asked of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from gateway.calls.transfers.refusal import Refusal
from gateway.dialplan.contacts import Acceptance, TransferMode
from gateway.dialplan.targets import DialTarget


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
class CallerFound:
    """`SeekCaller`: the PBX has not moved the caller, whom we hear; what becomes of the REFER is not awaited."""


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


TransferEvent: TypeAlias = (
    TransferReported
    | TargetProgressed
    | TargetAnswered
    | TargetRefused
    | TargetLeft
    | TargetPressed
    | WhisperEnded
    | SummaryReady
    | CallerFound
)
TransferCommand: TypeAlias = (
    Refer
    | CallTarget
    | PlayRinging
    | AskSummary
    | AwaitSummary
    | Whisper
    | HandOver
    | SeekCaller
    | JoinTarget
    | ReleaseTarget
)
