"""The caller is told that they are recorded, or asked whether they may be, before the session begins."""

from __future__ import annotations

from datetime import datetime

from gateway.calls.agreement import NO_LONGER_ASKING
from gateway.calls.call_state import CallState
from gateway.calls.course import Course, Transitions
from gateway.calls.events import (
    CallerReplaced,
    Command,
    DigitReceived,
    PlayoutEnded,
    RecordingConsent,
    SessionLost,
    StartTimer,
    TimerFired,
    TimerName,
)
from gateway.calls.phases.conversing import begin_session, lose_session, settle_consent
from gateway.calls.phases.keys import on_digit
from gateway.dialplan.model import Consent


def _on_played(call: Course, _event: PlayoutEnded, at: datetime) -> list[Command]:
    """Who stays after an announcement agrees; after a question a key decides."""
    record = call.record
    if record is not None and record.consent is Consent.ASK:
        return [StartTimer(timer=TimerName.CONSENT, delay_s=record.wait_s)]
    return settle_consent(call, RecordingConsent.ANNOUNCED, at)


def _on_digit(call: Course, event: DigitReceived, at: datetime) -> list[Command]:
    consent = call.agreement.answer(event.digit, call.record)
    if consent is not None:
        return settle_consent(call, consent, at)
    return on_digit(call, event, at)


def _on_silence(call: Course, _event: TimerFired, at: datetime) -> list[Command]:
    return settle_consent(call, RecordingConsent.UNANSWERED, at)


def _on_session_lost(call: Course, event: SessionLost, at: datetime) -> list[Command]:
    return [*NO_LONGER_ASKING, *lose_session(call, event, at)]


def _on_caller_replaced(call: Course, _event: CallerReplaced, at: datetime) -> list[Command]:
    """Who is on the line now has not heard what was played to the other one."""
    call.forget_caller()
    return [*NO_LONGER_ASKING, *begin_session(call, at)]


_S = CallState

CONSENTING: Transitions = {
    (_S.CONSENTING, PlayoutEnded): _on_played,
    (_S.CONSENTING, DigitReceived): _on_digit,
    (_S.CONSENTING, TimerName.CONSENT): _on_silence,
    (_S.CONSENTING, SessionLost): _on_session_lost,
    (_S.CONSENTING, CallerReplaced): _on_caller_replaced,
}
