"""Reliable provisional responses (RFC 3262), for the side that sends them and for the side that acknowledges them.

::

    INVITE -> 183, Require: 100rel, RSeq: 7 -> repeated T1, 2*T1, 4*T1 ... until PRACK, RAck: 7 1 INVITE -> 200
                                            `- no PRACK for 64*T1 -> the INVITE is refused

One is under way at a time; what the application has to say meanwhile waits its turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from gateway.errors import MessageError, shown
from gateway.sip.core import Core, HeaderFields, listed
from gateway.sip.grammar import parse_number
from gateway.sip.headers import MAXIMUM_CSEQ
from gateway.sip.message import Request, Response
from gateway.sip.sdp import SessionDescription
from gateway.sip.timers import Alarm
from gateway.sip.transaction import Transaction

OPTION_TAG = "100rel"
MAXIMUM_WAITING = 8
"""Provisional responses that wait for a PRACK before theirs; of more, the latest are left out."""
_LAST_RSEQ = 2**32 - 1
_LAST_FIRST_RSEQ = 2**31 - 1
"""RFC 3262 3: the first number is from the lower half, so that counting never wraps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provisional:
    """What a provisional response is to say."""

    status: int
    headers: HeaderFields = ()
    description: SessionDescription | None = None


class ReliableProvisionals:
    """The reliable provisional responses to `invite`, an INVITE of the peer.

    `respond` sends one and returns it as sent; `on_timeout` is told that its PRACK never came.
    """

    def __init__(
        self,
        core: Core,
        invite: Transaction,
        respond: Callable[[Provisional, float], Response],
        on_timeout: Callable[[float], None],
    ) -> None:
        self._core = core
        self._invite = invite
        self._respond = respond
        self._on_timeout = on_timeout
        self._rseq = 0
        self._waiting: deque[Provisional] = deque()
        self._sent: Provisional | None = None
        self._response: Response | None = None
        self._interval_s = 0.0
        self._deadline = 0.0
        self._alarm: Alarm | None = None

    @property
    def holds_description(self) -> bool:
        """Whether the one under way holds a description, so that a 2xx must wait for its PRACK (RFC 3262 3)."""
        return self._sent is not None and self._sent.description is not None

    @property
    def is_open(self) -> bool:
        """Whether a PRACK is awaited."""
        return self._sent is not None

    def send(self, provisional: Provisional, now: float) -> None:
        """Send it, or let it wait for the PRACK of the one before."""
        if self._sent is not None:
            if len(self._waiting) < MAXIMUM_WAITING:
                self._waiting.append(provisional)
            return
        self._rseq = self._rseq + 1 if self._rseq else self._core.random.randint(1, _LAST_FIRST_RSEQ)
        numbered = (("Require", OPTION_TAG), ("RSeq", str(self._rseq)))
        self._sent = provisional
        self._response = self._respond(replace(provisional, headers=provisional.headers + numbered), now)
        self._interval_s = self._core.options.t1_s
        self._deadline = now + self._core.options.patience_s
        self._alarm = self._core.timers.start(now + self._interval_s, self._repeat)

    def find(self, prack: Request) -> Provisional | None:
        """The response that `prack` is for: the one under way or none. Raises: `MessageError` for a broken RAck."""
        expected = (self._rseq, self._invite.request.cseq.number, "INVITE")
        return self._sent if read_rack(prack) == expected else None

    def acknowledge(self, now: float) -> None:
        """PRACK came for the one under way: send the next."""
        self._sent = None
        self._stop_repeating()
        if self._waiting:
            self.send(self._waiting.popleft(), now)

    def finish(self) -> None:
        """There is a final response now: repeat and send no more; a PRACK under way still finds its response."""
        self._waiting.clear()
        self._stop_repeating()

    def skip_waiting(self) -> None:
        """Leave out what has not been sent yet: a 2xx says it all."""
        self._waiting.clear()

    def _repeat(self, now: float) -> None:
        if now >= self._deadline:
            self._on_timeout(now)
            return
        if self._response is not None:
            self._core.transactions.respond(self._invite, self._response, now)
        # RFC 3262 3: doubled each time; T2 does not bound it.
        self._interval_s *= 2
        self._alarm = self._core.timers.start(min(now + self._interval_s, self._deadline), self._repeat)

    def _stop_repeating(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None


def read_rack(prack: Request) -> tuple[int, int, str]:
    """RSeq, CSeq number and method of RAck (RFC 3262 7.2). Raises: `MessageError`."""
    value = prack.headers.get("RAck") or ""
    parts = value.split()
    if len(parts) != 3:
        raise MessageError(f"not a RAck: {shown(value)}")
    return parse_number(parts[0], _LAST_RSEQ, "RSeq"), parse_number(parts[1], MAXIMUM_CSEQ, "CSeq"), parts[2]


def read_rseq(response: Response) -> int | None:
    """The number of a reliable provisional response; None for one that is not reliable."""
    if not 101 <= response.status <= 199 or OPTION_TAG not in map(str.lower, listed(response, "Require")):
        return None
    try:
        return parse_number((response.headers.get("RSeq") or "").strip(), _LAST_RSEQ, "RSeq") or None
    except MessageError:
        return None
