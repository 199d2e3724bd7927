"""The transcript in a call's record, and the clock that its times are told by."""

from __future__ import annotations

from collections.abc import Callable

from gateway.calls.record import CallObserver, CallRecord, Speech

MAX_TRANSCRIPT = 5000
"""Sentences of one call that are kept; `observer` hears of those behind, too."""


class TranscriptBook:
    """Writes into `record`. `clock` gives monotonic seconds."""

    def __init__(self, record: CallRecord, observer: CallObserver, clock: Callable[[], float]) -> None:
        self._record = record
        self._observer = observer
        self._clock = clock

    def now_ms(self) -> int:
        """Since the ACK; 0 before."""
        since = self._record.established_s
        return 0 if since is None else round((self._clock() - since) * 1000)

    def write_down(self, speech: Speech) -> None:
        """A sentence is over."""
        if len(self._record.transcript) < MAX_TRANSCRIPT:
            self._record.transcript.append(speech)
        self._observer.spoken(self._record, speech)
