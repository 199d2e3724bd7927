"""A call that the peer places: from its INVITE to its ACK (RFC 3261 13.3).

::

    INVITE -> 100 -> [180, 183 ...] -> 2xx, repeated T1, 2*T1 ... T2 until ACK -> session
                                    |                        `- no ACK for 64*T1 -> BYE
                                    |- 300-699 (ACK is the transaction's business)
                                    |- CANCEL, BYE or Expires -> 487
                                    `- no PRACK for a reliable 1xx -> 504

A reliable provisional response may hold the answer, or our offer if the INVITE held none; its PRACK completes the
session, and the 2xx waits for that and repeats nothing of it (RFC 3262 5, RFC 6337 2.2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gateway.errors import MessageError, StateError
from gateway.sip.bodies import SDP, description_or_none, session_description_of
from gateway.sip.core import ALLOWED_METHODS, SUPPORTED_EXTENSIONS, Core, HeaderFields, Reliability, listed
from gateway.sip.events import CallCancelled, CallEstablished, EndCause, OfferAnswered
from gateway.sip.invite_usage import InviteUsage, LegState
from gateway.sip.message import Request, Response
from gateway.sip.reliable import OPTION_TAG, Provisional, ReliableProvisionals
from gateway.sip.sdp import SessionDescription
from gateway.sip.session_timer import SessionTimer
from gateway.sip.timers import Alarm
from gateway.sip.transaction import Transaction

PROGRESS_REPEATED_S = 60.0
"""RFC 3261 13.3.1.1: provisional responses are repeated every minute, lest proxies give up (timer C)."""


class UnacknowledgedSuccess:
    """A 2xx to INVITE that is repeated until its ACK comes (RFC 3261 13.3.1.4)."""

    def __init__(
        self, core: Core, transaction: Transaction, response: Response, now: float, on_timeout: Callable[[float], None]
    ) -> None:
        self._core = core
        self._transaction = transaction
        self._response = response
        self._on_timeout = on_timeout
        self._interval_s = core.options.t1_s
        self._deadline = now + core.options.patience_s
        self._alarm = core.timers.start(now + self._interval_s, self._repeat)

    def stop(self) -> None:
        """ACK came, or nobody waits for it any more."""
        self._alarm.cancel()

    def _repeat(self, now: float) -> None:
        if now >= self._deadline:
            self._on_timeout(now)
            return
        self._core.transactions.respond(self._transaction, self._response, now)
        self._interval_s = min(2 * self._interval_s, self._core.options.t2_s)
        self._alarm = self._core.timers.start(min(now + self._interval_s, self._deadline), self._repeat)


def success_headers(usage: InviteUsage) -> HeaderFields:
    """What a 2xx to INVITE or UPDATE tells of us (RFC 3261 13.3.1.4, RFC 3311 5.2)."""
    return (
        ("Contact", str(usage.contact)),
        ("Allow", ", ".join(ALLOWED_METHODS)),
        ("Supported", ", ".join(SUPPORTED_EXTENSIONS)),
    )


class InviteServer:
    """The initial INVITE of a leg that the peer placed."""

    def __init__(self, usage: InviteUsage, transaction: Transaction, session_timer: SessionTimer) -> None:
        self._usage = usage
        self._core = usage.core
        self._transaction = transaction
        self._session_timer = session_timer
        self._reliable = ReliableProvisionals(usage.core, transaction, self._respond_reliably, self._miss_prack)
        self._held: tuple[SessionDescription, HeaderFields] | None = None
        """The answer that waits until nothing about the early session is open."""
        self._has_promised = False
        """Whether a reliable provisional response held our description."""
        self._success: UnacknowledgedSuccess | None = None
        self._progress: Response | None = None
        self._repetition: Alarm | None = None
        self._limit: Alarm | None = None
        self._limit_status = 480
        self._is_unwanted = False
        self._bye_reason: str | None = None
        self.is_renegotiating: Callable[[], bool] = lambda: False
        """Whether an early offer waits for its answer, in either direction."""
        self.on_success: list[Callable[[float], None]] = []
        """Called when the 2xx has been sent."""
        usage.on_end.append(self._end)

    @property
    def request(self) -> Request:
        """The INVITE."""
        return self._transaction.request

    @property
    def has_offer(self) -> bool:
        """Whether the INVITE held the offer; else our 2xx does, and the ACK the answer."""
        return self._usage.session.remote_description is not None

    @property
    def has_open_offer(self) -> bool:
        """Whether a reliable provisional response holds an offer of ours that PRACK has not answered yet."""
        return not self.has_offer and self._reliable.holds_description

    @property
    def awaits_prack(self) -> bool:
        """Whether a reliable provisional response is under way."""
        return self._reliable.is_open

    def start(self, now: float) -> None:
        """Answer 100 at once (RFC 3261 17.2.1 grants 200 ms) and limit how long the call may ring."""
        self._core.reply(self._transaction, 100, now)
        expires = (self.request.headers.get("Expires") or "").strip()
        limit_s = self._core.options.answer_timeout_s
        if expires.isascii() and expires.isdigit() and len(expires) <= 9 and float(expires) < limit_s:
            # RFC 3261 13.3.1: the caller's own limit looks as if it had cancelled.
            limit_s, self._limit_status = float(expires), 487
        self._limit = self._core.timers.start(now + limit_s, self._pass_limit)

    def progress(self, status: int, now: float, answer: SessionDescription | None, headers: HeaderFields) -> None:
        """Send a provisional response, 101 to 199, with early media if there is an `answer`.

        To an INVITE without offer `answer` is ours, which only a reliable response can make. Raises: `StateError` for
        a description that differs from one sent reliably before.
        """
        if not 101 <= status <= 199:
            raise ValueError(f"not a provisional status: {status}")
        self._check_undecided("progress")
        description = self._news(answer)
        provisional = Provisional(status=status, headers=headers, description=description)
        if self._is_reliable(description):
            self._reliable.send(provisional, now)
        elif self._requires_reliability:
            # RFC 3261 13.2.1: the first reliable response to an INVITE without offer makes one. There is none to make.
            return
        else:
            self._progress = self._send(provisional, now)
            self._repeat_progress(now)

    def answer(self, description: SessionDescription, now: float, headers: HeaderFields) -> None:
        """Send 200 with our answer, or with our offer if the INVITE held none; at once, or when PRACK has come.

        Raises: `StateError` for a description that differs from one sent reliably before.
        """
        self._check_undecided("answer")
        self._news(description)
        self._reliable.skip_waiting()
        self._held = (description, headers)
        self.proceed(now)

    def proceed(self, now: float) -> None:
        """Send the 200 that is held back, if nothing holds it back any more (RFC 3262 3, RFC 3311 5.1)."""
        if self._held is None or self._reliable.holds_description or self.is_renegotiating():
            return
        (description, headers), self._held = self._held, None
        usage = self._usage
        usage.enter(LegState.ANSWERED)
        self._stop_alarms()
        self._reliable.finish()
        fields = success_headers(usage) + self._session_timer.answer(self.request, now) + headers
        if not self._has_promised:
            usage.session.local_description = description
        response = self._respond(200, now, fields, None if self._has_promised else description)
        self._success = UnacknowledgedSuccess(self._core, self._transaction, response, now, self._give_up)
        callbacks, self.on_success = self.on_success, []
        for callback in callbacks:
            callback(now)

    def find_provisional(self, prack: Request) -> Provisional | None:
        """The response that `prack` is for. Raises: `MessageError`."""
        return self._reliable.find(prack)

    def receive_prack(self, transaction: Transaction, provisional: Provisional, now: float) -> bool:
        """PRACK came for `provisional`; False where it holds an offer, and is not answered yet for that reason.

        Raises: `MessageError` where its body cannot be used; then it counts as not received.
        """
        description = session_description_of(transaction.request)
        session = self._usage.session
        is_answer = self.has_open_offer
        if is_answer and description is None:
            raise MessageError("no answer in PRACK")
        if provisional.description is not None:
            session.is_agreed = True
        if is_answer:
            session.remote_description = description
        if is_answer or description is None:
            self._core.reply(transaction, 200, now)
        if is_answer:
            self._core.emit(OfferAnswered(leg_id=self._usage.leg_id, description=description))
        self._reliable.acknowledge(now)
        return is_answer or description is None

    def reject(self, status: int, now: float, reason: str | None, headers: HeaderFields) -> None:
        """Send a final response, 300 to 699; the leg is gone."""
        if not 300 <= status <= 699:
            raise ValueError(f"not a status that refuses: {status}")
        self._reliable.finish()
        self._core.reply(self._transaction, status, now, reason=reason, to_tag=self._usage.local_tag, headers=headers)
        self._usage.close(now)

    def cancel(self, reason: str, now: float) -> None:
        """The caller gave up: 487, and nothing is left (RFC 3261 9.2, 15.1.2)."""
        self._abandon(487, reason, now)

    def hang_up_later(self, reason: str | None) -> None:
        """Hang up as soon as ACK came or is given up: before that we must not (RFC 3261 15)."""
        self._is_unwanted = True
        self._bye_reason = reason

    def acknowledge(self, ack: Request | None, now: float) -> None:
        """ACK came, or a re-INVITE that proves as well that our 2xx arrived (RFC 5407 3.1.4)."""
        if self._success is None:
            return
        self._success.stop()
        self._success = None
        usage = self._usage
        usage.enter(LegState.ESTABLISHED)
        usage.session.is_agreed = True
        if self._is_unwanted:
            usage.hang_up(now, self._bye_reason)
            return
        if self.has_offer:
            self._core.emit(CallEstablished(leg_id=usage.leg_id))
            return
        answer = description_or_none(ack) if ack is not None else None
        usage.session.remote_description = answer
        if answer is None:
            # RFC 3261 13.2.2.4: the ACK to a 2xx with an offer holds the answer. Without it there are no media.
            usage.abort(EndCause.ERROR, 488, "no answer in ACK", now)
            return
        self._core.emit(CallEstablished(leg_id=usage.leg_id, description=answer))

    def acknowledges(self, ack: Request) -> bool:
        """Whether `ack` is for our 2xx: the number of its INVITE (RFC 3261 13.2.2.4)."""
        return self._success is not None and ack.cseq.number == self.request.cseq.number

    def _respond(
        self, status: int, now: float, headers: HeaderFields, description: SessionDescription | None
    ) -> Response:
        return self._core.reply(
            self._transaction,
            status,
            now,
            to_tag=self._usage.local_tag,
            headers=headers,
            body=description.to_bytes() if description else b"",
            content_type=SDP if description else None,
        )

    @property
    def _requires_reliability(self) -> bool:
        return OPTION_TAG in map(str.lower, listed(self.request, "Require"))

    def _is_reliable(self, description: SessionDescription | None) -> bool:
        """Whether a provisional response with `description` is sent reliably (RFC 3262 3)."""
        is_first_offer = not self.has_offer and not self._has_promised
        if is_first_offer and description is None:
            return False
        supported = listed(self.request, "Supported") | listed(self.request, "Require")
        if OPTION_TAG not in map(str.lower, supported):
            return False
        match self._core.options.reliable_provisionals:
            case Reliability.ALWAYS:
                return True
            case Reliability.EARLY_MEDIA if description is not None:
                return True
        return self._requires_reliability

    def _check_undecided(self, command: str) -> None:
        if self._held is not None:
            raise StateError(f"{command} is not possible: leg {self._usage.leg_id} has been answered")

    def _news(self, description: SessionDescription | None) -> SessionDescription | None:
        """`description`, or None where a reliable response has said the same. Raises: `StateError`."""
        promised = self._usage.session.local_description
        if not self._has_promised or promised is None or description is None:
            return description
        if description.following(promised) != promised:
            raise StateError(f"the session of leg {self._usage.leg_id} is agreed already: reoffer changes it")
        return None

    def _respond_reliably(self, provisional: Provisional, now: float) -> Response:
        # Of several that have waited for their PRACKs, the first description counts.
        description = None if self._has_promised else provisional.description
        if description is not None:
            self._has_promised = True
            self._usage.session.local_description = description
        self._progress = self._send(replace(provisional, description=description), now)
        self._repeat_progress(now)
        return self._progress

    def _send(self, provisional: Provisional, now: float) -> Response:
        description = provisional.description
        if not self.has_offer and not self._has_promised:
            # RFC 3261 13.2.1: no offer in a response that may get lost.
            description = None
        return self._respond(provisional.status, now, success_headers(self._usage) + provisional.headers, description)

    def _miss_prack(self, now: float) -> None:
        # RFC 3262 3: rejected with a 5xx.
        self._abandon(504, "no PRACK", now)

    def _repeat_progress(self, now: float) -> None:
        if self._repetition is not None:
            self._repetition.cancel()
        self._repetition = self._core.timers.start(now + PROGRESS_REPEATED_S, self._send_progress_again)

    def _send_progress_again(self, now: float) -> None:
        if self._progress is None:
            return
        if "RSeq" in self._progress.headers:
            # Under its old number the peer would take it for a repetition.
            self._reliable.send(Provisional(status=self._progress.status), now)
        else:
            self._core.transactions.respond(self._transaction, self._progress, now)
        self._repeat_progress(now)

    def _pass_limit(self, now: float) -> None:
        self._abandon(self._limit_status, "nobody answered in time", now)

    def _abandon(self, status: int, reason: str, now: float) -> None:
        self._core.emit(CallCancelled(leg_id=self._usage.leg_id, reason=reason))
        self.reject(status, now, None, ())

    def _give_up(self, now: float) -> None:
        usage = self._usage
        if self._is_unwanted:
            usage.hang_up(now, self._bye_reason)
        else:
            usage.abort(EndCause.NO_ACK, 408, "no ACK", now)

    def _stop_alarms(self) -> None:
        for alarm in (self._limit, self._repetition):
            if alarm is not None:
                alarm.cancel()

    def _end(self, now: float) -> None:
        self._stop_alarms()
        self._reliable.finish()
        self._held = None
        if self._success is not None:
            self._success.stop()
            self._success = None
