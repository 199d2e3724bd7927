"""The timers of a call."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias


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
class TimerFired:
    """A timer started by `StartTimer` ran out."""

    timer: TimerName


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTimer:
    """Fire `TimerFired` after `delay_s`."""

    timer: TimerName
    delay_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StopTimer:
    """Forget a timer, whether it runs or not."""

    timer: TimerName


TimerCommand: TypeAlias = StartTimer | StopTimer
