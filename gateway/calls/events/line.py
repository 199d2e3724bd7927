"""The line to the caller: what it tells, and what it is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from gateway.calls.transfers.refusal import Refusal


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
class DigitReceived:
    """One key, once."""

    digit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaLost:
    """Nothing has come from the caller for longer than anybody stays silent at a telephone; `cause` is for records."""

    cause: str = "no audio from the caller"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """Send 180 Ringing."""


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
class HangUp:
    """Send BYE; CANCEL to a call of ours that is not answered. `reason` is the value of a Reason header (RFC 3326)."""

    reason: str | None = None


LineEvent: TypeAlias = Established | Rang | Refused | CallerLeft | CallerReplaced | DigitReceived | MediaLost
LineCommand: TypeAlias = Ring | Dial | Answer | Reject | HangUp
