"""The log's view of calls: one canonical line when a call has ended, with everything an operator asks about it first.

Numbers are masked to their last three digits unless the operator decides otherwise; words that were spoken are never
logged.
"""

from __future__ import annotations

import structlog

from gateway.calls.record import CallRecord, LeftMessage, Speech
from gateway.dialplan.triggers import TRIGGER_WORDS, Escalation
from gateway.media.engine import LegStatistics

_log = structlog.stdlib.get_logger("gateway.calls")


def masked(number: str) -> str:
    """`number` with all but its last three digits hidden; names (``anonymous``) stay."""
    if not any(c.isdigit() for c in number):
        return number
    return "…" + number[-3:]


class CallLogbook:
    """A `CallObserver` that writes the canonical line."""

    def __init__(self, *, masks_numbers: bool = True) -> None:
        self._masks_numbers = masks_numbers

    def call_started(self, record: CallRecord) -> None:
        """Say that a call is there, and which route it took."""
        _log.info("call started", **self._identity(record), identity=record.identity)

    def spoken(self, record: CallRecord, speech: Speech) -> None:
        """Words are not for the log; their number is."""
        _log.debug("speech", call_id=record.call_id, speaker=speech.speaker.value, characters=len(speech.text))

    def party_changed(self, record: CallRecord) -> None:
        """Say who is at the other end now."""
        _log.info("connected line", call_id=record.call_id, trunk=record.trunk, connected=self._connected(record))

    def escalated(self, record: CallRecord, escalation: Escalation) -> None:
        """Say which escalation fires, and what set it off."""
        trigger = TRIGGER_WORDS[type(escalation.trigger)]
        _log.info("escalation", call_id=record.call_id, escalation=escalation.name, trigger=trigger)

    def call_ended(self, record: CallRecord) -> None:
        """The canonical line."""
        recording = record.recording
        _log.info(
            "call ended",
            **self._identity(record),
            outcome=record.outcome.value if record.outcome else "failed",
            cause=record.cause,
            connected=self._connected(record),
            session=record.session,
            transfer=record.transfer_target,
            transfer_state=record.transfer_state.value if record.transfer_state else None,
            escalations=list(record.escalations),
            failed_verdicts=record.failed_verdicts,
            duration_s=round(record.duration_s, 1),
            setup_ms=record.setup_ms,
            provider_ready_ms=record.provider_ready_ms,
            first_audio_ms=record.first_audio_ms,
            barge_ins=record.barge_ins,
            tools=record.tools,
            failed_tools=record.failed_tools,
            messages=len(record.messages),
            notes=len(record.notes),
            left=[_left(message) for message in record.left],
            reconnects=record.reconnects,
            renewals=record.renewals,
            longest_gap_ms=record.longest_gap_ms,
            codec=record.codec,
            srtp=record.srtp,
            recording_consent=record.consent.value if record.consent else None,
            recording=str(recording.file) if recording and recording.file else None,
            recording_s=round(recording.seconds, 1) if recording else None,
            recording_ended=(recording.ended_early or None) if recording else None,
            **_spending(record),
            one_way_audio=list(record.one_way_audio),
            **_media_figures(record.media),
        )

    def _connected(self, record: CallRecord) -> str | None:
        connected = record.connected
        return masked(connected) if connected and self._masks_numbers else connected

    def _identity(self, record: CallRecord) -> dict[str, str]:
        caller, called = record.caller, record.called
        if self._masks_numbers:
            caller, called = masked(caller), masked(called)
        return {
            "call_id": record.call_id,
            "direction": record.direction.value,
            "trunk": record.trunk,
            "from": caller,
            "to": called,
            "route": record.route,
        }


def _spending(record: CallRecord) -> dict[str, object]:
    """What the call has used, and what that costs; text and audio apart, since their prices are."""
    used, written = record.usage, record.transcription
    figures: dict[str, object] = {
        "cost": None if record.cost is None else round(float(record.cost), 6),
        "currency": record.currency or None,
        "input_tokens": used.input_tokens,
        "output_tokens": used.output_tokens,
        "cached_tokens": used.cached_tokens,
        "input_text_tokens": used.input_text_tokens,
        "input_audio_tokens": used.input_audio_tokens,
        "output_text_tokens": used.output_text_tokens,
        "output_audio_tokens": used.output_audio_tokens,
    }
    if written.input_tokens or written.output_tokens:
        figures["transcription_tokens"] = written.input_tokens + written.output_tokens
    if used.seconds or written.seconds:
        figures["billed_s"] = round(used.seconds + written.seconds, 1)
    return figures


def _media_figures(media: LegStatistics | None) -> dict[str, float | None]:
    """What the audio was like; where there was none, nothing was sent."""
    if media is None:
        return {"rtp_received": 0, "rtp_sent": 0, "rtp_lost": 0, "jitter_ms": None}
    return {
        "rtp_received": media.packets_received,
        "rtp_sent": media.packets_sent,
        "rtp_lost": media.packets_lost,
        "jitter_ms": round(media.jitter_ms, 1),
        "mos": media.mos,
        "rtcp_received": media.reports_received,
        "rtt_ms": _rounded(media.round_trip_ms),
        "remote_lost": media.remote_lost,
        "remote_jitter_ms": _rounded(media.remote_jitter_ms),
        "remote_mos": media.remote_mos,
    }


def _left(message: LeftMessage) -> dict[str, object]:
    """What was left in a mailbox, without its words."""
    file = None if message.file is None else str(message.file)
    return {
        "kind": message.kind.value,
        "mailbox": message.mailbox,
        "file": file,
        "seconds": round(message.seconds, 1),
    }


def _rounded(figure_ms: float | None) -> float | None:
    return None if figure_ms is None else round(figure_ms, 1)
