"""What a step is: one action under way, pure as the call itself.

::

    Call ──begin──> [Command]
         ──on(event)──> [Command] …  until `follows` is there: actions that come before what is left of the call's
         ──leave──> [Command]        something else takes its place: a key's escalation, for example

A step hears of no event that is not its own: `Call` keeps hang-up, drain, budgets and the loss of the session to
itself. When the call ends under a step, all that the task owns is released; `end` is for what has to be said then.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime

from gateway.calls.events import Command, Event, StopPlaying, StopTimer, TimerName
from gateway.calls.events.steps import Speak
from gateway.dialplan.actions import Action

QUIET: tuple[Command, ...] = (StopTimer(timer=TimerName.STEP), StopPlaying())
"""What ends waiting and whatever is played or spoken."""


class Step(ABC):
    """One action under way."""

    needs_answer: bool = True
    """Whether the call has to be answered first."""
    is_for_the_ear: bool = False
    """Whether it makes no sense to somebody who has not heard its beginning."""
    is_protected: bool = False
    """Whether the caller hears it to its end: keys wait until then."""
    opening: Speak | None = None
    """What it begins to speak with."""
    trailing: str = ""
    """A key that the caller may still press behind a step that is over, and that then means nothing."""

    def __init__(self) -> None:
        self.follows: tuple[Action, ...] | None = None
        """None while it is under way; then what is to be done next, before what is left."""

    @abstractmethod
    def begin(self, at: datetime) -> list[Command]:
        """Begin; it may be over at once."""

    @abstractmethod
    def on(self, event: Event, at: datetime) -> list[Command]:
        """What follows from `event`: `PlayoutEnded`, `DigitReceived`, `TimerFired` of STEP, and those of steps."""

    def takes(self, _digit: str) -> bool:
        """Whether a key is this step's, though the dialplan has an escalation for it."""
        return False

    def leave(self) -> list[Command]:
        """Something else takes its place: end what was begun."""
        return list(QUIET)

    def end(self) -> list[Command]:
        """The call has ended meanwhile, by whatever cause."""
        return []

    def _finish(self, actions: Sequence[Action] | None = ()) -> list[Command]:
        """It is over; `actions` follow."""
        self.follows = tuple(actions or ())
        return []
