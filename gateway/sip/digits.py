"""Keys by SIP INFO, pressed by the peer and by us: application/dtmf-relay and application/dtmf.

RTP events (RFC 4733) are the better way; INFO is for peers without them. Ours are application/dtmf-relay, until
a peer refuses that by 415. Nothing else comes by INFO: we announce no packages (RFC 6086), and the text of a peer goes
no further.
"""

from __future__ import annotations

from collections import deque

from gateway.errors import ResourceError
from gateway.sip.bodies import DIGITS, DTMF, DTMF_RELAY, digit_body, read_digit
from gateway.sip.events import DigitRefused, DigitsSignalled, EndCause
from gateway.sip.invite_usage import InviteUsage, LegState
from gateway.sip.message import Response
from gateway.sip.transaction import Transaction

MAXIMUM_WAITING = 64
"""Digits of ours that wait for the one before."""


class Digits:
    """The digits of one leg. Ours go one after the other: INFOs that overtake each other would be refused."""

    def __init__(self, usage: InviteUsage) -> None:
        self._usage = usage
        self._core = usage.core
        self._waiting: deque[tuple[str, int]] = deque()
        self._sent: tuple[str, int] | None = None
        self._content_type = DTMF_RELAY
        usage.on_end.append(lambda now: self._waiting.clear())

    def receive(self, transaction: Transaction, now: float) -> None:
        """An INFO within the dialog."""
        core, request = self._core, transaction.request
        if "Info-Package" in request.headers:
            # RFC 6086 4.2.2: we announced none (Recv-Info).
            core.reply(transaction, 469, now, headers=(("Recv-Info", ""),))
            return
        if request.body and request.content_type not in (DTMF_RELAY, DTMF):
            core.reply(transaction, 415, now, headers=(("Accept", f"{DTMF_RELAY}, {DTMF}"),))
            return
        core.reply(transaction, 200, now)
        digit = read_digit(request.content_type, request.body)
        if digit is not None:
            core.emit(DigitsSignalled(leg_id=self._usage.leg_id, digit=digit[0], duration_ms=digit[1]))

    def send(self, digit: str, duration_ms: int, now: float) -> None:
        """Press a key. Raises: `ValueError` for what is none, `ResourceError` where too many wait."""
        if digit not in DIGITS:
            raise ValueError(f"not a digit: {digit!r}")
        if len(self._waiting) >= MAXIMUM_WAITING:
            raise ResourceError(f"{MAXIMUM_WAITING} digits wait on leg {self._usage.leg_id}")
        self._waiting.append((digit, duration_ms))
        self._send_next(now)

    def _send_next(self, now: float) -> None:
        if self._sent is not None or not self._waiting or self._usage.state is not LegState.ESTABLISHED:
            return
        self._sent = digit, duration_ms = self._waiting.popleft()
        self._usage.send_request(
            "INFO",
            now,
            on_response=self._receive,
            body=digit_body(self._content_type, digit, duration_ms),
            content_type=self._content_type,
        )

    def _receive(self, response: Response, now: float) -> None:
        sent = self._sent
        if response.status < 200 or sent is None:
            return
        self._sent = None
        usage = self._usage
        if usage.state is not LegState.ESTABLISHED:
            return
        if response.status == 415 and self._content_type == DTMF_RELAY:
            self._content_type = DTMF
            self._waiting.appendleft(sent)
        elif response.status >= 300:
            self._core.emit(DigitRefused(leg_id=usage.leg_id, digit=sent[0], status=response.status))
        if response.status == 481:
            # RFC 5057 5.1: the dialog is gone at the peer.
            usage.abort(EndCause.ERROR, 481, response.reason, now)
            return
        self._send_next(now)
