"""Whether the caller has agreed to be recorded, and whether they are; pure, and part of `Call`.

A session that is recorded begins when that is settled: the caller is told or asked first, unless they agreed elsewhere
or decided earlier in the call. Nobody who declined, or agreed and withdrew it, is recorded or asked again.
"""

from __future__ import annotations

from pathlib import Path

from gateway.calls.events import (
    CallNotes,
    Command,
    PauseRecording,
    RecordingConsent,
    StartRecording,
    StopPlaying,
    StopRecording,
    StopTimer,
    TimerName,
)
from gateway.dialplan.actions import RecordingChange
from gateway.dialplan.model import Consent, RecordPlan

NO_LONGER_ASKING: tuple[Command, ...] = (StopTimer(timer=TimerName.CONSENT), StopPlaying())
"""What ends the question that is being played, or waited for."""


class RecordingAgreement:
    """One caller's agreement, kept in the `notes` of the call, and what follows from it.

    `record` is everywhere what the dialplan wants of the present session; None: it is not recorded.
    """

    def __init__(self, notes: CallNotes) -> None:
        self._notes = notes
        self._is_recorded = False

    def question(self, record: RecordPlan | None) -> Path | None:
        """What the caller has to hear before the session begins; None: it may begin."""
        if record is None:
            return None
        if self._notes.consent is None and record.consent is Consent.GIVEN:
            self._notes.consent = RecordingConsent.GIVEN
        return record.play if self._notes.consent is None else None

    def begin(self, record: RecordPlan | None) -> list[Command]:
        """The session begins."""
        return self.stop("the session is not recorded") if record is None else self._start()

    def answer(self, digit: str, record: RecordPlan | None) -> RecordingConsent | None:
        """What a key says to the question; None: nothing."""
        if record is None or record.consent is not Consent.ASK:
            return None
        return {record.decline: RecordingConsent.DECLINED, record.agree: RecordingConsent.AGREED}.get(digit)

    def settle(self, consent: RecordingConsent) -> list[Command]:
        """The question is answered."""
        self._notes.consent = consent
        return [*NO_LONGER_ASKING, *self._start()]

    def change(self, change: RecordingChange) -> list[Command]:
        """The dialplan wants the recording changed; nothing where there is none."""
        if change is RecordingChange.STOP:
            self._notes.consent = RecordingConsent.WITHDRAWN
            return self.stop("stopped by the dialplan")
        return [PauseRecording(is_paused=change is RecordingChange.PAUSE)] if self._is_recorded else []

    def join_contact(self, record: RecordPlan | None) -> list[Command]:
        """Caller and contact talk. Who agreed is the caller alone, unless the dialplan says otherwise."""
        return [] if record is not None and record.has_contacts else self.stop("caller and contact talk")

    def stop(self, why: str) -> list[Command]:
        """End the recording, if there is one."""
        was_recorded, self._is_recorded = self._is_recorded, False
        return [StopRecording(why=why)] if was_recorded else []

    def _start(self) -> list[Command]:
        if self._is_recorded or self._notes.consent is None or not self._notes.consent.is_granted:
            return []
        self._is_recorded = True
        return [StartRecording()]
