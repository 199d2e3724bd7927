"""Changing a session: re-INVITE, UPDATE and PRACK, theirs and ours (RFC 3261 14, RFC 3311, RFC 3262 5, RFC 3264).

Before the call is answered only UPDATE (and the peer's PRACK) can, and only once the first offer has its answer.

At most one offer is open at a time. What collides is told to try again, each in the way the RFCs want it:

=====================================  =======================================================================
our offer is open, theirs comes        491; both wait a random time, the caller 2.1-4 s, the callee 0-2 s
their first is open, a second comes    500 with Retry-After of 0-10 s
ours meets their open one              ``StateError``; behind a missing ACK ours waits by itself
=====================================  =======================================================================

An offer that changes nothing but its version is answered with what holds, and the application hears nothing of it:
PBXs send it to refresh the session, or to name somebody else at the other end (`IdentityChanged`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gateway.errors import MessageError, StateError
from gateway.sip.bodies import SDP, description_or_none, session_description_of
from gateway.sip.client_request import ClientRequest
from gateway.sip.core import HeaderFields
from gateway.sip.dialog import Dialog
from gateway.sip.events import CallEstablished, EndCause, OfferAnswered, OfferReceived, OfferRefused
from gateway.sip.hop import Hop
from gateway.sip.invite_server import InviteServer, UnacknowledgedSuccess, success_headers
from gateway.sip.invite_usage import Branch, InviteUsage, LegState, Session
from gateway.sip.message import Request, Response
from gateway.sip.reliable import read_rseq
from gateway.sip.sdp import SessionDescription
from gateway.sip.session_timer import SessionTimer, refuse_interval
from gateway.sip.timers import Alarm
from gateway.sip.transaction import Transaction

MAXIMUM_TRIES = 3
"""How often one offer of ours is made before a glare counts as refusal."""
ACK_AWAITED_S = 0.5
"""How long an offer from before the answer waits each time for the ACK to it."""
_LONGEST_RETRY_AFTER_S = 10


@dataclass(slots=True, kw_only=True)
class _Theirs:
    """An offer of the peer, from its request to our answer, and for INVITE on to the ACK."""

    transaction: Transaction
    dialog: Dialog
    offer: SessionDescription | None
    limit: Alarm
    success: UnacknowledgedSuccess | None = None

    @property
    def is_invite(self) -> bool:
        return self.transaction.request.method == "INVITE"


@dataclass(slots=True, kw_only=True)
class _Ours:
    """An offer of ours, over all its tries. A refresh repeats what holds already; nobody waits for its answer."""

    description: SessionDescription
    is_refresh: bool
    branch: Branch | None = None
    """Where it is made before the call is answered; None: in the call's own dialog."""
    tries: int = 0
    client: ClientRequest | None = None
    retry: Alarm | None = None
    limit: Alarm | None = None
    ack: tuple[bytes, Hop] | None = None
    rseq: int | None = None
    """Number of the last reliable provisional response to it."""
    answer: SessionDescription | None = None
    """What one of those answered; the 2xx repeats nothing of it."""


class Renegotiation:
    """The offers of one leg after the first. `initial` is the INVITE that began it, if the peer called."""

    def __init__(self, usage: InviteUsage, session_timer: SessionTimer, initial: InviteServer | None) -> None:
        self._usage = usage
        self._core = usage.core
        self._session_timer = session_timer
        self._initial = initial
        self._theirs: _Theirs | None = None
        self._ours: _Ours | None = None
        self._next: _Ours | None = None
        """An offer of the application that waits for a refresh to end."""
        self._was_withdrawn = False
        usage.on_end.append(self._end)

    @property
    def is_open(self) -> bool:
        """Whether an offer waits for its answer, in either direction."""
        return self._theirs is not None or (self._ours is not None and self._ours.client is not None)

    # ------------------------------------------------------------------------------------------------ theirs

    def receive(self, transaction: Transaction, dialog: Dialog, now: float) -> None:
        """A re-INVITE, an UPDATE with or without an offer, or a PRACK with one, in `dialog`."""
        request = transaction.request
        if request.method == "INVITE":
            self._core.reply(transaction, 100, now)
            self._take_as_ack(now)
        status = self._refusal(request, dialog)
        if status is not None:
            # RFC 3261 14.2, RFC 3311 5.2.
            again = (("Retry-After", str(self._core.random.randint(0, 10))),) if status == 500 else ()
            self._core.reply(transaction, status, now, headers=again)
            return
        min_se = refuse_interval(request, self._core.options.min_session_expires_s)
        if min_se is not None:
            self._core.reply(transaction, 422, now, headers=min_se)
            return
        try:
            offer = session_description_of(request)
        except MessageError as error:
            accept = (("Accept", SDP),) if error.status == 415 else ()
            self._core.reply(transaction, error.status, now, reason=error.reason, headers=accept)
            return
        if offer is None and request.method == "UPDATE":
            self._respond(transaction, dialog, now, None)
            return
        session = self._usage.session_of(dialog)
        if offer is not None and session.local_description is not None and is_unchanged(offer, session):
            self._theirs = _Theirs(transaction=transaction, dialog=dialog, offer=offer, limit=self._start_limit(now))
            self.accept(session.local_description, now)
            return
        self._theirs = _Theirs(transaction=transaction, dialog=dialog, offer=offer, limit=self._start_limit(now))
        self._was_withdrawn = False
        branch = dialog.remote.tag or ""
        self._core.emit(OfferReceived(leg_id=self._usage.leg_id, method=request.method, offer=offer, branch=branch))

    def _start_limit(self, now: float) -> Alarm:
        return self._core.timers.start(now + self._core.options.command_timeout_s, self._pass_limit)

    def accept(self, description: SessionDescription, now: float) -> None:
        """Answer their offer, or make the offer that they asked for."""
        theirs = self._open_theirs()
        if theirs is None:
            return
        theirs.limit.cancel()
        session = self._usage.session_of(theirs.dialog)
        session.local_description = description
        response = self._respond(theirs.transaction, theirs.dialog, now, description)
        if theirs.offer is not None:
            session.remote_description = theirs.offer
        if theirs.is_invite:
            theirs.success = UnacknowledgedSuccess(self._core, theirs.transaction, response, now, self._give_up)
        else:
            self._finish_theirs(now)

    def reject(self, status: int, now: float) -> None:
        """Refuse their offer; the session is what it was."""
        theirs = self._open_theirs()
        if theirs is not None:
            self._refuse(theirs, status, now)

    def receive_ack(self, ack: Request, now: float) -> None:
        """The ACK to our 2xx to a re-INVITE, with the answer if the 2xx held the offer."""
        theirs = self._theirs
        if theirs is None or theirs.success is None or ack.cseq.number != theirs.transaction.request.cseq.number:
            return
        self._finish_theirs(now)
        if theirs.offer is not None:
            return
        answer = description_or_none(ack)
        if answer is not None:
            self._usage.session.remote_description = answer
        self._core.emit(CallEstablished(leg_id=self._usage.leg_id, description=answer))

    def cancel(self, transaction: Transaction, now: float) -> None:
        """CANCEL for a re-INVITE that is not answered yet."""
        theirs = self._theirs
        if theirs is not None and theirs.transaction is transaction and theirs.success is None:
            self._was_withdrawn = True
            self._refuse(theirs, 487, now)

    def _refusal(self, request: Request, dialog: Dialog) -> int | None:
        """The status that a colliding re-INVITE, UPDATE or PRACK is answered with."""
        usage = self._usage
        if not request.body and request.method != "INVITE":
            return None
        if usage.is_over:
            # What proved that our 2xx arrived also let our BYE go.
            return 481
        if usage.is_early:
            status = self._early_refusal(request, dialog)
            if status is not None:
                return status
        if self._theirs is not None:
            # A 2xx of ours with an offer that waits for its answer is an open offer of ours.
            return 491 if self._theirs.success is not None and self._theirs.offer is None else 500
        is_calling = usage.state in (LegState.CANCELLING, LegState.UNACKNOWLEDGED)
        is_ours_open = self._ours is not None and self._ours.client is not None
        # So is the 2xx to the initial INVITE, where that held no offer.
        is_unanswered = usage.state is LegState.ANSWERED and self._initial is not None and not self._initial.has_offer
        return 491 if is_calling or is_ours_open or is_unanswered else None

    def _early_refusal(self, request: Request, dialog: Dialog) -> int | None:
        """RFC 3311 5.2: while the first offer has no answer, 491 if it is ours, 500 if it is theirs."""
        usage = self._usage
        if request.method == "INVITE":
            return 491 if usage.state is LegState.CALLING else 500
        if usage.session_of(dialog).is_agreed:
            return None
        if usage.state is LegState.CALLING:
            branch = usage.branches.get(dialog.remote.tag)
            return 500 if branch is not None and branch.unanswered is not None else 491
        return 491 if self._initial is not None and self._initial.has_open_offer else 500

    def _take_as_ack(self, now: float) -> None:
        """A re-INVITE proves that our 2xx arrived, even if its ACK did not, unless that ACK had to hold an answer."""
        if self._usage.state is LegState.ANSWERED and self._initial is not None and self._initial.has_offer:
            self._initial.acknowledge(None, now)
        theirs = self._theirs
        if theirs is not None and theirs.success is not None and theirs.offer is not None:
            self._finish_theirs(now)

    def _respond(
        self, transaction: Transaction, dialog: Dialog, now: float, description: SessionDescription | None
    ) -> Response:
        """200, which commits the new remote target and the session timer as well (RFC 6141 4)."""
        request, usage = transaction.request, self._usage
        headers: HeaderFields = ()
        if request.method != "PRACK":
            dialog.refresh_target(request)
            usage.note_peer(request)
            usage.note_identity(request)
            # The 2xx to the INVITE begins the session that the timer is for.
            timer = () if usage.is_early else self._session_timer.answer(request, now)
            headers = success_headers(usage) + timer
        return self._core.reply(
            transaction,
            200,
            now,
            headers=headers,
            body=description.to_bytes() if description else b"",
            content_type=SDP if description else None,
        )

    def _open_theirs(self) -> _Theirs | None:
        """Their offer that waits for the application; None where it was withdrawn behind its back."""
        if self._theirs is not None and self._theirs.success is None:
            return self._theirs
        if self._was_withdrawn:
            self._was_withdrawn = False
            return None
        raise StateError(f"leg {self._usage.leg_id} has no open offer of the peer")

    def _refuse(self, theirs: _Theirs, status: int, now: float) -> None:
        self._theirs = None
        theirs.limit.cancel()
        if theirs.transaction.is_open:
            self._core.reply(theirs.transaction, status, now)
        self._settle(now)

    def _pass_limit(self, now: float) -> None:
        if self._theirs is not None:
            self._was_withdrawn = True
            self._refuse(self._theirs, 500, now)

    def _finish_theirs(self, now: float) -> None:
        if self._theirs is not None and self._theirs.success is not None:
            self._theirs.success.stop()
        self._theirs = None
        self._settle(now)

    def _settle(self, now: float) -> None:
        """Nothing is open: an offer of ours may go, and so may the 2xx that waited."""
        self.send_waiting(now)
        if self._initial is not None:
            self._initial.proceed(now)

    def settle_on(self, dialog: Dialog | None, now: float) -> None:
        """`dialog` is the call's, or there is none: what is open in any other branch is over."""
        theirs, ours = self._theirs, self._ours
        if theirs is not None and theirs.dialog is not dialog:
            self._was_withdrawn = True
            self._refuse(theirs, 481, now)
        if ours is not None and ours.branch is not None and ours.branch.dialog is not dialog:
            self._drop_ours()
            self._core.emit(OfferRefused(leg_id=self._usage.leg_id, status=481, reason="another branch answered"))

    def _give_up(self, now: float) -> None:
        # RFC 3261 13.3.1.4: no ACK, no session.
        self._usage.abort(EndCause.NO_ACK, 408, "no ACK", now)

    # -------------------------------------------------------------------------------------------------- ours

    def offer(self, description: SessionDescription, now: float, branch_tag: str | None = None) -> None:
        """Make an offer, by re-INVITE; before the answer by UPDATE, in the branch of that remote tag or the only one.

        Raises: `StateError` while another one is open in either direction, and before the answer where the first offer
        has no answer yet or the peer takes no UPDATE.
        """
        leg_id = self._usage.leg_id
        if self._next is not None or (self._ours is not None and not self._ours.is_refresh):
            raise StateError(f"leg {leg_id} has an open offer of ours")
        if self._theirs is not None and self._theirs.success is None:
            raise StateError(f"leg {leg_id} has an open offer of the peer")
        branch = self._find_branch(branch_tag) if self._usage.is_early else None
        self._next = _Ours(description=description, is_refresh=False, branch=branch)
        self.send_waiting(now)

    def _find_branch(self, tag: str | None) -> Branch | None:
        """Where an early offer goes; None for the one dialog of a call of the peer. Raises: `StateError`."""
        usage = self._usage
        branch: Branch | None = None
        if usage.state is LegState.CALLING:
            branches = list(usage.branches.values()) if tag is None else [usage.branches.get(tag)]
            branch = branches[0] if len(branches) == 1 else None
            is_possible = branch is not None and branch.session.is_agreed
        else:
            is_possible = usage.session.is_agreed and self._initial is not None and not self._initial.awaits_prack
        if not is_possible or "UPDATE" not in usage.peer_methods:
            raise StateError(f"leg {usage.leg_id} takes no offer before the call is answered")
        return branch

    def refresh(self, now: float) -> None:
        """Refresh the session: by UPDATE where the peer knows it, else by repeating what holds (RFC 4028 7.4)."""
        usage = self._usage
        if usage.state is not LegState.ESTABLISHED:
            return
        if "UPDATE" in usage.peer_methods:
            usage.send_request("UPDATE", now, on_response=self._receive_update, headers=self._session_timer.ask())
        elif self._ours is None and usage.session.local_description is not None:
            self._ours = _Ours(description=usage.session.local_description, is_refresh=True)
            self.send_waiting(now)

    def send_waiting(self, now: float) -> None:
        """Send our offer unless something is still open (RFC 3261 14.1), or it waits for its next try."""
        if self._ours is None:
            self._ours, self._next = self._next, None
        ours = self._ours
        if ours is None or ours.client is not None or ours.retry is not None or self._theirs is not None:
            return
        usage = self._usage
        if usage.state is not LegState.ESTABLISHED and not usage.is_early:
            return
        if usage.is_early and ours.branch is not None and ours.branch.open_pracks:
            return
        ours.tries += 1
        ours.ack = ours.rseq = ours.answer = None
        ours.client = usage.send_request(
            "UPDATE" if usage.is_early else "INVITE",
            now,
            on_response=lambda response, now: self._receive(ours, response, now),
            headers=() if usage.is_early else self._session_timer.ask(),
            body=ours.description.to_bytes(),
            content_type=SDP,
            dialog=ours.branch.dialog if ours.branch is not None else None,
        )
        if not usage.is_early:
            ours.limit = self._core.timers.start(now + self._core.options.patience_s, ours.client.cancel)

    def _receive(self, ours: _Ours, response: Response, now: float) -> None:
        """A response to our offer. The first 2xx decides; those that repeat it get the same ACK again."""
        if response.status < 200:
            self._receive_progress(ours, response, now)
            return
        if ours.limit is not None:
            ours.limit.cancel()
        if response.status < 300:
            self._receive_success(ours, response, now)
        elif self._ours is ours and not self._usage.is_over:
            ours.client = None
            self._receive_failure(ours, response, now)

    def _receive_progress(self, ours: _Ours, response: Response, now: float) -> None:
        """PRACK for what is reliable (RFC 3262 4), which a re-INVITE may be answered by as well."""
        rseq = read_rseq(response)
        if rseq is None or response.cseq.method != "INVITE" or self._usage.is_over:
            return
        if ours.rseq is not None and rseq != ours.rseq + 1:
            return
        ours.rseq = rseq
        ours.answer = ours.answer or description_or_none(response)
        self._usage.send_prack(response, self._usage.require_dialog(), now)

    def _receive_success(self, ours: _Ours, response: Response, now: float) -> None:
        usage, client = self._usage, ours.client
        if ours.ack is not None:
            self._core.send(*ours.ack)
        elif client is not None:
            dialog = ours.branch.dialog if ours.branch is not None else usage.require_dialog()
            dialog.refresh_target(response)
            if client.request.method == "INVITE":
                ours.ack = (usage.make_ack(client.request, dialog).to_bytes(), usage.destination())
                self._core.send(*ours.ack)
            if self._ours is ours and not usage.is_over:
                self._conclude(ours, usage.session_of(dialog), response, now)

    def _conclude(self, ours: _Ours, session: Session, response: Response, now: float) -> None:
        self._ours = None
        usage = self._usage
        usage.note_peer(response)
        usage.note_identity(response)
        if response.cseq.method == "INVITE":
            self._session_timer.accept(response, now)
        try:
            answer = ours.answer or session_description_of(response)
        except MessageError as error:
            self._core.emit(OfferRefused(leg_id=usage.leg_id, status=488, reason=f"unusable answer: {error.reason}"))
        else:
            is_news = not ours.is_refresh or answer != session.remote_description
            session.local_description, session.remote_description = ours.description, answer
            if is_news:
                self._core.emit(OfferAnswered(leg_id=usage.leg_id, description=answer))
        self._settle(now)

    def _receive_failure(self, ours: _Ours, response: Response, now: float) -> None:
        delay_s = self._retry_delay_s(ours, response)
        if delay_s is not None:
            ours.retry = self._core.timers.start(now + delay_s, lambda now: self._try_again(ours, now))
            self._settle(now)
            return
        self._ours = None
        if response.status in (408, 481) and self._usage.state is LegState.ESTABLISHED:
            # RFC 3261 14.1: the peer, or the dialog at the peer, is gone.
            self._usage.abort(_cause_of(response), response.status, response.reason, now)
            return
        if ours.is_refresh:
            self._session_timer.refresh_failed(now)
        else:
            self._core.emit(OfferRefused(leg_id=self._usage.leg_id, status=response.status, reason=response.reason))
        self._settle(now)

    def _retry_delay_s(self, ours: _Ours, response: Response) -> float | None:
        """When to make the same offer again; None where that is pointless."""
        if ours.tries >= MAXIMUM_TRIES:
            return None
        if response.status == 491:
            # RFC 3261 14.1: in units of 10 ms; who made the Call-ID waits longer.
            low, high = (210, 400) if self._usage.is_caller else (0, 200)
            return self._core.random.randint(low, high) / 100
        if response.status == 500:
            retry_after = (response.headers.get("Retry-After") or "").strip()
            is_short = retry_after.isascii() and retry_after.isdigit() and len(retry_after) <= 2
            return float(retry_after) if is_short and int(retry_after) <= _LONGEST_RETRY_AFTER_S else None
        if response.status == 422 and self._session_timer.lengthen(response):
            return 0.0
        return None

    def _try_again(self, ours: _Ours, now: float) -> None:
        ours.retry = None
        self.send_waiting(now)
        if ours.client is None and self._usage.state in (LegState.ANSWERED, LegState.UNACKNOWLEDGED):
            ours.retry = self._core.timers.start(now + ACK_AWAITED_S, lambda now: self._try_again(ours, now))

    def _receive_update(self, response: Response, now: float) -> None:
        """The outcome of a refresh by UPDATE."""
        if response.status < 200 or self._usage.is_over:
            return
        if response.status < 300:
            self._usage.require_dialog().refresh_target(response)
            self._usage.note_identity(response)
            self._session_timer.accept(response, now)
        elif response.status in (408, 481):
            self._usage.abort(_cause_of(response), response.status, response.reason, now)
        else:
            if response.status in (405, 501):
                self._usage.peer_methods -= {"UPDATE"}
            self._session_timer.lengthen(response)
            self._session_timer.refresh_failed(now)

    def _drop_ours(self) -> None:
        """Make no further try. What is under way ends by its limit at the latest, told to nobody."""
        ours, self._ours, self._next = self._ours, None, None
        if ours is not None and ours.retry is not None:
            ours.retry.cancel()

    def _end(self, now: float) -> None:
        """The call ends: their open request is answered (RFC 3261 15.1.2), ours is left to its transaction."""
        self._drop_ours()
        theirs, self._theirs = self._theirs, None
        if theirs is None:
            return
        theirs.limit.cancel()
        if theirs.success is not None:
            theirs.success.stop()
        elif theirs.transaction.is_open:
            self._core.reply(theirs.transaction, 487, now)


def is_unchanged(offer: SessionDescription, session: Session) -> bool:
    """Whether `offer` says what the peer said last; its version may have risen all the same (RFC 3264 8)."""
    last = session.remote_description
    if last is None or offer.origin.session_id != last.origin.session_id:
        return False
    return replace(offer, origin=last.origin) == last


def _cause_of(response: Response) -> EndCause:
    return EndCause.TIMEOUT if response.status == 408 else EndCause.ERROR
