"""``voicemail``: the caller leaves a message.

::

    PROMPTING ──PlayoutEnded, #──> WAITING ──MessageReady──> BEEPING ──PlayoutEnded──> RECORDING ──> over
                                     └── ready already, or READY_LIMIT_S ──^             #, MessageEnded
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum

from gateway.calls.events import (
    Command,
    DigitReceived,
    Event,
    PlayoutEnded,
    StartTimer,
    StopPlaying,
    TimerFired,
    TimerName,
)
from gateway.calls.events.steps import EndMessage, MessageEnded, MessageReady, PlayTone, PrepareMessage, RecordMessage
from gateway.calls.steps.question import PromptOf
from gateway.calls.steps.step import QUIET, Step
from gateway.dialplan.actions import Tone
from gateway.dialplan.mailboxes import Mailbox

END_KEY = "#"
BEEP_S = 0.4
READY_LIMIT_S = 2.0
"""How long the beep waits for whoever writes the message down."""
SPARE_S = 5.0
"""How much longer than a message may be it is waited for, where no audio comes that could end it."""


class _State(Enum):
    PROMPTING = "prompting"
    WAITING = "waiting"
    BEEPING = "beeping"
    RECORDING = "recording"


class Voicemail(Step):
    """One message. It counts whatever ends it: a key, silence, its length, the end of the call."""

    is_for_the_ear = True

    def __init__(self, mailbox: Mailbox, prompt: PromptOf) -> None:
        super().__init__()
        self._mailbox = mailbox
        self._prompt = prompt
        self._state = _State.PROMPTING
        self._is_ready = False

    def begin(self, at: datetime) -> list[Command]:
        """Get ready while the caller is told what to do."""
        prompt = self._prompt(at)
        prepare = PrepareMessage(mailbox=self._mailbox)
        return [prepare, prompt] if prompt is not None else [prepare, *self._wait()]

    def takes(self, digit: str) -> bool:
        """The key that ends the prompt, and the message."""
        return digit == END_KEY

    def on(self, event: Event, _at: datetime) -> list[Command]:
        """Go on to the beep, to the message, to its end."""
        match self._state, event:
            case _, MessageEnded():
                return self._over()
            case _, MessageReady():
                self._is_ready = True
                return self._beep() if self._state is _State.WAITING else []
            case _State.PROMPTING, PlayoutEnded():
                return self._wait()
            case _State.PROMPTING, DigitReceived(digit=digit) if digit == END_KEY:
                return [StopPlaying(), *self._wait()]
            case _State.WAITING, TimerFired():
                return self._beep()
            case _State.BEEPING, PlayoutEnded():
                return self._record()
            case _State.RECORDING, TimerFired():
                return self._over()
            case _State.RECORDING, DigitReceived(digit=digit) if digit == END_KEY:
                return self._over()
            case _:
                return []

    def leave(self) -> list[Command]:
        """What was said so far is a message."""
        return [*QUIET, EndMessage()]

    def end(self) -> list[Command]:
        """The same when the caller hangs up."""
        return [EndMessage()]

    def _wait(self) -> list[Command]:
        if self._is_ready:
            return self._beep()
        self._state = _State.WAITING
        return [StartTimer(timer=TimerName.STEP, delay_s=READY_LIMIT_S)]

    def _beep(self) -> list[Command]:
        if not self._mailbox.has_beep:
            return self._record()
        self._state = _State.BEEPING
        return [PlayTone(tone=Tone.BEEP, seconds=BEEP_S)]

    def _record(self) -> list[Command]:
        self._state = _State.RECORDING
        latest = StartTimer(timer=TimerName.STEP, delay_s=self._mailbox.limit_s + SPARE_S)
        return [RecordMessage(mailbox=self._mailbox), latest]

    def _over(self) -> list[Command]:
        self._finish()
        return [*QUIET, EndMessage()]
