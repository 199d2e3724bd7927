"""Whether the two ends of a call hear each other, looked at once a second and told once a change.

::

    nothing for 4 s ───────────────────────────> rx=0          packets come, digital silence in all ──> rx silent
    ICMP errors in 3 of 4 looks ───────────────> tx refused    two reports that do not know us ───────> tx unheard

What is found within five seconds is a line in the log, a figure of the status and a word of the record; nothing here
ends a call. While a peer need not be heard (on hold, while it is transferred) nothing is found, and what was found is
over; when it is expected again its time begins anew.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

LOOK_EVERY_S = 1.0
NOTHING_FOR_S = 3.9
"""Found by the fourth look after the last packet, or the fifth."""
REFUSED_LOOKS, REMEMBERED_LOOKS = 3, 4
UNHEARD_REPORTS = 2


class Flaw(Enum):
    """What is wrong with one direction. The value is for people."""

    NOTHING_RECEIVED = "rx=0"
    ONLY_SILENCE = "rx silent"  # a muted telephone, or a microphone that nobody may use; sound ends it for good
    REFUSED = "tx refused"  # the network says that nobody listens on the peer's port
    UNHEARD = "tx unheard"  # the peer's reports tell of nothing received


@dataclass(slots=True)
class OneWayAudio:
    """How many calls have, and had, audio in one direction only."""

    present: int = 0
    since_start: Counter[Flaw] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, int]:
        """For the status: calls at present, and times since the start by flaw."""
        counted = {flaw.value: self.since_start[flaw] for flaw in Flaw if self.since_start[flaw]}
        return {"present": self.present, **counted}


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What is there of a peer who is expected to send. Times are monotonic seconds, None: never."""

    expected_since_s: float
    last_received_s: float | None
    last_report_s: float | None
    has_sound: bool
    unheard_reports: int
    icmp_errors: int
    """since the port was opened"""


class MediaWatch:
    """Watches one call; `counters` are those of all."""

    def __init__(self, counters: OneWayAudio) -> None:
        self._counters = counters
        self._refusals: deque[bool] = deque(maxlen=REMEMBERED_LOOKS)
        self._icmp_errors: int | None = None  # at the last look
        self.expected_since_s: float | None = None
        """When the peer was last expected anew; None while it is not."""
        self.flaws: frozenset[Flaw] = frozenset()
        """What is wrong now."""
        self.found: tuple[Flaw, ...] = ()
        """What has been wrong, in the order in which it was found."""

    def look(self, seen: Observation | None, now: float) -> bool:
        """Judge; whether `flaws` has changed by it. None: the peer need not send."""
        if seen is None:
            self.expected_since_s = self._icmp_errors = None
            self._refusals.clear()
            return self._note(frozenset())
        if self.expected_since_s is None:
            self.expected_since_s = now
        self._note_refusal(seen.icmp_errors)
        return self._note(frozenset(self._judge(seen, max(self.expected_since_s, seen.expected_since_s), now)))

    def close(self) -> None:
        """The call is over; it counts among the present ones no more."""
        self._note(frozenset())

    def _judge(self, seen: Observation, since_s: float, now: float) -> Iterable[Flaw]:
        if now - max(since_s, seen.last_received_s or since_s) >= NOTHING_FOR_S:
            yield Flaw.NOTHING_RECEIVED
        elif not seen.has_sound and now - since_s >= NOTHING_FOR_S:
            yield Flaw.ONLY_SILENCE
        is_refused = Flaw.REFUSED in self.flaws  # once it is, a single error keeps it so
        if sum(self._refusals) >= (1 if is_refused else REFUSED_LOOKS):
            yield Flaw.REFUSED
        if seen.unheard_reports >= UNHEARD_REPORTS:
            yield Flaw.UNHEARD

    def _note_refusal(self, icmp_errors: int) -> None:
        if self._icmp_errors is not None:
            self._refusals.append(icmp_errors > self._icmp_errors)
        self._icmp_errors = icmp_errors

    def _note(self, flaws: frozenset[Flaw]) -> bool:
        if flaws == self.flaws:
            return False
        new = [flaw for flaw in Flaw if flaw in flaws - self.flaws]
        self._counters.since_start.update(new)
        self._counters.present += bool(flaws) - bool(self.flaws)
        self.found += tuple(flaw for flaw in new if flaw not in self.found)
        self.flaws = flaws
        return True


def facts(seen: Observation, now: float) -> dict[str, Any]:
    """What is known of the peer, for the log."""
    return {
        "rx_ago_s": _ago(seen.last_received_s, now),
        "rtcp_ago_s": _ago(seen.last_report_s, now),
        "icmp_errors": seen.icmp_errors,
    }


def _ago(at_s: float | None, now: float) -> float | None:
    return None if at_s is None else round(now - at_s, 1)
