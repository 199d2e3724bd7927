"""``callback``: it is noted that the caller wants to be called back, and they are told so in the plan's language."""

from __future__ import annotations

import re
from datetime import datetime

from gateway.calls.events import Command, Event, PlayoutEnded
from gateway.calls.events.steps import LeaveWish, NoteLostWish, Speak
from gateway.calls.steps.step import Step
from gateway.dialplan.mailboxes import Mailbox
from gateway.dialplan.own_phrases import OwnPhrases

WITHHELD = "the caller shows no number"
INVALID = "what the caller entered is no number"
_NUMBER = re.compile(r"\+?[0-9]{2,32}")
_MARKS = re.compile(r"[ ()/.-]")


class Callback(Step):
    """One wish to be called back at ``number``, as it was given; what is no number is refused.

    ``is_own``: it is the one that the caller has, which is withheld then.
    """

    def __init__(self, mailbox: Mailbox, number: str, phrases: OwnPhrases, *, is_own: bool = False) -> None:
        super().__init__()
        self._mailbox = mailbox
        self._number = dialable(number)
        self._why = WITHHELD if is_own else INVALID
        refusal = phrases.callback_withheld if is_own else phrases.callback_invalid
        self._answer = self.opening = Speak(text=phrases.callback if self._number else refusal)

    def begin(self, _at: datetime) -> list[Command]:
        """Note it, or why it cannot be, and say so."""
        if self._number:
            return [LeaveWish(mailbox=self._mailbox, number=self._number), self._answer]
        return [NoteLostWish(mailbox=self._mailbox, why=self._why), self._answer]

    def on(self, event: Event, _at: datetime) -> list[Command]:
        """It is over when it has been said."""
        return self._finish() if isinstance(event, PlayoutEnded) else []


def dialable(text: str) -> str:
    """The digits of a number, without what people write between them; "" for what is none."""
    number = _MARKS.sub("", text.strip())
    return number if _NUMBER.fullmatch(number) else ""
